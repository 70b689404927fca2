"""An image boots as a virtual machine, and each of the kernel's promises holds: one tiny guest a test.

QEMU's microvm with software emulation, so this needs no KVM; a missing QEMU is a failure, not a skip.
"""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

IMAGES = Path(os.environ["ROOMKEY_BUILD"]) / "images"
GUEST = IMAGES / "guest-1.0.0.img"
DEADLINE = 60  # seconds; a boot takes a tenth of one
PANIC = 134 & 0x7F  # QEMU has room for seven bits


def boot(tmp_path, *words, image=GUEST, memory="8M", cpu="max", machine="microvm"):
    """The status that the image exited with, and its console."""
    qemu = shutil.which("qemu-system-x86_64")
    assert qemu, "no qemu-system-x86_64: run scripts/setup"
    console = tmp_path / "console"
    machine_args = ["-M", f"{machine},accel=tcg", "-cpu", cpu, "-m", memory]
    devices = ["-debugcon", f"file:{console}", "-device", "isa-debug-exit,iobase=0x501,iosize=4"]
    done = subprocess.run(
        [qemu, *machine_args, "-nodefaults", "-no-user-config", "-nographic", "-no-reboot"]
        + ["-kernel", image, "-append", " ".join(words), *devices],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE,
    )
    text = console.read_text(errors="replace") if console.exists() else ""
    # The exit port makes QEMU's own status of ours; an even one is QEMU's failure.
    assert done.returncode & 1, f"qemu exit {done.returncode}: {done.stderr}\nconsole:\n{text}"
    return done.returncode >> 1, text


def test_the_command_line_becomes_the_arguments(tmp_path):
    status, text = boot(tmp_path, "argv", " a=1", "", "b=2 ")
    assert text == "argv[0]=image\nargv[1]=argv\nargv[2]=a=1\nargv[3]=b=2\n"
    assert status == 0


def test_the_c_library_works_in_the_least_memory(tmp_path):
    assert boot(tmp_path, "libc") == (0, "libc works on pvh: 3.143\n")


def test_the_c_library_works_in_a_gigabyte(tmp_path):
    assert boot(tmp_path, "libc", memory="1200M") == (0, "libc works on pvh: 3.143\n")


def test_the_vector_registers_survive_a_call_and_avx_is_on(tmp_path):
    assert boot(tmp_path, "vector") == (0, "vectors are kept, avx2 on\n")


def test_a_processor_without_avx_will_do(tmp_path):
    assert boot(tmp_path, "vector", cpu="max,-avx,-xsave") == (0, "vectors are kept, avx2 off\n")


def test_an_address_that_is_not_the_apps_is_refused_not_followed(tmp_path):
    assert boot(tmp_path, "efault") == (0, "refused: kernel, text, null, beyond\n")


def test_the_exit_status_is_told(tmp_path):
    assert boot(tmp_path, "exit", "65")[0] == 65


def test_there_is_no_channel_yet(tmp_path):
    assert boot(tmp_path, "open") == (0, "open: not supported\n")


def test_a_second_in_the_guest_is_about_a_second_outside(tmp_path):
    """Two sleeps of different length, so that the boot cancels out.  Others may keep any of them from running, which
    makes it longer: the least are compared, but none may be too short."""
    def took(ms):
        start = time.monotonic()
        assert boot(tmp_path, "sleep", ms)[0] == 0
        return time.monotonic() - start

    short, long = zip(*((took("100"), took("1100")) for _ in range(3)))
    second = min(long) - min(short)
    assert 0.5 < second < 2, f"a second took {second} s: {short}, {long}"


def test_without_any_measure_of_time_it_says_so(tmp_path):
    status, text = boot(tmp_path, "libc", machine="microvm,pit=off")
    assert "nothing tells the rate of time" in text
    assert status == 0


@pytest.mark.parametrize(
    "how, says",
    {
        "text": "page fault in the app, writing to 0x10[0-9a-f]{4}: not permitted there",
        "rodata": "page fault in the app, writing to 0x10[0-9a-f]{4}: not permitted there",
        "exec": "page fault in the app, executing at 0x[0-9a-f]+: not permitted there",
        "kernel": "page fault in the app, writing to 0x1[0-9a-f]{5}: not permitted there",
        "null": "page fault in the app, reading from 0x0: null pointer",
        "stack": "page fault in the app, writing to 0x[0-9a-f]+: stack overflow",
        "hlt": "general protection in the app",
        "divide": "divide error in the app",
    }.items(),
)
def test_a_trap_stops_with_registers(tmp_path, how, says):
    status, text = boot(tmp_path, how)
    assert re.match(f"roomkey: stopped: {says}\n  rip 0x[0-9a-f]+ ", text), text
    assert " rsp 0x" in text and " r15 0x" in text
    assert "survived" not in text
    assert status == PANIC


@pytest.mark.parametrize(
    "how, says",
    {
        "abort": "roomkey: stopped: the app called abort()",
        "check": "guests/guest.c:",
        "socket": "roomkey: call 0x29\nroomkey: stopped: the app made a call that is not in the image's list",
        "code": "roomkey: stopped: the app broke a rule of the call mmap: no PROT_EXEC",
    }.items(),
)
def test_what_is_forbidden_ends_it(tmp_path, how, says):
    status, text = boot(tmp_path, how)
    assert says in text
    assert status == PANIC


@pytest.mark.parametrize(
    "cpu, says", {"max,-nx": "executed (NX)", "max,-rdrand": "no RDRAND"}.items()
)
def test_a_processor_that_lacks_what_safety_needs_is_refused(tmp_path, cpu, says):
    status, text = boot(tmp_path, "argv", cpu=cpu)
    assert "roomkey: stopped: " in text and says in text
    assert status == PANIC


def test_too_little_memory_is_said(tmp_path):
    status, text = boot(tmp_path, "argv", memory="1300K")
    assert "roomkey: stopped: too little memory for this image" in text
    assert status == PANIC


def test_too_long_a_command_line_is_said(tmp_path):
    status, text = boot(tmp_path, "argv", *["x"] * 70)
    assert "more than 64 words" in text
    assert status == PANIC


def test_hello_starts_and_says_that_it_has_no_channel(tmp_path):
    status, text = boot(tmp_path, "roomkey.tenant=acme", "roomkey.generation=1", "roomkey.channels=1",
                        "roomkey.memory=8192", image=IMAGES / "hello-1.0.0.img")
    assert "hello 1.0.0 on pvh: on_start returned 0, no channel: nothing to serve\n" in text
    assert status == 0


def test_a_version_that_fails_in_on_start_says_so_in_its_status(tmp_path):
    status, text = boot(tmp_path, "roomkey.tenant=acme", "roomkey.generation=1", "roomkey.channels=1",
                        "roomkey.memory=8192", image=IMAGES / "hello-3.0.0.img")
    assert "hello 3.0.0 on pvh: on_start returned " in text
    assert status == 65


def test_an_image_that_no_backend_launched_says_so(tmp_path):
    assert boot(tmp_path, image=IMAGES / "hello-1.0.0.img")[0] == 64
