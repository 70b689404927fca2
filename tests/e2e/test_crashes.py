"""kill -9 of roomkeyd before each system call of each operation that others can see the effect of.

The matrix is made by watching: each operation is run once under strace, and then once for each of its calls, with
roomkeyd killed there (killing.py).  With roomkeyd dead an open connection and an awake tenant serve on; started
again, all that was acknowledged is there, all else wholly or not at all, and registry, files and machines agree
(ledger.py).  What a client asked for meanwhile is answered: late, but well.

Here one call of each kind of state; ROOMKEY_CRASHES=all takes every one (some 600, several minutes).

SIGKILL is the death of a process, not of the host: order and fsync against a power cut cannot be shown so.

Seen to fail: with the child of a clone left to wait for a dead roomkeyd (sandbox_child.c: a process that nobody knows), with
stale routes not used while roomkeyd is away (opening.c: an awake tenant is not reached).
"""

import contextlib
import os
import signal

import pytest

from house import get, ms, until
from killing import at, calls_during, calls_from_start, is_dead, killed_from_start, kinds
from ledger import Ledger
from matrix import CONFIG, at_each, outcomes, own_house, told, watched, without_names
from operations import (CertSet, Client, Drain, Idle, ImageAdd, ImageRemove, Resume, Rollback, Serve, Stop, Suspend, TenantAdd,
                        TenantRemove, TenantSet, Upgrade, UpgradeIdle, UpgradeInUse, Wake, prepared)

pytestmark = pytest.mark.only_on("sandbox", "registry and stores are the same on every ground; tests/xen has the deaths of what is Xen's own")

READY = "roomkeyd: ready"


OPERATIONS = [ImageAdd, ImageRemove, TenantAdd, CertSet, TenantSet, Suspend, Resume, TenantRemove, Upgrade, UpgradeIdle,
              UpgradeInUse, Rollback, Wake, Serve, Idle, Drain, Stop]


def in_a_house(kind):
    """All of the operation's cases; what is to be printed."""
    with own_house("hello:1.0.0", "hello:3.0.0", "probe:1.0.0", "probe:2.0.0") as (house, ledger):
        with house.connect("acme") as house.held:
            get(house.held, "acme.localhost", "/version")
            calls, done = watched(kind, house, ledger, house.orchestrator.pid)
            return told(kind.__name__, calls, at_each(kinds(calls), lambda call: kill_at(call, kind, house, ledger, done)))


@pytest.fixture(scope="module")
def outcome(request):
    yield from outcomes(request, in_a_house, "kind")


def serves_on(house):
    """Without roomkeyd: an open connection, and a new one to a tenant that is awake."""
    assert get(house.held, "acme.localhost", "/version") == (200, b"1.0.0\n")
    assert house.curl("acme", "/version") == "1.0.0\n"


def kill_at(call, kind, house, ledger, done):
    with prepared(kind, house, ledger) as operation:
        before = ledger.wishes()
        daemon = house.orchestrator
        with at(daemon.pid, call):
            client = Client(operation.act)
            until(lambda: is_dead(daemon.pid) or not client.is_alive(), "roomkeyd is dead, or it is done")
        reached = is_dead(daemon.pid)
        daemon.stop(signal.SIGKILL)
        serves_on(house)
        house.start_orchestrator()
        acknowledged = client.acknowledged()
        operation.after()
        ledger.check()
        now = ledger.wishes()
    wanted = [done] if acknowledged else [without_names(before), done]
    assert without_names(now) in wanted, f"{'acknowledged' if acknowledged else 'refused'}: {before} -> {now}"
    return reached


@pytest.mark.parametrize("kind", OPERATIONS, ids=lambda kind: kind.__name__)
def test_roomkeyd_is_killed_in(kind, outcome):
    print(outcome[kind,].result())


@pytest.fixture
def alone(make_house, monkeypatch):
    monkeypatch.setenv("ASAN_OPTIONS", "detect_leaks=0")  # it cannot, at the end of a process that is traced
    house = make_house(config=CONFIG)
    house.add_images("probe:1.0.0")
    for name in ("acme", "globex"):
        house.add_tenant(name)
    return house


def awake_all(house):
    for name in ("acme", "globex"):
        until(lambda: house.curl(name, "/version", check=False).returncode == 0, f"{name} serves")


def test_roomkeyd_is_killed_while_it_stops(alone):
    ledger = Ledger(alone)
    awake_all(alone)
    calls = kinds(calls_during(alone.orchestrator.pid, alone.orchestrator.stop))
    for call in calls:
        alone.start_orchestrator()
        ledger.check()
        awake_all(alone)
        with at(alone.orchestrator.pid, call):
            alone.orchestrator.stop()
    alone.start_orchestrator()
    ledger.check()
    awake_all(alone)
    print(f"killed in {len(calls)} states")


def test_roomkeyd_is_killed_while_it_starts(alone):
    """With an instance to adopt, and one that died while nobody looked."""
    ledger = Ledger(alone)

    def prepare():
        awake_all(alone)
        lost = alone.instances("globex")[0]["id"]
        handle = ledger.rows(f"SELECT handle FROM instance WHERE id = {lost}")[0][0]
        alone.orchestrator.stop(signal.SIGKILL)
        alone.machines.kill(int(handle.split()[0].removeprefix("pid=")))

    prepare()
    calls, missed = kinds(calls_from_start(alone.orchestrator.args, READY)), 0
    for call in calls:
        missed += not killed_from_start(alone.orchestrator.args, call, READY)
        alone.start_orchestrator()
        ledger.check()
        prepare()
    alone.start_orchestrator()
    ledger.check()
    print(f"killed in {len(calls)} states; {missed} did not come again")


def test_without_roomkeyd_new_connections_at_any_worker_wait_for_the_next_one(make_house):
    """A worker that has not served a tenant yet knows neither its route nor its channel, and nobody to ask."""
    house = make_house(workers=2)
    house.add_images("probe:1.0.0")
    house.add_tenant("acme")
    house.add_tenant("asleep")
    assert house.curl("acme", "/version") == "1.0.0\n"
    house.orchestrator.stop(signal.SIGKILL)
    clients = [Client(lambda: house.curl("acme", "/version")) for _ in range(12)] + [Client(lambda: house.curl("asleep", "/version"))]
    until(lambda: 0 < sum(c.is_alive() for c in clients) < len(clients), "some are served at once, and others wait")
    house.start_orchestrator()
    assert all(c.acknowledged() for c in clients)
    Ledger(house).check()


def test_who_had_asked_a_roomkeyd_that_dies_is_served_by_what_it_said_before(make_house):
    """Its route is stale, since there is a new roomkeyd, which hangs when it is asked.  Without wakes_alone() it waits
    in vain, and gets an alert."""
    house = make_house(config=CONFIG)
    house.add_images("probe:1.0.0")
    house.add_tenant("acme")
    assert house.curl("acme", "/version") == "1.0.0\n"
    house.orchestrator.stop(signal.SIGKILL)
    house.start_orchestrator()
    until(lambda: "front worker 0 is here" in house.orchestrator.said(), "the worker has found it")
    ledger = Ledger(house)
    ledger.check()
    house.orchestrator.process.send_signal(signal.SIGSTOP)
    folder = f"/proc/{house.worker_pids()[0]}/fd"
    before = len(os.listdir(folder))
    client = Client(lambda: house.curl("acme", "/version"))
    until(lambda: len(os.listdir(folder)) > before, "the worker has the connection")
    with contextlib.suppress(AssertionError):
        until(lambda: not client.is_alive(), "nothing", deadline=ms(0.2) / 1000)  # it has asked by then
    assert client.is_alive()
    house.orchestrator.stop(signal.SIGKILL)
    assert client.acknowledged()


def test_a_roomkeyd_that_stays_away_is_a_503_where_there_is_a_route(make_house):
    house = make_house(config=CONFIG)
    house.add_images("probe:1.0.0")
    house.add_tenant("acme", "probe:1.0.0", "--wake-timeout", f"{ms(0.5)}ms")
    assert house.curl("acme", "/version") == "1.0.0\n"
    house.cli("instance", "stop", "acme")
    house.orchestrator.stop(signal.SIGKILL)
    said = house.curl("acme", "/version", "-i", check=False).stdout.decode()
    assert "503" in said.splitlines()[0] and "retry-after" in said.lower(), said
