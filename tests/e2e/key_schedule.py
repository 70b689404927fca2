"""The keys and IVs of a TLS connection (RFC 8446, 7; RFC 5246, 6.3), from a client's SSLKEYLOGFILE on."""

import functools
import hmac
from collections import namedtuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

Suite = namedtuple("Suite", "digest key iv aead")  # name of the hash, bytes of a key, of the part of the IV that is not sent
SUITES = {  # by OpenSSL's name
    "TLS_AES_256_GCM_SHA384": Suite("sha384", 32, 12, AESGCM),
    "TLS_AES_128_GCM_SHA256": Suite("sha256", 16, 12, AESGCM),
    "TLS_CHACHA20_POLY1305_SHA256": Suite("sha256", 32, 12, ChaCha20Poly1305),
    "AES256-GCM-SHA384": Suite("sha384", 32, 4, AESGCM),
    "AES128-GCM-SHA256": Suite("sha256", 16, 4, AESGCM),
    "CHACHA20-POLY1305": Suite("sha256", 32, 12, ChaCha20Poly1305),
}


def suite(cipher):
    return SUITES[cipher.removeprefix("ECDHE-ECDSA-").removeprefix("ECDHE-RSA-")]


def logged(keylog, client_random):
    """{name: bytes} of what the file says of the connection with this random."""
    lines = [line.split() for line in keylog.read_text().splitlines() if not line.startswith("#")]
    return {name: bytes.fromhex(secret) for name, random, secret in lines if random == client_random.hex()}


def expand_label(digest, secret, label, length, context=b""):
    """HKDF-Expand-Label of RFC 8446, 7.1; one block is enough."""
    label = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes([len(label)]) + label + bytes([len(context)]) + context
    return hmac.digest(secret, info + b"\1", digest)[:length]


def prf(digest, secret, label, seed, length):
    """P_hash of RFC 5246, 5."""
    out, a = b"", label + seed
    while len(out) < length:
        a = hmac.digest(secret, a, digest)
        out += hmac.digest(secret, a + label + seed, digest)
    return out[:length]


def key_block(cipher, master, client_random, server_random):
    """[(key, IV)] of TLS 1.2: the client's, then the server's."""
    digest, key, iv, _ = suite(cipher)
    block = prf(digest, master, b"key expansion", server_random + client_random, 2 * (key + iv))
    return [(block[i * key:(i + 1) * key], block[2 * key + i * iv:2 * key + (i + 1) * iv]) for i in range(2)]


@functools.cache
def sbox():
    """The S-box of FIPS 197, 5.1.1, by walking through the powers of 3 and of its inverse."""
    box, p, q = [0] * 256, 1, 1
    while True:
        p ^= p << 1 & 0xff ^ (0x1b if p & 0x80 else 0)
        for by in (1, 2, 4):
            q = (q ^ q << by) & 0xff
        q ^= 0x09 if q & 0x80 else 0
        box[p] = 0x63 ^ q ^ functools.reduce(lambda x, n: x ^ (q << n | q >> 8 - n) & 0xff, range(1, 5), 0)
        if p == 1:
            box[0] = 0x63
            return box


def last_round_key(key):
    """What AES has at the end of its key's expansion (FIPS 197, 5.2): a key that was wiped in part leaves this."""
    words, n, rcon = [key[i:i + 4] for i in range(0, len(key), 4)], len(key) // 4, 1
    for i in range(n, 4 * (n + 7)):
        w = words[-1]
        if i % n == 0:
            w = bytes(sbox()[b] for b in w[1:] + w[:1])
            w = bytes([w[0] ^ rcon]) + w[1:]
            rcon = rcon << 1 ^ (0x11b if rcon & 0x80 else 0)
        elif n > 6 and i % n == 4:
            w = bytes(sbox()[b] for b in w)
        words.append(bytes(x ^ y for x, y in zip(words[i - n], w)))
    return b"".join(words[-4:])


def keys_of(name, cipher, key, iv):
    """IVs of 4 bytes are left out: they are in any memory by chance, and are no secret alone."""
    found = {f"{name} key": key}
    if "AES" in cipher:
        found[f"{name} last round key"] = last_round_key(key)
    if len(iv) == 12:
        found[f"{name} iv"] = iv
    return found


def derived(cipher, secrets, client_random, server_random):
    """{name: bytes}: each key and IV under these secrets."""
    digest, key, iv, _ = suite(cipher)
    found = {}
    for name, secret in secrets.items():
        if "TRAFFIC" in name:
            found |= keys_of(name, cipher, expand_label(digest, secret, b"key", key), expand_label(digest, secret, b"iv", iv))
    if master := secrets.get("CLIENT_RANDOM"):
        for name, keys in zip(("client", "server"), key_block(cipher, master, client_random, server_random)):
            found |= keys_of(name, cipher, *keys)
    return found
