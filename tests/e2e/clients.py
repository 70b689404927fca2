"""Clients that stop where they like, and what the front's counters must say of them.

A Client does a TLS handshake over a bare socket, step by step, so that a test can end, stall or cut the
connection at any byte.  An Account holds /metrics against what a test did: each accepted connection is
counted for one reason, and the gauges come back to zero.
"""

import collections
import functools
import re
import select
import socket
import ssl
import struct

from house import DEADLINE, SLOW, answer, until

RST = struct.pack("ii", 1, 0)
TCP_REPAIR = 19

def raw(house):
    return socket.create_connection(("127.0.0.1", house.port), DEADLINE)


def alert_of(sock):
    """The (level, description) of the alert that comes, or None when the connection just ends."""
    data = rest_of(sock, 7)
    return (data[5], data[6]) if len(data) >= 7 and data[0] == 21 else None


def rest_of(sock, most=None):
    """What comes until the end, in whatever way it ends, or until there are `most` bytes."""
    data = bytearray()
    try:
        while most is None or len(data) < most:
            more = sock.recv(1 << 16)
            if not more:
                break
            data += more
    except ConnectionResetError:
        pass
    return bytes(data)


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
    sock.close()


# -- a client

@functools.cache
def trusting(house, version):
    return house.context(version)


class Client:
    def __init__(self, house, host="acme.localhost", version=None, narrow=None, context=None, session=None):
        """version: ssl's, of those that the context allows.  narrow: bytes that the kernel holds of what was not read yet."""
        self.host = host
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = context or trusting(house, version)
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=host, session=session)
        self.sent = self.got = b""  # beginnings: the hellos are in clear
        self.sock = socket.socket()
        self.sock.settimeout(DEADLINE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if narrow:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, narrow)
        self.sock.connect(("127.0.0.1", house.port))

    # -- the wire

    def put(self, data):
        self.sent = (self.sent + data)[:64]
        if data:
            self.sock.sendall(data)

    def feed(self):
        """What has come, for TLS to read; b"" at the end."""
        data = self.sock.recv(1 << 16)
        self.got = (self.got + data)[:64]
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()
        return data

    def step(self, call, *args):
        """call(), with all that TLS has to say and to hear for it."""
        while True:
            try:
                done = call(*args)
                self.put(self.outgoing.read())
                return done
            except ssl.SSLWantReadError:
                self.put(self.outgoing.read())
                self.feed()

    def randoms(self):
        """The client's and the server's; none before both hellos have gone by."""
        if min(len(self.sent), len(self.got)) >= 43 and self.got[:1] == b"\x16":
            return self.sent[11:43], self.got[11:43]
        return None

    # -- how far it goes

    def hello(self):
        """The bytes of the ClientHello, not sent."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()

    def until_server_hello(self):
        """Sends the hello; back when something of the answer is there, which nobody has read."""
        self.put(self.hello())
        assert self.sock.recv(1, socket.MSG_PEEK), "the front ended the connection"

    def finished(self):
        """The bytes of the last flight, not sent."""
        if self.tls.version() is None and not self.outgoing.pending:
            self.until_server_hello()
        while True:
            try:
                self.tls.do_handshake()
                return self.outgoing.read()
            except ssl.SSLWantReadError:
                if self.outgoing.pending:  # TLS 1.2: this is it, and the server's Finished is to come
                    return self.outgoing.read()
                self.feed()

    def shake(self):
        """The whole handshake; back when the front has said its last of it (1.3: a ticket; 1.2: its Finished)."""
        self.step(self.tls.do_handshake)
        if self.tls.version() == "TLSv1.3":
            assert self.feed(), "the front ended the connection"
        return self

    def sealed(self, plain):
        self.tls.write(plain)
        return self.outgoing.read()

    def send(self, plain):
        self.sock.sendall(self.sealed(plain))

    def ask(self, path="/version", more="", method="GET", body=b""):
        self.send(f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\n{more}\r\n".encode() + body)

    def recv(self, size=1 << 16):
        """Some plaintext; b"" at the end, with close_notify or without."""
        try:
            return self.step(self.tls.read, size)
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def answered(self, path="/version", body=b"1.0.0\n"):
        """Asks, and gets just that; the connection stays."""
        self.ask(path)
        assert answer(self) == (200, body)

    def rest(self):
        return b"".join(iter(self.recv, b""))

    def notify(self):
        """Sends close_notify."""
        try:
            self.tls.unwrap()
        except ssl.SSLError:
            pass  # it is out, and what the server still says waits
        self.put(self.outgoing.read())

    def fin(self):
        """Ends our side, takes what still comes, and closes."""
        self.sock.shutdown(socket.SHUT_WR)
        rest_of(self.sock)
        self.sock.close()

    def reset(self):
        reset(self.sock)

    def vanish(self):
        """Is gone without a packet, as after a power cut (tcp(7), TCP_REPAIR); who sends to it again gets a reset."""
        self.sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        self.sock.close()

    def drip(self, pieces, every=0.02):
        """Sends piece after piece until the other side ends or says something; when all are sent it waits for that."""
        for piece in pieces:
            if select.select([self.sock], [], [], every * SLOW)[0]:
                return
            try:
                self.sock.sendall(piece)
            except OSError:
                return
        select.select([self.sock], [], [], DEADLINE)

    def until_reset(self):
        """Waits for a reset, without reading."""
        poll = select.poll()
        poll.register(self.sock, 0)
        assert poll.poll(DEADLINE * 1000), f"not reset within {DEADLINE} s"


# -- the counters

NO_REASON = {"front_accepted_total", "front_resumed_total", "front_bytes_in_total", "front_bytes_out_total"}


def metrics(house):
    """{name without roomkey_: value} of what has no labels."""
    return {name: float(value) for name, value in re.findall(r"(?m)^roomkey_(\w+) (\S+)$", house.api("/metrics"))}


def reasons(seen, relayed):
    """Of the counters, those of how openings ended, or how what was handed over did (common/core/control.h)."""
    return {name: int(n) for name, n in seen.items()
            if re.fullmatch(r"front_\w+_total", name) and name not in NO_REASON and name.startswith("front_relay_") == relayed}


class Account:
    """What the front, of one worker, has counted since somebody asked last."""

    def __init__(self, house):
        assert house.workers == 1, "what two workers say is never of one moment"
        self.house = house
        self.base = None
        before = metrics(house)["front_accepted_total"]
        with raw(house):  # when that is told, so is all that was before
            count = until(lambda: self.open_since(before), "the front tells of a connection")
        self.base = until(lambda: self.settled(count), "no connection is open")

    def open_since(self, before):
        """How many were accepted, once that is more than before and one of them is open."""
        seen = metrics(self.house)
        return seen["front_accepted_total"] if seen["front_handshakes"] and seen["front_accepted_total"] > before else None

    def settled(self, count):
        """/metrics once so many were accepted and none is open; its sums hold at any time."""
        seen = metrics(self.house)
        opened, ended = sum(reasons(seen, False).values()), sum(reasons(seen, True).values())
        assert seen["front_accepted_total"] == opened + seen["front_handshakes"], f"not all that came is accounted for: {seen}"
        assert seen["front_connections"] or seen["front_handovers_total"] == ended, f"not all that left is accounted for: {seen}"
        if seen["front_connections"] or seen["front_accepted_total"] < count:
            return None
        return seen

    def since(self, count):
        """{reason: connections} once `count` more have come and all are over."""
        expected = self.base["front_accepted_total"] + count
        now = until(lambda: self.settled(expected), lambda: f"{count} connections are over; now: {self.changes(metrics(self.house))}")
        changes = self.changes(now)
        self.base = now
        assert now["front_accepted_total"] == expected, f"more came than {count}: {changes}"
        return changes

    def changes(self, now):
        def of(seen):
            return collections.Counter(reasons(seen, False)) + collections.Counter(reasons(seen, True))
        changed = of(now)
        changed.subtract(of(self.base))
        return {name.removeprefix("front_").removesuffix("_total"): n for name, n in changed.items() if n}
