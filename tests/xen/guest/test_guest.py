"""An image as a domain of real Xen: one small guest a test, and libxenvchan as the other end of its channels.

Runs inside dom0, as root: scripts/xenlab run python3 -m pytest -q -p no:cacheprovider tests/xen/guest/test_guest.py
The domains are made by xl, and launched as roomkeyd does it: the words in a node, before the first instruction.
"""

import os
import re
import signal
import struct
import subprocess
import time
from pathlib import Path

import pytest

BUILD = Path(os.environ.get("ROOMKEY_BUILD", Path(__file__).resolve().parents[3] / "build" / "release"))
CONSOLES = Path("/var/log/xen/console")
PEER = BUILD / "bin" / "guest_peer"
GUEST = BUILD / "images" / "guest-1.0.0.img"
HELLO = BUILD / "images" / "hello-1.0.0.img"
DEADLINE = 60  # seconds
SEED = "roomkey.seed=" + bytes(range(32)).hex()
WORKERS = 8
PANIC = 134

HELLO_FRAME, READY, HEALTH, STOP, SLOT = 1, 16, 19, 21, 22


def run(*args, check=True):
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True, timeout=2 * DEADLINE)
    assert not check or done.returncode == 0, f"{args}: exit {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def until(look, what):
    end = time.monotonic() + DEADLINE
    while not (seen := look()):
        assert time.monotonic() < end, f"{what}: not within {DEADLINE} s"
        time.sleep(0.05)
    return seen


class Domain:
    """One domain, from its creation to its destruction."""

    count = 0

    def __init__(self, tmp_path, image, memory, command_line=""):
        Domain.count += 1
        self.name = f"guest-test-{os.getpid()}-{Domain.count}"
        config = tmp_path / f"{self.name}.cfg"
        config.write_text(
            f'name = "{self.name}"\ntype = "pvh"\nkernel = "{image}"\nmemory = {memory}\nvcpus = 1\n'
            f'tsc_mode = "native"\ncmdline = "{command_line}"\non_poweroff = "preserve"\non_crash = "preserve"\n'
        )
        run("xl", "create", "-q", "-p", config)
        self.domid = int(run("xl", "domid", self.name))

    def node(self, path):
        return run("xenstore-read", f"/local/domain/{self.domid}/{path}", check=False)

    def launch(self, *words):
        run("xenstore-write", f"/local/domain/{self.domid}/roomkey/launch", " ".join(words))
        self.unpause()
        return self

    def unpause(self):
        run("xl", "unpause", self.domid)

    def state(self):
        return run("xl", "list", self.domid).splitlines()[-1].split()[4]

    def console(self):
        log = CONSOLES / f"guest-{self.name}.log"
        return log.read_text(errors="replace").replace("\r", "") if log.exists() else ""

    def says(self, text):
        until(lambda: text in self.console(), f"{text!r} on the console {self.console()!r}")

    def end(self):
        """Waits for it: its exit status as a host sees it, and its console."""
        state = until(lambda: (s := self.state())[3] == "s" and s, f"{self.name} ending")
        crashed = state[4] == "c"
        status = self.node("data/roomkey/exit")
        assert crashed == bool(status)
        return int(status or 0), self.console()

    def frames(self, channel, count, send=""):
        lines = run(PEER, "frames", self.domid, channel, count, *[send] * bool(send)).splitlines()
        return [(int(kind), bytes.fromhex(payload)) for kind, _, payload in (l.partition(" ") for l in lines)]

    def cpu_us(self):
        return int(run(PEER, "cpu", self.domid))

    def destroy(self):
        run("xl", "destroy", self.domid, check=False)


@pytest.fixture
def domain(tmp_path):
    made = []

    def make(image=GUEST, memory=4, command_line=""):
        made.append(Domain(tmp_path, image, memory, command_line))
        return made[-1]

    yield make
    for d in made:
        d.destroy()


def launch_hello(domain, memory, workers=WORKERS):
    words = ["roomkey.tenant=acme", "roomkey.generation=7", f"roomkey.channels={workers}"]
    return domain(HELLO, memory).launch(*words, f"roomkey.memory={memory * 896}", SEED)


def frame(kind, payload=b""):
    return (struct.pack("<IBBHQ", len(payload), kind, 0, 0, 0) + payload).hex()


def ready(payload):
    """boot time in us, name, version"""
    (us, n), rest = struct.unpack("<IH", payload[:6]), payload[6:]
    name, version = rest[:n], rest[n + 2:]
    assert struct.unpack("<H", rest[n:n + 2]) == (len(version),)
    return us, name.decode(), version.decode()


# ----- what it is launched with


def test_the_launch_node_becomes_the_arguments_without_the_seed(domain):
    d = domain(command_line="not this").launch("argv", "", SEED, "a=1 ", " b=2")
    assert d.end() == (0, "argv[0]=image\nargv[1]=argv\nargv[2]=a=1\nargv[3]=b=2\n")


def test_without_that_node_the_command_line_is_taken(domain):
    d = domain(command_line=f"argv a=1 {SEED}")
    d.unpause()
    assert d.end() == (0, "argv[0]=image\nargv[1]=argv\nargv[2]=a=1\n")


@pytest.mark.parametrize(
    "words, says",
    {
        ("argv",): "no entropy: launched without roomkey.seed=HEX",
        ("argv", SEED[:-1]): "no entropy: roomkey.seed= is not 64 digits",
        ("argv", SEED[:-1] + "G"): "no entropy: roomkey.seed= is not 64 digits",
    }.items(),
)
def test_without_the_hosts_entropy_it_refuses_to_start(domain, words, says):
    status, text = domain().launch(*words).end()
    assert text.startswith(f"roomkey: stopped: {says}")
    assert status == PANIC


def test_the_same_seed_twice_gives_other_bytes(domain):
    texts = {domain().launch("chance", SEED).end()[1] for _ in range(2)}
    assert len(texts) == 2 and all(re.fullmatch("[0-9a-f]{64}\n", t) for t in texts)


# ----- how it ends


def test_status_0_is_a_poweroff_and_any_other_a_crash_that_is_told(domain):
    assert domain().launch("exit", "0", SEED).end() == (0, "")
    assert domain().launch("exit", "65", SEED).end() == (65, "")


@pytest.mark.parametrize(
    "how, says",
    {
        "null": "page fault in the app, reading from 0x0: null pointer",
        "text": "page fault in the app, writing to 0x[0-9a-f]+: not permitted there",
        "exec": "page fault in the app, executing at 0x[0-9a-f]+: not permitted there",
        "kernel": "page fault in the app, writing to 0x[0-9a-f]+: not permitted there",
        "stack": "page fault in the app, writing to 0x[0-9a-f]+: stack overflow",
        "hlt": "general protection in the app",
    }.items(),
)
def test_a_fault_shows_the_registers_and_is_a_crash(domain, how, says):
    status, text = domain().launch(how, SEED).end()
    assert re.fullmatch(f"roomkey: stopped: {says}\n  rip 0x[0-9a-f]+ (.*\n){{2}}.* r15 0x[0-9a-f]+\n", text), text
    assert status == PANIC


def test_a_long_log_is_whole_when_it_ends_with_a_crash(domain):
    lines = 3000
    d = domain().launch("flood", str(lines), SEED)
    want = [f"line {i} of a log that fills the console's ring many times over" for i in range(lines)]
    status, text = d.end()
    assert text.splitlines() == want + ["roomkey: stopped: the app called abort()"]
    assert status == PANIC


def test_a_console_that_nobody_reads_stops_no_tenant(domain):
    reader = int(Path("/run/xenconsoled.pid").read_text())
    d = domain()  # for which it is needed
    os.kill(reader, signal.SIGSTOP)
    try:
        status, text = d.launch("flood", "3000", SEED).end()
    finally:
        os.kill(reader, signal.SIGCONT)
    assert status == PANIC
    assert len(text) < 3000


# ----- what it stands on


def test_the_c_library_works(domain):
    assert domain(memory=8).launch("libc", SEED).end() == (0, "libc works on xen: 3.143\n")


def test_an_address_that_is_not_the_apps_is_refused(domain):
    assert domain().launch("efault", SEED).end() == (0, "refused: kernel, text, null, beyond\n")


def test_the_clocks_are_dom0s_and_a_pause_does_not_turn_them_back(domain):
    d = domain().launch("time", "10000", SEED)
    d.says("began")
    run("xl", "pause", d.domid)
    assert "slept" not in d.console()  # the pause is within its sleep
    time.sleep(1)
    run("xl", "unpause", d.domid)
    status, text = d.end()
    began, slept, now = map(int, re.fullmatch(r"began (\d+)\nslept (\d+) now (\d+)\n", text).groups())
    assert status == 0
    assert began < 60_000_000  # us since its own first instruction, not since Xen's
    assert 10_000_000 <= slept < 30_000_000
    assert abs(time.time() - now) < 60


@pytest.mark.parametrize("memory", [4, 64, 1100])
def test_it_says_what_it_does_with_its_memory(domain, memory):
    d = launch_hello(domain, memory)
    d.says("KiB\n")
    given, image, channels, free = map(int, re.match(
        r"roomkey: xen: (\d+) KiB given, image (\d+) KiB, channels (\d+) KiB, free (\d+) KiB\n", d.console()).groups())
    assert given == memory * 1024
    assert channels <= given / 8
    assert channels == {4: 8 * 52 + 20, 64: 8 * 388 + 20, 1100: 8 * 388 + 20}[memory]
    assert image + channels + free <= min(given, 1 << 20)
    print(d.console())


# ----- channels


def test_an_ordinary_vchan_client_gets_back_what_it_sent(domain):
    d = domain(memory=16).launch("echo", "roomkey.channels=1", SEED)
    until(lambda: d.node("data/roomkey/control/event-channel"), "its channels")
    assert run(PEER, "echo", d.domid, 0, 1024) == "1048576 bytes came back"
    assert d.end() == (0, d.console())  # the client has left


def test_hello_serves_in_4_mib_and_each_client_may_come_again(domain):
    d = launch_hello(domain, 4)
    until(lambda: d.node("data/roomkey/control/event-channel"), "its channels")
    for i in range(WORKERS):
        assert d.node(f"data/roomkey/{i}/ring-ref") and d.node(f"data/roomkey/{i}/event-channel")
    for _ in range(3):
        [(kind, payload)] = d.frames("control", 1)
        us, name, version = ready(payload)
        assert (kind, name, version) == (READY, "hello", "1.0.0")
        assert 0 < us < 60_000_000
    for i in (0, WORKERS - 1, 0):
        [(kind, payload)] = d.frames(i, 1)
        assert kind == HELLO_FRAME
        assert struct.unpack("<HHIQ", payload)[3] == 7
    # Those workers have gone: their slots are free again. And it is in good health.
    frames = d.frames("control", 5, frame(HEALTH, struct.pack("<Q", 42)))
    assert sorted(kind for kind, _ in frames) == [READY, HEALTH, SLOT, SLOT, SLOT]
    assert [struct.unpack("<I", p)[0] for kind, p in frames if kind == SLOT] == [0, WORKERS - 1, 0]
    assert [struct.unpack_from("<QB", p) for kind, p in frames if kind == HEALTH] == [(42, 1)]


def test_64_workers_have_channels_of_full_size(domain):
    d = launch_hello(domain, 256, workers=64)
    d.says("channels 24852 KiB")
    for i in (0, 63):
        [(kind, _)] = d.frames(i, 1)
        assert kind == HELLO_FRAME


def test_it_stops_when_asked_to(domain):
    d = launch_hello(domain, 4)
    until(lambda: d.node("data/roomkey/control/event-channel"), "its channels")
    d.frames("control", 1, frame(STOP, struct.pack("<I", 1000)))
    assert d.end()[0] == 0


def test_an_idle_tenant_takes_no_processor(domain):
    d = launch_hello(domain, 4)
    until(lambda: d.node("data/roomkey/control/event-channel"), "its channels")
    d.frames("control", 1)
    until(lambda: d.state()[1] == "b", "its rest")
    before = d.cpu_us()
    time.sleep(5)
    took = d.cpu_us() - before
    print(f"{took} us of processor in 5 s of idleness; {run('xl', 'list', d.domid).splitlines()[-1]}")
    assert took < 50_000
