"""Clients of the front in every state that a connection can be in, each with what must be kept secret of it."""

import re
import socket
import ssl
import struct
import subprocess
from collections import namedtuple

from house import DEADLINE, until
from key_schedule import derived

HANDSHAKE, ALERT = 22, 21  # types of records
LARGE = 1 << 36  # bytes of an answer that does not end
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
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

    def secrets(self, client_random):
        """{name: bytes} of the connection with this random."""
        lines = [line.split() for line in self.keylog.read_text().splitlines() if not line.startswith("#")]
        return {name: bytes.fromhex(secret) for name, random, secret in lines if random == client_random.hex()}


class Client:
    """A connection that stops wherever its state says, with its TLS in memory."""

    def __init__(self, contexts, tenant, version, state, number, session=None):
        self.tenant, self.version, self.state, self.number = tenant, version, state, number
        self.name = f"{state}, TLS {version}, {tenant.name} ({number})"
        self.contexts = contexts
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = contexts.of(version, CIPHERS[number % 2])
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=tenant.host, session=session)
        self.sent = self.got = b""  # beginnings: the hellos are in clear
        self.held = b""
        self.resumed = None  # the client whose session this goes on with
        self.raw = socket.socket()
        self.raw.settimeout(DEADLINE)
        self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        self.raw.connect(("127.0.0.1", contexts.house.port))

    def __repr__(self):
        return self.name

    # -- the wire

    def put(self, data):
        self.sent = self.sent or data[:64]
        self.raw.sendall(data)

    def feed(self):
        data = self.raw.recv(65536)
        self.got = (self.got + data)[:128]
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()
        return data

    def step(self, call, *args):
        while True:
            try:
                done = call(*args)
                self.put(self.outgoing.read())
                return done
            except ssl.SSLWantReadError:
                self.put(self.outgoing.read())
                self.feed()

    # -- how far it goes

    def hello(self, all_of_it=True):
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        data = self.outgoing.read()
        self.put(data if all_of_it else data[:len(data) // 2])

    def up_to_finished(self):
        """All but the record with its Finished, and what comes before that: TLS 1.2's key exchange goes out."""
        self.hello()
        while not self.outgoing.pending:
            self.feed()
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                pass
        data = self.outgoing.read()
        first = 5 + int.from_bytes(data[3:5], "big")
        self.put(data[:first])
        self.held = data[first:]

    def shake(self):
        self.step(self.tls.do_handshake)

    def ask(self, method, path, body=b"", length=None):
        """A request that has the tenant's marker in its head."""
        length = len(body) if length is None else length
        head = (f"{method} {path} HTTP/1.1\r\nHost: {self.tenant.host}\r\nX-Marker: {self.tenant.marker}\r\n"
                f"Content-Length: {length}\r\n\r\n")
        self.step(self.tls.write, head.encode() + body)

    def more(self):
        data = self.step(self.tls.read, 65536)
        assert data, f"{self} was ended, with close_notify"
        return data

    def answer(self):
        head = b""
        while b"\r\n\r\n" not in head:
            head += self.more()
        head, body = head.split(b"\r\n\r\n", 1)
        length = int(re.search(rb"(?i)content-length: (\d+)", head).group(1))
        while len(body) < length:
            body += self.more()
        return int(head.split()[1]), body

    def serve(self):
        """One exchange, of which both sides are full of the tenant's marker."""
        body = self.tenant.marker.encode() * 64
        self.ask("POST", "/echo", body)
        assert self.answer() == (200, body), self

    def until_closed(self):
        while self.feed():
            pass

    def say_close(self):
        try:
            self.tls.unwrap()
        except ssl.SSLError:
            pass  # it is out, and what the server still says waits
        self.put(self.outgoing.read())

    def reset(self):
        self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.raw.close()

    # -- what must be kept secret

    def secrets(self):
        """{name: bytes}, by now: what its handshake agreed, and what follows from that."""
        if self.got[:1] != bytes([HANDSHAKE]) or len(self.sent) < 43 or len(self.got) < 43:
            return {}
        client_random, server_random = self.sent[11:43], self.got[11:43]
        known = self.contexts.secrets(client_random)
        if self.resumed and self.version == "1.2":
            known = {"CLIENT_RANDOM": self.resumed.secrets()["CLIENT_RANDOM"]}
        if not known:
            return {}
        assert self.tls.cipher(), self
        return {**known, **derived(self.tls.cipher()[0], known, server_random + client_random)}


# -- each state: how a client gets there


def tcp_only(c):
    pass


def half_a_hello(c):
    c.hello(all_of_it=False)


def waiting_for_the_agent(c):
    c.hello()


def waiting_for_finished(c):
    c.up_to_finished()


def failed(c):
    """Its Finished is not what it must be; the front has sent its alert and closed."""
    c.up_to_finished()
    c.put(c.held[:-1] + bytes([c.held[-1] ^ 1]))
    c.until_closed()


def booting(c):
    c.shake()
    c.ask("POST", "/echo", c.tenant.marker.encode() * 64)


def refused(c):
    c.shake()
    c.ask("POST", "/echo", c.tenant.marker.encode() * 64)
    assert c.answer()[0] == 503
    c.until_closed()


def idle(c):
    c.shake()
    c.serve()


def in_mid_download(c):
    idle(c)
    c.ask("GET", f"/bytes/{LARGE}")
    assert c.step(c.tls.read, 65536)


def in_mid_upload(c):
    idle(c)
    body = c.tenant.marker.encode() * 512
    c.ask("POST", "/sha256", body, length=2 * len(body))


def half_closed(c):
    in_mid_download(c)
    c.say_close()
    c.raw.shutdown(socket.SHUT_WR)


def closed(c):
    idle(c)
    c.say_close()
    c.until_closed()
    c.raw.close()


def reset(c):
    idle(c)
    c.reset()


def resumed(c):
    """Another one before it, of which it has the ticket."""
    first = Client(c.contexts, c.tenant, c.version, "resumed from", 0)
    closed(first)
    c.raw.close()
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
        text = house.api("/metrics")
        seen.update({n: int(re.search(rf"(?m)^roomkey_front_{n} (\d+)$", text).group(1)) for n in counters})
        return seen == counters

    until(look, lambda: f"the front to have {counters}, not {seen}")
