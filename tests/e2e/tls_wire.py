"""TLS on the wire, as a client says it: records, and a ClientHello of which a test changes one piece and leaves the rest right."""

import os
import struct

CCS, ALERT, HANDSHAKE, APPLICATION = 20, 21, 22, 23
CLIENT_HELLO, SERVER_HELLO, NEW_TICKET, END_OF_EARLY_DATA, ENCRYPTED_EXTENSIONS = 1, 2, 4, 5, 8
CERTIFICATE, SERVER_KEY_EXCHANGE, SERVER_HELLO_DONE, CERTIFICATE_VERIFY = 11, 12, 14, 15
CLIENT_KEY_EXCHANGE, FINISHED, KEY_UPDATE = 16, 20, 24

SERVER_NAME, FRAGMENT_LENGTH, GROUPS, POINTS, SIGNATURES, ALPN, PADDING, EMS, TICKET = 0, 1, 10, 11, 13, 16, 21, 23, 35
RECORD_LIMIT, PSK, EARLY_DATA, VERSIONS, COOKIE, PSK_MODES, KEY_SHARE, RENEGOTIATION = 28, 41, 42, 43, 44, 45, 51, 0xff01

X25519, P256, P384, P521 = 29, 23, 24, 25
TLS13_SUITE, TLS12_SUITE = 0x1301, 0xc02b  # AES-128-GCM with SHA-256; 1.2: ECDHE-ECDSA
TLS12_RSA_SUITE = 0xc02f
FALLBACK_SCSV = 0x5600


def vector(width, data):
    return len(data).to_bytes(width, "big") + data


def u16(*values):
    return struct.pack(f">{len(values)}H", *values)


def message(kind, body):
    return bytes([kind]) + vector(3, body)


def record(kind, payload, version=0x0303):
    return struct.pack(">BHH", kind, version, len(payload)) + payload


def records(kind, payload, most=1 << 14, version=0x0303):
    """The payload cut into records of at most so many bytes."""
    return b"".join(record(kind, payload[i:i + most], version) for i in range(0, len(payload), most))


def parse_extensions(data):
    found = {}
    while data:
        kind, length = struct.unpack(">HH", data[:4])
        found[kind], data = data[4:4 + length], data[4 + length:]
    return found


class Hello:
    """Each part as it goes on the wire; `extensions` is an ordered list of (type, body)."""

    def __init__(self, host, version, share=None, groups=(X25519, P256, P384)):
        """version: 13 or 12.  share: (group, public value), of 13."""
        self.legacy_version = 0x0303
        self.random = os.urandom(32)
        self.session = os.urandom(32)
        self.suites = [TLS13_SUITE if version == 13 else TLS12_SUITE]
        self.compressions = b"\0"
        self.extensions = [
            (SERVER_NAME, vector(2, b"\0" + vector(2, host.encode()))),
            (GROUPS, vector(2, u16(*groups))),
            (SIGNATURES, vector(2, u16(0x0403, 0x0804))),
        ]
        if version == 13:
            self.extensions += [(VERSIONS, vector(1, u16(0x0304))), (PSK_MODES, vector(1, b"\1")),
                                (KEY_SHARE, vector(2, u16(share[0]) + vector(2, share[1])))]
        else:
            self.extensions += [(POINTS, vector(1, b"\0")), (EMS, b""), (TICKET, b""), (RENEGOTIATION, vector(1, b""))]

    def set(self, kind, body):
        """Changes an extension where it is, or adds it."""
        for i, (k, _) in enumerate(self.extensions):
            if k == kind:
                self.extensions[i] = (kind, body)
                return self
        self.extensions.append((kind, body))
        return self

    def drop(self, *kinds):
        self.extensions = [(k, b) for k, b in self.extensions if k not in kinds]
        return self

    def get(self, kind):
        return dict(self.extensions)[kind]

    def bytes(self):
        return message(CLIENT_HELLO, u16(self.legacy_version) + self.random + vector(1, self.session) +
                       vector(2, u16(*self.suites)) + vector(1, self.compressions) +
                       vector(2, b"".join(u16(k) + vector(2, b) for k, b in self.extensions)))


def client_hello(names=("acme.localhost",), padding=0):
    """The same one each time; with so many bytes of padding (RFC 7685)."""
    hello = Hello("", 13, (X25519, bytes(range(1, 33))))
    hello.random, hello.session = bytes(32), b""
    hello.set(SERVER_NAME, vector(2, b"".join(b"\0" + vector(2, name.encode()) for name in names)))
    if not names:
        hello.drop(SERVER_NAME)
    if padding:
        hello.set(PADDING, bytes(padding))
    return hello.bytes()
