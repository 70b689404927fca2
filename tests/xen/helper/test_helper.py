"""roomkey-xen, job by job: what roomkeyd relies on when it makes, launches, watches and ends domains.

Runs inside dom0, as root: scripts/xenlab test tests/xen/helper/test_helper.py
One program with one test: scripts/xenlab run build/release/bin/test_xen_work 'of_two*'
"""

import os
import subprocess
from pathlib import Path

import pytest

BUILD = Path(os.environ.get("ROOMKEY_BUILD", Path(__file__).resolve().parents[3] / "build" / "release"))
DEADLINE = 600  # seconds; a program has some twenty tests


@pytest.mark.parametrize("program", ["test_xen_work", "test_xen_watch"])
def test_all_of_its_sentences_are_true(program):
    done = subprocess.run([BUILD / "bin" / program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=DEADLINE)
    print(done.stdout)
    assert done.returncode == 0, f"{program}: {done.returncode}"
    assert "[  PASSED  ]" in done.stdout and "FAILED" not in done.stdout


def probe(spoil):
    """What `roomkey-xen probe` says in a world that is spoilt for it alone."""
    script = f'{spoil} && exec "$1" probe'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", BUILD / "bin" / "roomkey-xen"], capture_output=True, text=True, timeout=DEADLINE
    )
    print(done.stdout, done.stderr)
    return done.returncode, done.stdout


def test_the_probe_has_nothing_to_say_against_this_host():
    status, said = probe("true")
    assert status == 0
    assert "fault" not in said
    assert {line.split("  ")[0] for line in said.splitlines()} <= {"ok", "warning"}


@pytest.mark.parametrize(
    "spoil, todo",
    [
        ("umount /proc/xen", "mount -t xenfs xenfs /proc/xen"),
        ("mount --bind /dev/null /proc/xen/capabilities", "mount -t xenfs xenfs /proc/xen"),
        ("mount --bind /etc/passwd /proc/xen/capabilities", "only dom0 may make domains"),
        ("mount --bind /etc/passwd /sys/hypervisor/type", "runs without Xen"),
        ("mount -t tmpfs none /dev/xen", "modprobe xen-privcmd"),
        ("mount -t tmpfs none /run/xenstored", "xenstored does not run"),
        ("mount --bind /etc/passwd /proc/$(pidof xenconsoled)/comm", "xenconsoled does not run"),
    ],
)
def test_the_probe_says_what_is_wrong_and_what_to_do(spoil, todo):
    status, said = probe(spoil)
    assert status == 1
    assert todo in " ".join(line for line in said.splitlines() if line.startswith("fault"))
