"""A client that makes its TLS records itself once the handshake is over, so that it can send what no library would.

The handshake is Python's; the keys come from its key log.
"""

import socket
import struct

import clients
from house import VERSIONS, answer
from key_schedule import expand_label, key_block, logged, suite
from tls_wire import ALERT, APPLICATION, HANDSHAKE

WARNING, FATAL = 1, 2
CLOSE_NOTIFY = b"\1\0"
TAG = 16


class Side:
    """The keys of one direction."""

    def __init__(self, cipher, secret=None, key=None, iv=None, seq=0):
        """A traffic secret of TLS 1.3, or what TLS 1.2 has in its stead."""
        self.suite, self.tls13 = suite(cipher), secret is not None
        self.key, self.iv, self.seq = key, iv, seq
        if self.tls13:
            self.take(secret)

    def take(self, secret):
        self.secret, self.seq = secret, 0
        self.key = expand_label(self.suite.digest, secret, b"key", self.suite.key)
        self.iv = expand_label(self.suite.digest, secret, b"iv", self.suite.iv)

    def update(self):
        self.take(expand_label(self.suite.digest, self.secret, b"traffic upd", len(self.secret)))

    def nonce(self, explicit):
        if len(self.iv) == 4:
            return self.iv + explicit
        return bytes(a ^ b for a, b in zip(self.iv, self.seq.to_bytes(12, "big")))

    def aad(self, head, length):
        return head if self.tls13 else self.seq.to_bytes(8, "big") + head[:3] + length.to_bytes(2, "big")

    def seal(self, kind, text, padding=0):
        if self.tls13:
            text, kind = text + (bytes([kind]) if kind else b"") + bytes(padding), APPLICATION
        explicit = self.seq.to_bytes(8, "big") if len(self.iv) == 4 else b""
        head = struct.pack(">BHH", kind, 0x0303, len(explicit) + len(text) + TAG)
        body = self.suite.aead(self.key).encrypt(self.nonce(explicit), text, self.aad(head, len(text)))
        self.seq += 1
        return head + explicit + body

    def open(self, head, body):
        explicit = body[:8] if len(self.iv) == 4 else b""
        body = body[len(explicit):]
        text = self.suite.aead(self.key).decrypt(self.nonce(explicit), body, self.aad(head, len(body) - TAG))
        self.seq += 1
        if not self.tls13:
            return head[0], text
        text = text.rstrip(b"\0")
        return text[-1], text[:-1]


class Client:
    def __init__(self, house, folder, version, host="acme", narrow=False):
        """version: "1.2" or "1.3".  The handshake is over when this returns.  narrow: the kernel holds little of what was
        not read yet."""
        context = house.context(VERSIONS[version])
        context.keylog_filename = str(folder / "keylog")
        self.host = f"{host}.localhost"
        client = clients.Client(house, self.host, narrow=64 << 10 if narrow else None, context=context).shake()
        self.sock, self.left = client.sock, client.incoming.read()
        self.updates = 0
        cipher, known = client.tls.cipher()[0], logged(folder / "keylog", client.randoms()[0])
        if version == "1.3":
            self.out, self.in_ = (Side(cipher, known[f"{who}_TRAFFIC_SECRET_0"]) for who in ("CLIENT", "SERVER"))
        else:
            self.out, self.in_ = (Side(cipher, key=key, iv=iv, seq=1)
                                  for key, iv in key_block(cipher, known["CLIENT_RANDOM"], *client.randoms()))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    # -- out

    def raw(self, data):
        self.sock.sendall(data)

    def send(self, kind, text, padding=0):
        self.raw(self.out.seal(kind, text, padding))

    def ask(self, path, method="GET", fields="", body=b""):
        self.send(APPLICATION, f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\n{fields}\r\n".encode() + body)

    def key_update(self, ask=False, cut=0):
        """cut: bytes of the message that are in a record of their own."""
        message = b"\x18\0\0\1" + bytes([ask])
        if cut:
            self.send(HANDSHAKE, message[:cut])
        self.send(HANDSHAKE, message[cut:])
        self.out.update()

    def end(self, notify=True):
        """The end of what we send."""
        if notify:
            self.send(ALERT, CLOSE_NOTIFY)
        self.sock.shutdown(socket.SHUT_WR)

    # -- in

    def _read(self, n):
        while len(self.left) < n:
            try:
                data = self.sock.recv(16384)
            except ConnectionResetError:
                data = b""
            if not data:
                return None
            self.left += data
        data, self.left = self.left[:n], self.left[n:]
        return data

    def record(self):
        """(content type, text) of the next record; None at the end of the stream.  Tickets are passed over."""
        while head := self._read(5):
            body = self._read(int.from_bytes(head[3:5], "big"))
            assert body is not None, "the stream ends within a record"
            kind, text = self.in_.open(head, body)
            assert len(text) <= 16384
            if kind == HANDSHAKE and text[0] == 24:
                self.in_.update()
                self.updates += 1
            elif kind != HANDSHAKE or text[0] != 4:
                return kind, text
        return None

    def data(self, size):
        """At least that many bytes of the tenant's data."""
        seen, left = [], size
        while left > 0:
            record = self.record()
            assert record and record[0] == APPLICATION, f"{record} with {left} of {size} bytes still to come"
            seen.append(record[1])
            left -= len(record[1])
        return b"".join(seen)

    def recv(self, _):
        return self.data(1)

    def answer(self):
        return answer(self)

    def rest(self):
        """All that still comes: (data, alerts as (level, alert))."""
        data, alerts = [], []
        while record := self.record():
            if record[0] == APPLICATION:
                data.append(record[1])
            else:
                assert record[0] == ALERT, record
                alerts.append(tuple(record[1]))
        return b"".join(data), alerts
