"""kill -9 of roomkeyd before each system call of each operation that others can see the effect of.

The matrix is made by watching: each operation is run once under strace, and then once for each of its calls, with
roomkeyd killed there (killing.py).  With roomkeyd dead an open connection and an awake tenant serve on; started
again, all that was acknowledged is there, all else wholly or not at all, and registry, files and machines agree
(ledger.py).  What a client asked for meanwhile is answered: late, but well.

Here one call of each kind of state; ROOMKEY_CRASHES=all takes every one (some 500, a few minutes).

SIGKILL is the death of a process, not of the host: order and fsync against a power cut cannot be shown so.
"""

import contextlib
import signal
import threading

import pytest

from house import Refused, get, ms, much, pattern, until
from killing import at, calls_during, is_dead, kinds
from ledger import Ledger

pytestmark = pytest.mark.only_on("sandbox", "registry and stores are the same on every ground; tests/xen has the deaths of what is Xen's own")

WORKERS = 1


class Operation:
    """What happens; `prepare` brings the house to where it can, from wherever an earlier run has left it."""

    def __init__(self, house, ledger):
        self.house, self.ledger = house, ledger

    def prepare(self):
        pass

    def act(self):
        """Acknowledged when it returns; Refused when it was not.  Of a client: it must return."""

    def after(self):
        """When roomkeyd is back, beyond what holds for all."""

    def close(self):
        pass

    # -- for those below

    def has(self, kind, name):
        return name in self.ledger.wishes()[kind]

    def tenant(self, name, image="probe:1.0.0", *more):
        """The tenant is there, as if new."""
        if not self.has("tenants", name):
            self.house.add_tenant(name, image, *more)
        elif self.ledger.wishes()["tenants"][name][1] != image:
            self.house.cli("tenant", "upgrade", name, "--image", image)
            self.house.curl(name, "/version")
            until(lambda: self.upgraded(name), "back on its first image")
        self.house.cli("tenant", "resume", name)

    def upgraded(self, name):
        return self.ledger.rows(f"SELECT upgrade FROM tenant WHERE name = '{name}'") == [("none",)]

    def awake(self, name):
        assert self.house.curl(name, "/version")

    def asleep(self, name):
        self.house.cli("instance", "stop", name)


class ImageAdd(Operation):
    def prepare(self):
        if self.has("images", "greeter:2.0.0"):
            self.house.cli("image", "remove", "greeter:2.0.0")

    def act(self):
        self.house.add_images("greeter:2.0.0")


class ImageRemove(Operation):
    def prepare(self):
        if not self.has("images", "greeter:2.0.0"):
            self.house.add_images("greeter:2.0.0")

    def act(self):
        self.house.cli("image", "remove", "greeter:2.0.0")


class TenantAdd(Operation):
    def prepare(self):
        if self.has("tenants", "new"):
            self.house.cli("tenant", "remove", "new")

    def act(self):
        self.house.add_tenant("new")


class CertSet(Operation):
    def prepare(self):
        self.tenant("plain")
        self.chain, self.key = self.house.certs.make("plain.localhost")

    def act(self):
        self.house.cli("cert", "set", "plain", "--cert", self.chain, "--key", self.key)


class TenantSet(Operation):
    def prepare(self):
        self.tenant("plain")
        self.house.cli("tenant", "set", "plain", "--idle", "60s")

    def act(self):
        self.house.cli("tenant", "set", "plain", "--idle", "50s", "--max-connections", 7)


class Suspend(Operation):
    def prepare(self):
        self.tenant("plain")
        self.awake("plain")

    def act(self):
        self.house.cli("tenant", "suspend", "plain")


class Resume(Operation):
    def prepare(self):
        self.tenant("plain")
        self.house.cli("tenant", "suspend", "plain")

    def act(self):
        self.house.cli("tenant", "resume", "plain")


class TenantRemove(Operation):
    def prepare(self):
        self.tenant("going")
        self.awake("going")

    def act(self):
        self.house.cli("tenant", "remove", "going")


class Upgrade(Operation):
    """Of a tenant that sleeps."""

    name, image, args = "moving", "probe:2.0.0", ()

    def prepare(self):
        self.tenant(self.name)
        self.begin()

    def begin(self):
        self.asleep(self.name)

    def act(self):
        self.house.cli("tenant", "upgrade", self.name, "--image", self.image, *self.args)

    def after(self):
        until(lambda: self.house.curl(self.name, "/version") == self.serving() and self.upgraded(self.name),
              "it runs what its row says")

    def serving(self):
        return self.ledger.wishes()["tenants"][self.name][1].split(":")[1] + "\n"


class UpgradeIdle(Upgrade):
    args = ("--wait",)

    def begin(self):
        self.awake(self.name)


class UpgradeInUse(Upgrade):
    """Past its max-wait: the old connection goes on beside the new instance."""

    args = ("--max-wait", "1ms", "--wait")

    def begin(self):
        self.left = self.size = much(50_000_000)
        self.sock = self.house.connect(self.name, narrow=True)
        self.sock.sendall(f"GET /bytes/{self.size} HTTP/1.1\r\nHost: {self.name}.localhost\r\nConnection: close\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += self.sock.recv(1)

    def after(self):
        while data := self.sock.recv(1 << 18):
            assert data == pattern(self.size - self.left, len(data))
            self.left -= len(data)
        assert self.left == 0, f"{self.left} bytes of a download did not come"
        super().after()

    def close(self):
        self.sock.close()


class Rollback(Upgrade):
    name, image, args = "rolling", "hello:3.0.0", ("--wait",)

    def prepare(self):
        self.tenant(self.name, "hello:1.0.0")
        self.house.curl(self.name, "/")

    def act(self):
        with contextlib.suppress(Refused):  # it is told so: rolled back
            super().act()

    def after(self):
        until(lambda: self.house.curl(self.name, "/") and self.ledger.wishes()["tenants"][self.name][1] in ("hello:1.0.0", "hello:3.0.0"), "it serves")
        until(lambda: self.ledger.wishes()["tenants"][self.name][1] == "hello:1.0.0", "it is back")


class Wake(Operation):
    def prepare(self):
        self.tenant("plain")
        self.asleep("plain")

    def act(self):
        assert self.house.curl("plain", "/version") == "1.0.0\n"


class Serve(Wake):
    def prepare(self):
        self.tenant("plain")
        self.awake("plain")


class Idle(Operation):
    """From the last answer to the last sign of the instance."""

    def prepare(self):
        self.tenant("napper", "probe:1.0.0", "--idle", f"{ms(0.1)}ms")

    def act(self):
        self.awake("napper")
        until(lambda: not [i for i in self.ledger.rows("SELECT 1 FROM instance n JOIN tenant t ON t.id = n.tenant"
                                                       " WHERE t.name = 'napper' AND n.state <> 'ended'")], "it is asleep")


class Stop(Operation):
    def prepare(self):
        self.tenant("plain")
        self.awake("plain")

    def act(self):
        self.house.cli("instance", "stop", "plain")


class Drain(Stop):
    """A stop with a connection that must be ended first."""

    def prepare(self):
        super().prepare()
        self.sock = self.house.connect("plain")
        get(self.sock, "plain.localhost", "/version")

    def close(self):
        self.sock.close()


OPERATIONS = [ImageAdd, ImageRemove, TenantAdd, CertSet, TenantSet, Suspend, Resume, TenantRemove, Upgrade, UpgradeIdle,
              UpgradeInUse, Rollback, Wake, Serve, Idle, Drain, Stop]


class Client(threading.Thread):
    """Does it, while others look on."""

    def __init__(self, act):
        super().__init__(daemon=True)
        self.act, self.error = act, None
        self.start()

    def run(self):
        try:
            self.act()
        except BaseException as error:  # noqa: BLE001 - looked at by who joins
            self.error = error

    def acknowledged(self):
        self.join()
        if self.error and not isinstance(self.error, Refused):
            raise self.error
        return self.error is None


@pytest.fixture(scope="module")
def ledger(house):
    house.add_images("greeter:2.0.0")
    with house.connect("acme") as house.held:
        get(house.held, "acme.localhost", "/version")
        yield Ledger(house)


def serves_on(house):
    """Without roomkeyd: an open connection, and a new one to a tenant that is awake."""
    assert get(house.held, "acme.localhost", "/version") == (200, b"1.0.0\n")
    assert house.curl("acme", "/version") == "1.0.0\n"


@contextlib.contextmanager
def prepared(kind, house, ledger):
    operation = kind(house, ledger)
    operation.prepare()
    house.refused("image", "add", "none:1.0.0", __file__)  # roomkeyd has all its threads now
    try:
        yield operation
    finally:
        operation.close()


def kill_at(call, kind, house, ledger):
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
        return reached, acknowledged, before, ledger.wishes()


@pytest.mark.parametrize("kind", OPERATIONS, ids=lambda kind: kind.__name__)
def test_roomkeyd_is_killed_in(kind, house, ledger):
    with prepared(kind, house, ledger) as operation:
        calls = calls_during(house.orchestrator.pid, operation.act)
        operation.after()
        done = without_names(ledger.wishes())
    missed = 0
    for call in kinds(calls):
        try:
            reached, acknowledged, before, now = kill_at(call, kind, house, ledger)
            missed += not reached
            wanted = [done] if acknowledged else [without_names(before), done]
            assert without_names(now) in wanted, f"{'acknowledged' if acknowledged else 'refused'}: {before} -> {now}"
        except Exception as error:
            raise AssertionError(f"killed at {call}: {error}") from error
    print(f"{kind.__name__}: {len(kinds(calls))} of {len(calls)} states, {missed} not met again")


def without_names(wishes):
    """Certificates are new ones each time."""
    return {"images": wishes["images"], "tenants": {n: t[:7] for n, t in wishes["tenants"].items()}}
