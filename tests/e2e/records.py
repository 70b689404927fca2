"""A client that makes its TLS records itself once the handshake is over, so that it can send what no library would.

The handshake is Python's; the keys come from its key log, the ciphers from libcrypto.
"""

import ctypes
import hashlib
import hmac
import re
import socket
import ssl
import struct

from house import DEADLINE

CCS, ALERT, HANDSHAKE, DATA = 20, 21, 22, 23
WARNING, FATAL = 1, 2
CLOSE_NOTIFY = b"\1\0"

# cipher, key's bytes, hash
SUITES = {
    "TLS_AES_128_GCM_SHA256": ("aes_128_gcm", 16, "sha256"),
    "TLS_AES_256_GCM_SHA384": ("aes_256_gcm", 32, "sha384"),
    "TLS_CHACHA20_POLY1305_SHA256": ("chacha20_poly1305", 32, "sha256"),
    "ECDHE-ECDSA-AES128-GCM-SHA256": ("aes_128_gcm", 16, "sha256"),
    "ECDHE-ECDSA-AES256-GCM-SHA384": ("aes_256_gcm", 32, "sha384"),
    "ECDHE-ECDSA-CHACHA20-POLY1305": ("chacha20_poly1305", 32, "sha256"),
}

crypto = ctypes.CDLL("libcrypto.so.3")
for name, result in (("EVP_CIPHER_CTX_new", ctypes.c_void_p), *((f"EVP_{c}", ctypes.c_void_p) for c, _, _ in SUITES.values())):
    getattr(crypto, name).restype = result
GET_TAG, SET_TAG, TAG = 0x10, 0x11, 16


class Forged(Exception):
    """A record that does not open."""


def aead(cipher, key, nonce, aad, text, seal):
    """Seals, or opens text with its tag behind."""
    ctx = ctypes.c_void_p(crypto.EVP_CIPHER_CTX_new())
    out, n, tag = ctypes.create_string_buffer(len(text) + 16), ctypes.c_int(), ctypes.create_string_buffer(TAG)
    try:
        assert crypto.EVP_CipherInit_ex(ctx, ctypes.c_void_p(getattr(crypto, f"EVP_{cipher}")()), None, key, nonce, int(seal)) == 1
        if not seal:
            text, tag = text[:-TAG], text[-TAG:]
            assert crypto.EVP_CIPHER_CTX_ctrl(ctx, SET_TAG, TAG, tag) == 1
        assert crypto.EVP_CipherUpdate(ctx, None, ctypes.byref(n), aad, len(aad)) == 1
        assert crypto.EVP_CipherUpdate(ctx, out, ctypes.byref(n), text, len(text)) == 1
        if crypto.EVP_CipherFinal_ex(ctx, ctypes.create_string_buffer(16), ctypes.byref(n)) != 1:
            raise Forged()
        if seal:
            assert crypto.EVP_CIPHER_CTX_ctrl(ctx, GET_TAG, TAG, tag) == 1
        return out.raw[:len(text)] + (tag.raw if seal else b"")
    finally:
        crypto.EVP_CIPHER_CTX_free(ctx)


def expand_label(digest, secret, label, length):
    """HKDF-Expand-Label of RFC 8446, 7.1, with an empty context; one block is enough."""
    label = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0"
    return hmac.new(secret, info + b"\1", digest).digest()[:length]


def key_block(digest, master, server_random, client_random, length):
    """RFC 5246, 5 and 6.3."""
    seed = b"key expansion" + server_random + client_random
    a, out = seed, b""
    while len(out) < length:
        a = hmac.new(master, a, digest).digest()
        out += hmac.new(master, a + seed, digest).digest()
    return out[:length]


class Side:
    """The keys of one direction."""

    def __init__(self, suite, secret=None, key=None, iv=None):
        self.cipher, self.key_len, self.digest = SUITES[suite]
        self.tls13 = secret is not None
        self.key, self.iv, self.seq = key, iv, 1
        if self.tls13:
            self.take(secret)

    def take(self, secret):
        self.secret, self.seq = secret, 0
        self.key = expand_label(self.digest, secret, b"key", self.key_len)
        self.iv = expand_label(self.digest, secret, b"iv", 12)

    def update(self):
        self.take(expand_label(self.digest, self.secret, b"traffic upd", len(self.secret)))

    def nonce(self, explicit):
        if len(self.iv) == 4:
            return self.iv + explicit
        return bytes(a ^ b for a, b in zip(self.iv, self.seq.to_bytes(12, "big")))

    def aad(self, head, length):
        return head if self.tls13 else self.seq.to_bytes(8, "big") + head[:3] + length.to_bytes(2, "big")

    def seal(self, kind, text, padding=0):
        if self.tls13:
            text, kind = text + (bytes([kind]) if kind else b"") + bytes(padding), DATA
        explicit = self.seq.to_bytes(8, "big") if len(self.iv) == 4 else b""
        head = struct.pack(">BHH", kind, 0x0303, len(explicit) + len(text) + TAG)
        body = aead(self.cipher, self.key, self.nonce(explicit), self.aad(head, len(text)), text, True)
        self.seq += 1
        return head + explicit + body

    def open(self, head, body):
        explicit = body[:8] if len(self.iv) == 4 else b""
        body = body[len(explicit):]
        text = aead(self.cipher, self.key, self.nonce(explicit), self.aad(head, len(body) - TAG), body, False)
        self.seq += 1
        if not self.tls13:
            return head[0], text
        text = text.rstrip(b"\0")
        return text[-1], text[:-1]


class Client:
    def __init__(self, house, folder, version, host="acme", narrow=False):
        """version: "1.2" or "1.3".  The handshake is over when this returns.  narrow: the kernel holds little of what was
        not read yet."""
        context = house.context({"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version])
        log = folder / "keylog"
        log.unlink(missing_ok=True)
        context.keylog_filename = str(log)
        self.host = f"{host}.localhost"
        incoming, outgoing, seen = ssl.MemoryBIO(), ssl.MemoryBIO(), b""
        tls = context.wrap_bio(incoming, outgoing, server_hostname=self.host)
        self.sock = socket.socket()
        self.sock.settimeout(DEADLINE)
        if narrow:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        self.sock.connect(("127.0.0.1", house.port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.sock.sendall(outgoing.read())
                data = self.sock.recv(65536)
                assert data, "the connection ended in the handshake"
                seen += data
                incoming.write(data)
        self.sock.sendall(outgoing.read())
        self.left = incoming.read()
        self.suite = tls.cipher()[0]
        self.updates = self.alerts = 0
        self.make_keys(log.read_text(), seen)

    def make_keys(self, log, seen):
        found = {name: bytes.fromhex(secret) for name, _, secret in re.findall(r"(?m)^(\w+) (\w+) (\w+)$", log)}
        if "CLIENT_TRAFFIC_SECRET_0" in found:
            self.out, self.in_ = (Side(self.suite, secret=found[f"{who}_TRAFFIC_SECRET_0"]) for who in ("CLIENT", "SERVER"))
            return
        client_random = bytes.fromhex(re.search(r"(?m)^CLIENT_RANDOM (\w+)", log).group(1))
        _, n, digest = SUITES[self.suite]
        iv = 12 if "CHACHA" in self.suite else 4
        assert seen[0] == HANDSHAKE and seen[5] == 2, "no ServerHello in front"
        block = key_block(digest, found["CLIENT_RANDOM"], seen[11:43], client_random, 2 * (n + iv))
        self.out = Side(self.suite, key=block[:n], iv=block[2 * n:2 * n + iv])
        self.in_ = Side(self.suite, key=block[n:2 * n], iv=block[2 * n + iv:])

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
        self.send(DATA, f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\n{fields}\r\n".encode() + body)

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
            assert record and record[0] == DATA, f"{record} with {left} of {size} bytes still to come"
            seen.append(record[1])
            left -= len(record[1])
        return b"".join(seen)

    def answer(self):
        """(status, body) of an answer with a length; nothing may come behind it."""
        head = b""
        while b"\r\n\r\n" not in head:
            head += self.data(1)
        head, body = head.split(b"\r\n\r\n", 1)
        length = int(re.search(rb"(?i)content-length: *(\d+)", head).group(1))
        body += self.data(length - len(body))
        assert len(body) == length, body[length:]
        return int(head.split()[1]), body

    def rest(self):
        """All that still comes: (data, alerts as (level, alert))."""
        data, alerts = [], []
        while record := self.record():
            if record[0] == DATA:
                data.append(record[1])
            else:
                assert record[0] == ALERT, record
                alerts.append(tuple(record[1]))
        return b"".join(data), alerts
