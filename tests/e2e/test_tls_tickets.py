"""Session tickets: good with every worker and every front of this boot, for two periods, and for nobody else.

A ticket that is no good makes a full handshake, never an alert.  Seen to fail: with the host name, the tenant or the
certificates left out of the scope (handshake_config.c); with the file not read, its boot, rights or file system not looked at;
with no step at the period's end; with is_offered() or has_tickets() saying yes.
"""

import os
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from house import SLOW, until
from tls_raw import *  # noqa: F403 - the client

WORKERS = 2
pytestmark = pytest.mark.only_on("sandbox", "before the handover nothing is the ground's")
BOTH = pytest.mark.parametrize("version", [13, 12], ids=["1.3", "1.2"])


def session(house, version, host="acme.localhost"):
    """A new one, of a full handshake."""
    with Client(house, host, version) as c:
        c.shake_hands().ask()
        assert not c.resumed
        return c.tickets[-1]


def resumes(house, offered, host="acme.localhost", version=None):
    """Whether it is; either way what the tenant says comes."""
    with Client(house, host, version or offered.version) as c:
        c.shake_hands(offered)
        assert c.ask() == b"1.0.0\n"
        return c.resumed


def worker_of(house, client):
    """The worker that has the other end of this connection."""
    port = f":{client.sock.getsockname()[1]:04X}"
    inode = next(line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines()
                 if line.split()[2].endswith(port) and line.split()[1].endswith(f":{house.port:04X}"))
    for pid in house.worker_pids():
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                if os.readlink(f"/proc/{pid}/fd/{fd}") == f"socket:[{inode}]":
                    return pid
            except OSError:
                pass  # closed meanwhile
    raise AssertionError(f"no worker has socket {inode}")


@BOTH
def test_a_session_is_resumed_by_every_worker(house, version):
    offered = session(house, version)
    seen = set()

    def both():
        with Client(house, version=version) as c:
            assert c.shake_hands(offered).resumed
            seen.add(worker_of(house, c))
        return seen == set(house.worker_pids())

    until(both, lambda: f"connections at each worker; seen {seen} of {house.worker_pids()}")


@BOTH
def test_a_ticket_is_no_good_for_another_tenant(house, version):
    offered = session(house, version)
    assert not resumes(house, offered, "globex.localhost")
    assert resumes(house, offered)


@BOTH
def test_a_ticket_is_no_good_under_another_name_of_its_tenant(house, version):
    names = [f"{n}{version}.names.localhost" for n in "ab"]
    chain, key = house.certs.make(*names)
    house.cli("tenant", "add", f"names{version}", "--image", "probe:1.0.0", "--host", ",".join(names),
              "--cert", chain, "--key", key)
    offered = session(house, version, names[0])
    assert not resumes(house, offered, names[1])
    assert resumes(house, offered, names[0])


@BOTH
def test_a_ticket_that_was_changed_makes_a_full_handshake(house, version):
    offered = session(house, version)
    good = offered.ticket
    flipped = [good[:i] + bytes([good[i] ^ 1]) + good[i + 1:] for i in (0, 3, 4, 15, 16, 17, 18, 40, len(good) - 1)]
    for ticket in [*flipped, good[:-1], good[:20], good[:1], good + b"x", os.urandom(len(good)), bytes(4000)]:
        assert not resumes(house, offered.with_ticket(ticket)), ticket.hex()
    assert resumes(house, offered)


@pytest.mark.parametrize("issued, offered", [(13, 12), (12, 13)])
def test_a_ticket_is_no_good_in_the_other_version(house, issued, offered):
    other = session(house, issued)
    other.version, other.secret = offered, other.secret[:32] if offered == 13 else bytes(48)
    assert not resumes(house, other)


@pytest.mark.parametrize("version, suite", [(13, 0x1303), (12, 0xcca9)], ids=["1.3", "1.2"])
def test_a_session_of_a_suite_that_is_not_offered_again_is_not_resumed(house, version, suite):
    with Client(house, version=version) as c:
        c.hello.suites = [suite]
        c.session = session(house, version)
        c.hello.set(TICKET, c.session.ticket) if version == 12 else None
        c.say_hello()
        c.hear_hello13() if version == 13 else c.hear_hello12()
        assert (c.suite, c.resumed) == (suite, False)


def test_no_session_is_resumed_or_issued_without_extended_master_secret(house):
    with Client(house, version=12) as c:
        c.hello.drop(EMS)
        c.shake_hands(session(house, 12)).ask()
        assert (c.resumed, c.tickets) == (False, [])


@BOTH
def test_a_ticket_does_not_outlive_its_certificate(house, version):
    name = f"cert{version}"
    house.add_tenant(name)
    offered = session(house, version, f"{name}.localhost")
    assert resumes(house, offered, f"{name}.localhost")
    chain, key = house.certs.make(f"{name}.localhost")
    house.cli("cert", "set", name, "--cert", chain, "--key", key)
    until(lambda: not resumes(house, offered, f"{name}.localhost"), "a full handshake with the new certificate")
    assert resumes(house, session(house, version, f"{name}.localhost"), f"{name}.localhost")


@BOTH
def test_a_ticket_does_not_open_what_is_suspended_or_removed(house, version):
    name = f"gone{version}"
    host = f"{name}.localhost"
    chain, key = house.certs.make(host)
    add = ["tenant", "add", name, "--image", "probe:1.0.0", "--host", host, "--cert", chain, "--key", key]
    house.cli(*add)
    offered = session(house, version, host)

    def told():
        with Client(house, host, version) as c:
            try:
                c.shake_hands(offered)
                return None
            except Told as told:
                return told.name

    house.cli("tenant", "suspend", name)
    assert until(told, "the tenant is refused") == "access_denied"
    house.cli("tenant", "resume", name)
    until(lambda: resumes(house, offered, host), "it is resumed again")
    house.cli("tenant", "remove", name)
    assert until(told, "the tenant is unknown") == "unrecognized_name"

    # Another tenant by the same name, with the same certificate.
    house.cli(*add)
    assert not resumes(house, offered, host)


# -- keys


@pytest.fixture
def memory():
    """A folder on a file system in memory."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="roomkey-tickets-") as folder:
        yield Path(folder)


def a_house(make_house, *front):
    house = make_house(front=front, workers=2)
    house.add_images("probe:1.0.0")
    house.add_tenant("acme")
    return house


def test_tickets_outlive_workers_and_with_a_ticket_file_the_front(make_house, memory):
    file = memory / "tickets"
    house = a_house(make_house, "--ticket-file", file)
    sessions = [session(house, v) for v in (13, 12)]

    def all_resume(when):
        assert [resumes(house, s) for s in sessions] == [True, True], when

    workers = house.worker_pids()
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(set(house.worker_pids()) - set(workers)) == 2, "two new workers")
    all_resume("new workers")
    for how in (signal.SIGTERM, signal.SIGKILL):
        left = house.worker_pids()
        house.front.stop(how)
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left), "its workers are gone")
        house.start_front()
        all_resume(f"a new front, after {how.name}")
    assert file.stat().st_mode & 0o777 == 0o600 and [f.name for f in memory.iterdir()] == ["tickets"]

    # Of another boot: not taken, and replaced.
    house.front.stop()
    saved = file.read_bytes()
    boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()[:36]
    assert boot in saved
    file.write_bytes(saved.replace(boot, bytes(36)))
    house.start_front()
    assert [resumes(house, s) for s in sessions] == [False, False]
    assert file.read_bytes() != saved


def test_without_a_ticket_file_tickets_end_with_the_front(make_house):
    house = a_house(make_house)
    sessions = [session(house, v) for v in (13, 12)]
    house.front.stop()
    house.start_front()
    assert [resumes(house, s) for s in sessions] == [False, False]


def test_a_ticket_file_that_others_may_read_or_that_is_on_a_disk_is_refused(make_house, memory):
    house = a_house(make_house)
    open_to_all = memory / "tickets"
    open_to_all.write_bytes(b"")
    open_to_all.chmod(0o644)
    link = memory / "link"
    link.symlink_to(memory / "elsewhere")
    kind = {d: subprocess.run(["stat", "-f", "-c", "%T", d], capture_output=True, text=True, check=True).stdout.strip()
            for d in map(str, (house.dir, "/var/tmp", "/usr"))}
    disk = next(d for d, k in kind.items() if k not in ("tmpfs", "ramfs"))
    for file, why in ((open_to_all, "only user"), (link, "Too many levels"), (Path(disk) / "rk-tickets", "in memory")):
        daemon = house._daemon("roomkey-front", "--run", house.run, "--listen", "127.0.0.1:0", "--ticket-file", file)
        assert daemon.process.wait(30 * SLOW) == 1
        assert why in daemon.said() and daemon.said().count("\n") == 1, daemon.said()
        assert not (Path(disk) / "rk-tickets.new").exists() and not (Path(disk) / "rk-tickets").exists()


def test_a_ticket_file_that_cannot_be_written_costs_nobody_the_service(make_house, memory):
    house = a_house(make_house, "--ticket-file", str(memory / "no such folder" / "tickets"))
    assert resumes(house, session(house, 13))
    assert "tickets of this period will not be taken" in house.front.said()


def test_a_ticket_file_that_cannot_be_replaced_goes_with_its_period(make_house, memory):
    """Who reads it later gets nothing that is older than two periods.  Seen to fail: without drop_ticket_file()'s unlink."""
    file = memory / "tickets"
    a_house(make_house, "--ticket-file", file, "--ticket-period", str(int(2 * SLOW)))
    assert file.exists()
    (memory / "tickets.new").mkdir()  # in the place of the one that would replace it
    until(lambda: not file.exists(), "it is gone with the period")


def test_a_ticket_is_good_for_its_period_and_the_next(make_house):
    house = a_house(make_house, "--ticket-period", str(int(2 * SLOW)))
    versions = (13, 12)
    names = [session(house, 13).key_name()]  # of the keys, as they come

    def resumed_in(sessions):
        """Whether each is resumed, and the key name of the period in which that was seen; None: it changed meanwhile."""
        before = session(house, 13).key_name()
        seen = [resumes(house, s) for s in sessions]
        return (seen, before) if session(house, 13).key_name() == before else None

    def first():
        sessions = [session(house, v) for v in versions]
        return sessions if len({s.key_name() for s in sessions}) == 1 else None

    offered = until(first, "two tickets of one period")
    mine = offered[0].key_name()
    seen = {}

    def until_refused():
        result = resumed_in(offered)
        if not result:
            return False
        if result[1] not in names:
            names.append(result[1])
        seen[result[1]] = result[0]
        return len(seen) >= 2 and result[0] == [False, False]

    until(until_refused, lambda: f"the tickets are refused; seen {seen}")
    later = names[names.index(mine) + 1:] if mine in names else names
    assert seen[later[0]] == [True, True], (mine, names, seen)
    assert seen[later[1]] == [False, False], (mine, names, seen)
    with Client(house) as c:  # and the client is told so
        c.shake_hands().ask()
        assert c.tickets[0].lifetime == 2 * int(2 * SLOW)
