"""Much and many: large bodies with their digests, and a thousand connections with a slow reader among those of each tenant.

ROOMKEY_VOLUME_MIB: MiB of a body each way in each version, 128 unless set; 1024 by hand. Prints MB/s and memory.
Seen to fail: with a slow reader's credit given back unasked (relay_taken() called by take_data() of tls-front/relay.c for
what the client has not taken) it is cut off.
"""

import hashlib
import os
import ssl
import subprocess
import time

import pytest

from house import DEADLINE, assert_bounded, get, head_of, in_threads, many, much, pattern, resident

MIB = 1 << 20
BODY = int(os.environ.get("ROOMKEY_VOLUME_MIB", max(1, much(128)))) * MIB
VERSIONS = ["1.2", "1.3"]
LIMIT = 40 * DEADLINE  # seconds for one body

TENANTS = many(100, 6)
EACH = 10  # connections of a tenant, one of them a slow reader
WORKERS = 2
RINGS = (128 << 10) + (256 << 10)  # bytes of a channel's: LAUNCH_LEFT_ORDER, LAUNCH_RIGHT_ORDER


# -- large bodies

@pytest.fixture(scope="module")
def body(tmp_path_factory):
    """A file of that many bytes of probe's pattern, and its digest."""
    path = tmp_path_factory.mktemp("volume") / "body"
    block = pattern(0, 251 * 4096)  # whole periods
    digest, left = hashlib.sha256(), BODY
    with open(path, "wb") as file:
        while left > 0:
            piece = block[:left]
            file.write(piece)
            digest.update(piece)
            left -= len(piece)
    yield path, digest.hexdigest()
    path.unlink()


def told(what, version, start):
    print(f"{what} of {BODY // MIB} MiB, TLS {version}: {BODY / 1e6 / (time.monotonic() - start):.0f} MB/s")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_large_download_has_the_right_digest(house, body, version):
    start = time.monotonic()
    with subprocess.Popen(["sha256sum"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sum_:
        done = subprocess.run(
            ["curl", "-sS", "--fail", "--max-time", str(LIMIT), "--cacert", house.certs.ca, "--tlsv1.2", "--tls-max", version,
             "--resolve", f"acme.localhost:{house.port}:127.0.0.1", f"https://acme.localhost:{house.port}/bytes/{BODY}"],
            stdout=sum_.stdin, stderr=subprocess.PIPE, text=True)
        digest = sum_.communicate()[0].split()[0]
    assert done.returncode == 0, done.stderr
    assert digest == body[1]
    told("download", version, start)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_large_upload_has_the_right_digest(house, body, version):
    start = time.monotonic()
    digest = house.curl("acme", "/sha256", "--tlsv1.2", "--tls-max", version, "-X", "POST", "-T", body[0], deadline=LIMIT)
    assert digest.strip() == body[1]
    told("upload", version, start)


# -- many connections

class Tenant:
    """One's connections: a slow reader that has begun and takes nothing more, and some that ask now and then."""

    def __init__(self, house, name, context):
        self.host = f"{name}.localhost"
        self.others = []
        for _ in range(EACH - 1):  # each asks at once: the tenant does not wait for a first request for long
            self.others.append(house.connect(name, context=context))
            assert get(self.others[-1], self.host, "/version") == (200, b"1.0.0\n")
        self.slow = house.connect(name, context=context, narrow=True)
        self.slow.sendall(f"GET /bytes/{1 << 40} HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode())
        head_of(self.slow, 1)
        self.taken = 0

    def ask_all(self, size):
        for sock in self.others:
            assert get(sock, self.host, f"/bytes/{size}") == (200, pattern(0, size)), self.host

    def take(self, size):
        """The slow reader takes so much more, and it is what comes next."""
        seen = bytearray()
        while len(seen) < size:
            more = self.slow.recv(size - len(seen))
            assert more, f"the slow reader of {self.host} was cut off after {self.taken + len(seen)} bytes"
            seen += more
        assert seen == pattern(self.taken, size)
        self.taken += size

    def close(self):
        for sock in (self.slow, *self.others):
            sock.close()


def test_a_slow_reader_in_each_tenant_stalls_none_of_a_thousand_connections(make_house):
    house = make_house(workers=WORKERS)
    house.add_images("probe:1.0.0")
    names = [f"t{i:03}" for i in range(TENANTS)]
    hosts = [f"{name}.localhost" for name in names]
    chain, key = house.certs.make(*hosts)
    for name, host in zip(names, hosts):
        house.cli("tenant", "add", name, "--image", "probe:1.0.0", "--host", host, "--cert", chain, "--key", key)
    workers = house.worker_pids()
    before = [resident(pid, "RssAnon") for pid in workers]
    context = house.context(ssl.TLSVersion.TLSv1_3)
    start = time.monotonic()
    tenants = [Tenant(house, name, context) for name in names]
    opened = time.monotonic()
    for size in (1, 5000, 70000):
        for tenant in tenants:
            tenant.ask_all(size)
    for tenant in tenants:  # none of them was forgotten for being slow
        tenant.take(1_000_000)
    in_threads(4, lambda i: [t.ask_all(5000) for t in tenants[i::4]])
    asked = time.monotonic()
    after, rings = ([resident(pid, what) for pid in workers] for what in ("RssAnon", "RssShmem"))
    instances = house.instances()
    assert len(instances) == TENANTS and {i["state"] for i in instances} == {"ready"}
    assert sum(i["connections"] for i in instances) == TENANTS * EACH
    print(f"{TENANTS * EACH} connections over {TENANTS} tenants: open after {opened - start:.1f} s, "
          f"{TENANTS * (EACH - 1) * 4} more answers in {asked - opened:.1f} s; "
          f"an instance has {max(i['memory'] for i in instances) / MIB:.1f} MiB at most")
    for was, now, ring in zip(before, after, rings):
        print(f"a worker: {was / MIB:.1f} -> {now / MIB:.1f} MiB, and {ring / MIB:.1f} of rings")
    # A slow reader holds a buffer of 128 KiB at most, another a page or two, a route its certificate.
    assert_bounded(sum(after) - sum(before), TENANTS * (128 << 10) + TENANTS * EACH * (8 << 10) + TENANTS * WORKERS * (32 << 10) + 8 * MIB)
    assert sum(rings) < TENANTS * WORKERS * (RINGS + 8192)
    for tenant in tenants:
        tenant.close()
