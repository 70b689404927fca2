"""Clients of the front in every state that a connection can be in, each with what must be kept secret of it."""

import re
import socket
import subprocess
from collections import namedtuple

import clients
from clients import metrics, rest_of
from house import DEADLINE, VERSIONS, answer, until
from key_schedule import derived, logged

LARGE = 1 << 36  # bytes of an answer that does not end
CIPHERS = ["AESGCM", "CHACHA20"]  # of TLS 1.2; what TLS 1.3 takes is not Python's to choose

Secret = namedtuple("Secret", "client label")
Secret.__str__ = lambda s: f"{s.label} of {s.client}"


class Contexts:
    """One for each version and cipher, as sessions can be resumed in their own context only."""

    def __init__(self, house, folder):
        self.house, self.keylog, self.made = house, folder / "keylog", {}

    def of(self, version, cipher):
        if (version, cipher) not in self.made:
            context = self.house.context(VERSIONS[version])
            context.keylog_filename = str(self.keylog)
            if version == "1.2":
                context.set_ciphers(cipher)
            self.made[version, cipher] = context
        return self.made[version, cipher]


class Client(clients.Client):
    """A connection that stops wherever its state says."""

    def __init__(self, contexts, tenant, version, state, number, session=None):
        super().__init__(contexts.house, tenant.host, narrow=64 << 10, context=contexts.of(version, CIPHERS[number % 2]),
                         session=session)
        self.tenant, self.version, self.state, self.number = tenant, version, state, number
        self.name = f"{state}, TLS {version}, {tenant.name} ({number})"
        self.contexts, self.marked = contexts, f"X-Marker: {tenant.marker}\r\n"
        self.held = b""
        self.resumed = None  # the client whose session this goes on with

    def __repr__(self):
        return self.name

    def up_to_finished(self):
        """All but the record with its Finished, and what comes before that: TLS 1.2's key exchange goes out."""
        data = self.finished()
        first = 5 + int.from_bytes(data[3:5], "big")
        self.put(data[:first])
        self.held = data[first:]

    def post(self, path, body, length=None):
        """A request that has the tenant's marker in its head."""
        self.ask(path, self.marked + f"Content-Length: {length or len(body)}\r\n", "POST", body)

    def post_marker(self):
        """One that both sides are full of the tenant's marker with, when it is answered."""
        body = self.tenant.marker.encode() * 64
        self.post("/echo", body)
        return body

    def serve(self):
        body = self.post_marker()
        assert answer(self) == (200, body), self

    def secrets(self):
        """{name: bytes}, by now: what its handshake agreed, and what follows from that."""
        if not self.randoms():
            return {}
        known = logged(self.contexts.keylog, self.randoms()[0])
        if self.resumed and self.version == "1.2":
            known = {"CLIENT_RANDOM": self.resumed.secrets()["CLIENT_RANDOM"]}
        if not known:
            return {}
        assert self.tls.cipher(), self
        return {**known, **derived(self.tls.cipher()[0], known, *self.randoms())}


# -- each state: how a client gets there


def tcp_only(c):
    pass


def half_a_hello(c):
    data = c.hello()
    c.put(data[:len(data) // 2])


def waiting_for_the_agent(c):
    c.put(c.hello())


def waiting_for_finished(c):
    c.up_to_finished()


def failed(c):
    """Its Finished is not what it must be; the front has sent its alert and closed."""
    c.up_to_finished()
    c.put(c.held[:-1] + bytes([c.held[-1] ^ 1]))
    rest_of(c.sock)


def booting(c):
    c.shake()
    c.post_marker()


def refused(c):
    c.shake()
    c.post_marker()
    assert answer(c)[0] == 503
    rest_of(c.sock)


def idle(c):
    c.shake()
    c.serve()


def in_mid_download(c):
    idle(c)
    c.ask(f"/bytes/{LARGE}", c.marked)
    assert c.recv()


def in_mid_upload(c):
    idle(c)
    body = c.tenant.marker.encode() * 512
    c.post("/sha256", body, length=2 * len(body))


def half_closed(c):
    in_mid_download(c)
    c.notify()
    c.sock.shutdown(socket.SHUT_WR)


def closed(c):
    idle(c)
    c.notify()
    rest_of(c.sock)
    c.sock.close()


def reset(c):
    idle(c)
    c.reset()


def resumed(c):
    """Another one before it, of which it has the ticket."""
    first = Client(c.contexts, c.tenant, c.version, "resumed from", 0)
    closed(first)
    c.sock.close()
    c.__init__(c.contexts, c.tenant, c.version, c.state, 0, session=first.tls.session)
    c.resumed = first
    idle(c)
    assert c.tls.session_reused, c


SERVED = [tcp_only, half_a_hello, waiting_for_finished, failed, idle, in_mid_download, in_mid_upload, half_closed, closed, reset,
          resumed]
KEPT = {idle, in_mid_download, in_mid_upload, half_closed, resumed}  # the tenant has their keys
UNDER_WAY = {waiting_for_finished, booting, waiting_for_the_agent}  # their worker may have their secrets


def resumption_psks(house, tenant, folder):
    """TLS 1.3's own secret in a ticket, which no SSLKEYLOGFILE has: of a session, and of one resumed from it."""
    found = {}
    for name, more in ("first", []), ("second", ["-sess_in", folder / "first"]):
        ask = f"GET /version HTTP/1.1\r\nHost: {tenant.host}\r\nConnection: close\r\n\r\n"
        said = subprocess.run(["openssl", "s_client", "-tls1_3", "-connect", f"127.0.0.1:{house.port}", "-servername", tenant.host,
                               "-ign_eof", "-sess_out", folder / name, *more], input=ask.encode(), capture_output=True,
                              check=True, timeout=DEADLINE).stdout.decode()
        assert ("Reused, " in said) == bool(more), said
        found |= {f"{name} session of {tenant}, ticket {i}": bytes.fromhex(psk)
                  for i, psk in enumerate(re.findall(r"Resumption PSK: ([0-9A-F]+)", said))}
    assert len(found) >= 2, found
    return found


def until_front_has(house, **counters):
    """Until the workers have told these numbers of themselves."""
    seen = {}

    def look():
        now = metrics(house)
        seen.update({name: now[f"front_{name}"] for name in counters})
        return seen == counters

    until(look, lambda: f"the front to have {counters}, not {seen}")
