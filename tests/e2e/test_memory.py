"""Who holds which secret, by reading every byte of their memory while a customer is being served.

Each search is known to work: it finds something of its own that must be there.  With the wipe behind the handover
taken out of the front, the second test fails.
"""

import hashlib
import hmac
import re
import ssl
import subprocess

import pytest

from grounds import process_memory
from house import get

SUITES = {"TLS_AES_256_GCM_SHA384": (hashlib.sha384, 32), "TLS_AES_128_GCM_SHA256": (hashlib.sha256, 16),
          "TLS_CHACHA20_POLY1305_SHA256": (hashlib.sha256, 32)}


def expand_label(digest, secret, label, length):
    """HKDF-Expand-Label of RFC 8446, 7.1, with an empty context; one block is enough."""
    label = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0"
    return hmac.new(secret, info + b"\1", digest).digest()[:length]


def private_numbers(key_file):
    """The secret numbers of a private key, in both orders of bytes."""
    text = subprocess.run(["openssl", "pkey", "-in", key_file, "-noout", "-text"], capture_output=True, text=True, check=True).stdout
    numbers = []
    for name in ("priv", "privateExponent", "prime1", "prime2"):
        if found := re.search(rf"(?m)^{name}:\n((?:    .*\n)+)", text):
            number = bytes.fromhex(re.sub(r"[\s:]", "", found.group(1))).lstrip(b"\0")
            numbers += [number[:32], number[::-1][:32]]
    assert numbers, text
    return numbers


def found(memory, needles):
    """Names of those needles that occur in the pieces of memory."""
    seen = set()
    for piece in memory:
        seen |= {name for name, needle in needles.items() if needle in piece}
    return seen


class Session:
    """A customer that is being served, and what must be kept secret of it."""

    def __init__(self, house, folder, version):
        context = house.context(version)
        context.keylog_filename = str(folder / "keylog")
        self.sock = house.connect("acme", context=context)
        assert get(self.sock, "acme.localhost", "/version") == (200, b"1.0.0\n")
        log = [line.split() for line in (folder / "keylog").read_text().splitlines() if not line.startswith("#")]
        self.secrets = {name: bytes.fromhex(secret) for name, _, secret in log}
        self.keys = {}
        if version == ssl.TLSVersion.TLSv1_3:
            digest, length = SUITES[self.sock.cipher()[0]]
            self.keys = {f"{who} key": expand_label(digest, self.secrets[f"{who}_TRAFFIC_SECRET_0"], b"key", length)
                         for who in ("CLIENT", "SERVER")}


@pytest.fixture(params=["ec", "rsa"])
def served(make_house, request):
    house = make_house(workers=1)
    house.add_images("probe:1.0.0")
    chain, house.key_file = house.certs.make("acme.localhost", key=request.param)
    house.cli("tenant", "add", "acme", "--image", "probe:1.0.0", "--host", "acme.localhost", "--cert", chain, "--key", house.key_file)
    return house


def test_a_tenant_has_its_session_keys_and_no_private_key(served, tmp_path):
    session = Session(served, tmp_path, ssl.TLSVersion.TLSv1_3)
    (machine,) = served.machines.running()
    private = {f"private {n}": number for n, number in enumerate(private_numbers(served.key_file))}
    secrets = {name: session.secrets[name] for name in session.secrets if "HANDSHAKE" in name}
    seen = found(served.machines.memory(machine), {**session.keys, **private, **secrets})
    assert seen == set(session.keys)
    assert get(session.sock, "acme.localhost", "/version") == (200, b"1.0.0\n")


@pytest.mark.not_sanitized("a sanitizer keeps what was freed, and maps more than can be read")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_worker_has_no_key_of_a_session_that_it_handed_over(served, tmp_path, version):
    session = Session(served, tmp_path, version)
    workers = served.worker_pids()
    assert workers
    for pid in workers:
        seen = found(process_memory(pid), {"name": b"acme.localhost", **session.secrets, **session.keys})
        assert seen == {"name"}, f"process {pid}"
    assert get(session.sock, "acme.localhost", "/version") == (200, b"1.0.0\n")
