"""kill -9 of a front worker, the key agent, the front's parent, and of instances, before each system call of each
operation that others can see: as test_crashes.py does it with roomkeyd.

A worker takes its own connections with it, an instance those of its tenant; whoever comes next is served, and so are
all others meanwhile.  Of the agent's death nobody notices anything.  The parent takes all of the front with it; started
again it serves what runs.  ROOMKEY_CRASHES=all takes every call.
"""

import contextlib
import os
import signal
import ssl
import tempfile
import time
from pathlib import Path

import pytest

from house import DEADLINE, SANITIZED, SLOW, get, until
from killing import ALL, at, at_child, calls_during, calls_from_start, calls_of_child, is_dead, killed_from_start, kinds
from ledger import Ledger
from matrix import CONFIG, at_each, outcomes, own_house, told, watched
from operations import CertSet, Client, Drain, Idle, Operation, Serve, Stop, UpgradeIdle, Wake, prepared

pytestmark = pytest.mark.only_on("sandbox", "it watches processes; tests/xen has the deaths of domains")

READY = "roomkey-front: ready"
# Of a worker's and the agent's birth: walls are up one by one, memory is had, somebody is listened to.
STEPS = {"getppid", "close_range", "rmdir", "chroot", "setresuid", "memfd_secret", "epoll_create1", "listen", "accept4", "pread64"}


class Resume12(Operation):
    """A ticket, of a tenant that sleeps."""

    version = ssl.TLSVersion.TLSv1_2

    def prepare(self):
        self.tenant("plain")
        self.context = self.house.context(self.version)
        with self.house.connect("plain", context=self.context) as sock:
            get(sock, "plain.localhost", "/version")
            self.session = sock.session
        self.asleep("plain")

    def act(self):
        with self.house.connect("plain", context=self.context, session=self.session) as sock:
            assert get(sock, "plain.localhost", "/version") == (200, b"1.0.0\n") and sock.session_reused


class Resume13(Resume12):
    version = ssl.TLSVersion.TLSv1_3


class Restart(Operation):
    """The parent starts another worker, and another agent."""

    def act(self):
        killed = {self.house.worker_pids()[0], self.house.agent_pid()}
        for pid in killed:
            os.kill(pid, signal.SIGKILL)

        def are_back():
            return set(self.house.worker_pids()) - killed and self.house.agent_pid() not in {None, *killed}

        until(lambda: is_dead(self.house.front.pid) or are_back(), "both are back")
        assert self.house.curl("other", "/version") == "1.0.0\n"


def instance_of(house, tenant):
    newest = max(i["id"] for i in house.instances(tenant))
    return int(Ledger(house).rows(f"SELECT handle FROM instance WHERE id = {newest}")[0][0].split()[0].removeprefix("pid="))


# Who is killed; in what; whether the operation's own client may notice.
VICTIMS = {
    "worker": (lambda house: house.worker_pids()[0], True),
    "agent": (lambda house: house.agent_pid(), False),
    "parent": (lambda house: house.front.pid, True),
    "instance": (lambda house: instance_of(house, "plain"), True),
}
MATRIX = [("worker", k) for k in (Wake, Serve, Resume12, Resume13, Idle, Drain, UpgradeIdle)]
MATRIX += [("agent", k) for k in (Wake, Serve, Resume12, Resume13, CertSet)]
MATRIX += [("parent", Restart)]
MATRIX += [("instance", k) for k in (Serve, Drain, Stop)]


def others_serve_on(house):
    assert get(house.held, "acme.localhost", "/version") == (200, b"1.0.0\n")


def kill_at(victim, call, kind, house, ledger):
    find, notices = VICTIMS[victim]
    with prepared(kind, house, ledger) as operation:
        pid = find(house)
        with at(pid, call):
            client = Client(operation.act)
            until(lambda: is_dead(pid) or not client.is_alive(), f"the {victim} is dead, or it is done")
        reached = is_dead(pid)
        if not reached:
            os.kill(pid, signal.SIGKILL)
        if victim == "parent":
            house.front.stop(signal.SIGKILL)
            until(lambda: not children_left(house), "all of the front is gone")
            house.start_front()
        client.join(2 * DEADLINE)
        assert notices or client.error is None, f"noticed: {client.error}"
        if victim == "agent" or victim == "instance":
            others_serve_on(house)
        for tenant in ("acme", "other"):
            until(lambda: house.curl(tenant, "/version", check=False).returncode == 0, f"{tenant} is served")
        if victim in ("worker", "parent"):
            house.held = house.connect("acme")
            others_serve_on(house)
        until(lambda: house.curl("plain", "/version", check=False).returncode == 0, "the next client is served")
        operation.after()
        ledger.check()
        return reached


def children_left(house):
    return [d for d in os.listdir("/proc") if d.isdigit() and f"--run\0{house.run}\0--listen".encode() in cmdline(d)]


def cmdline(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def in_a_house(victim, kind):
    with own_house("probe:1.0.0", "probe:2.0.0", tenants=("acme", "other", "plain")) as (house, ledger):
        house.held = house.connect("acme")
        try:
            others_serve_on(house)
            house.curl("other", "/version")
            house.curl("plain", "/version")
            calls, _ = watched(kind, house, ledger, VICTIMS[victim][0](house))
            reached = at_each(kinds(calls), lambda call: kill_at(victim, call, kind, house, ledger))
            return told(f"{victim}, {kind.__name__}", calls, reached)
        finally:
            house.held.close()


@pytest.fixture(scope="module")
def outcome(request):
    yield from outcomes(request, in_a_house, "victim", "kind")


@pytest.mark.parametrize("victim, kind", MATRIX, ids=lambda x: x if isinstance(x, str) else x.__name__)
def test_is_killed_in(victim, kind, outcome):
    print(outcome[victim, kind].result())


def test_an_open_connection_at_another_worker_goes_on(make_house):
    house = make_house(workers=2)
    house.add_images("probe:1.0.0")
    house.add_tenant("acme")
    socks = [house.connect("acme") for _ in range(12)]
    for sock in socks:
        get(sock, "acme.localhost", "/version")
    os.kill(house.worker_pids()[0], signal.SIGKILL)
    until(lambda: len(house.worker_pids()) == 2 and house.curl("acme", "/version"), "a new worker serves")
    alive = 0
    for sock in socks:
        try:
            alive += get(sock, "acme.localhost", "/version") == (200, b"1.0.0\n")
        except (OSError, AssertionError):
            pass  # the dead one's
        sock.close()
    assert 0 < alive < len(socks), f"{alive} of {len(socks)} went on"
    Ledger(house).check()


def test_an_instance_is_killed_while_it_starts(make_house):
    """Before each kind of call that it makes from its birth to READY: its start has failed, which costs those who wait
    a 503 at most; the next one serves."""
    house = make_house(config={**CONFIG, "deadlines": {"pause": "100ms", "pause_max": "100ms"}})
    house.add_images("probe:1.0.0")
    house.add_tenant("plain")
    ledger = Ledger(house)

    def wake():
        return house.curl("plain", "/version", "-w", "%{http_code}", check=False).stdout.decode()

    def crashes():
        return [e for e in house.events("plain") if e["kind"] == "crashed"]

    calls = calls_of_child(house.orchestrator.pid, wake)
    assert len(calls) > 10, [str(c) for c in calls]
    for call in calls:
        house.cli("instance", "stop", "plain", check=False)
        before = crashes()
        with at_child(house.orchestrator.pid, call):
            said = wake()
        if said == "000":  # it had its connection already
            until(lambda: crashes() != before, f"an event that it crashed, killed at {call}")
        else:
            assert said.endswith(("200", "503")), f"killed at {call}: {said}"
        until(lambda: wake() == "1.0.0\n200", f"it is served again after a death at {call}")
        ledger.check()
    print(f"killed in {len(calls)} states")


@pytest.fixture
def served(make_house, monkeypatch):
    """A house whose front keeps its tickets' secret in a file, and a way to see that a tenant is served."""
    monkeypatch.setenv("ASAN_OPTIONS", "detect_leaks=0")  # it cannot, at the end of a process that is traced
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="roomkey-tickets-") as folder:
        house = make_house(config=CONFIG, front=["--ticket-file", f"{folder}/secret"])
        house.add_images("probe:1.0.0")
        house.add_tenant("plain")
        house.serves = lambda: house.curl("plain", "/version", check=False, deadline=SLOW).stdout == b"1.0.0\n"
        yield house
        assert set(os.listdir(folder)) == {"secret"}


def test_a_worker_and_the_agent_are_killed_while_they_start(served):
    """Before each step from their birth to their first customer: the parent starts them again.  Only calls that it does not
    make itself meanwhile."""
    def deaths():
        return served.front.said().count("was ended by signal 9")

    def renew():
        """True: one of the new ones died as well."""
        for pid in (served.worker_pids()[0], served.agent_pid()):
            os.kill(pid, signal.SIGKILL)
        until(lambda: deaths() > 2 or served.agent_pid() and served.worker_pids() and served.serves(), "one died again, or both are back")
        return deaths() > 2

    calls, missed = calls_of_child(served.front.pid, renew), 0
    calls = [call for call in calls if ALL or call.name in STEPS]
    assert SANITIZED or {call.name for call in calls} >= STEPS, [str(c) for c in calls]  # which locks nothing in
    for call in calls:
        served.front.stop()  # whose next one forgets how soon its children died
        served.start_front()
        with at_child(served.front.pid, call):
            missed += not renew()
        until(lambda: served.agent_pid() and served.serves(), f"it is served after a death at {call}")
    Ledger(served).check()
    remove_roots()
    print(f"killed in {len(calls)} states; {missed} did not come again")


def remove_roots():
    """What is left of a death between the making of the empty root folder and the loss of its name."""
    for path in Path("/tmp").glob("roomkey-front.??????"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > DEADLINE:  # nobody is being locked into it
                path.rmdir()


def test_the_parent_is_killed_while_it_starts(served):
    served.front.stop()
    served.start_front()  # now its port is among its arguments
    served.front.stop()
    args, missed = served.front.args, 0
    calls = kinds(calls_from_start(args, READY))
    for call in calls:
        missed += not killed_from_start(args, call, READY)
        until(lambda: not children_left(served), f"all of the front is gone after a death at {call}")
        served.start_front()
        until(served.serves, f"it is served after a death at {call}")
        served.front.stop()
    print(f"killed in {len(calls)} states; {missed} did not come again")


def test_the_parent_is_killed_while_it_stops(served):
    calls = kinds(calls_during(served.front.pid, served.front.stop))
    for call in calls:
        served.start_front()
        until(served.serves, "it is served")
        with at(served.front.pid, call):
            served.front.stop()
        until(lambda: not children_left(served), f"all of the front is gone after a death at {call}")
    print(f"killed in {len(calls)} states")
