"""What a house does, one operation at a time, to be done again and again: with somebody killed in the middle of it,
or with a disk that fails.
"""

import contextlib
import threading

from house import Refused, get, head_of, ms, much, pattern, until


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
        head_of(self.sock, 1)

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
    name = "plain"

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

    name = "napper"

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


@contextlib.contextmanager
def prepared(kind, house, ledger):
    operation = kind(house, ledger)
    operation.prepare()
    house.refused("image", "add", "none:1.0.0", __file__)  # roomkeyd has all its threads now
    try:
        yield operation
    finally:
        operation.close()
