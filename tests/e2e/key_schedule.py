"""What follows from a client's SSLKEYLOGFILE: the keys and IVs of a connection (RFC 8446, 7; RFC 5246, 6.3)."""

import functools
import hashlib
import hmac

SUITES = {  # name of OpenSSL: hash, bytes of a key, bytes of the part of the IV that is not sent
    "TLS_AES_256_GCM_SHA384": (hashlib.sha384, 32, 12),
    "TLS_AES_128_GCM_SHA256": (hashlib.sha256, 16, 12),
    "TLS_CHACHA20_POLY1305_SHA256": (hashlib.sha256, 32, 12),
    "AES256-GCM-SHA384": (hashlib.sha384, 32, 4),
    "AES128-GCM-SHA256": (hashlib.sha256, 16, 4),
    "CHACHA20-POLY1305": (hashlib.sha256, 32, 12),
}


def suite(cipher):
    return SUITES[cipher.removeprefix("ECDHE-ECDSA-").removeprefix("ECDHE-RSA-")]


def expand_label(digest, secret, label, length):
    """HKDF-Expand-Label of RFC 8446, 7.1, with an empty context; one block is enough."""
    label = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0"
    return hmac.new(secret, info + b"\1", digest).digest()[:length]


def prf(digest, secret, label, seed, length):
    """P_hash of RFC 5246, 5."""
    out, a = b"", label + seed
    while len(out) < length:
        a = hmac.new(secret, a, digest).digest()
        out += hmac.new(secret, a + label + seed, digest).digest()
    return out[:length]


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


def derived(cipher, secrets, randoms):
    """{name: bytes}: each key and IV under these secrets.  randoms: the server's, then the client's."""
    digest, key, iv = suite(cipher)
    found = {}
    for name, secret in secrets.items():
        if "TRAFFIC" in name:
            found |= keys_of(name, cipher, expand_label(digest, secret, b"key", key), expand_label(digest, secret, b"iv", iv))
    if master := secrets.get("CLIENT_RANDOM"):
        block = prf(digest, master, b"key expansion", randoms, 2 * (key + iv))
        found |= keys_of("client", cipher, block[:key], block[2 * key:2 * key + iv])
        found |= keys_of("server", cipher, block[key:2 * key], block[2 * key + iv:])
    return found
