"""What a process lacks for a while costs who comes then a wait, and nobody who is there; and who makes a house say the
same again and again fills no log with it.

Seen to fail: libuv's own accept() (a worker without a descriptor was ended by its system call filter), the pause of
common/host/acceptor.c (it never sleeps), log_seldom() -> log_line() (a line a client), conns_have_room() that
always says no where there is none.
"""

import os
import re
import resource
import socket
import ssl
from pathlib import Path

import pytest

from clients import raw, rest_of
from house import get, many, until

WORKERS = 1
pytestmark = pytest.mark.only_on("sandbox", "the front is the same there, and does nothing for a ground here")


def set_limit(pid, most):
    """The process's soft limit of descriptors, set as its own user: that needs no right.  The one before."""
    uid, gid = re.findall(r"(?m)^[UG]id:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    before, hard = map(int, re.search(r"Max open files +(\d+) +(\d+)", Path(f"/proc/{pid}/limits").read_text()).groups())
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(*[int(gid)] * 3)
            os.setresuid(*[int(uid)] * 3)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, hard))
            os._exit(0)
        except BaseException:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0, f"no limit for {pid}"
    return before


@pytest.fixture
def without_descriptors():
    limits = {}

    def take(pid):
        there = {int(n) for n in os.listdir(f"/proc/{pid}/fd")}
        limits[pid] = set_limit(pid, min(set(range(len(there) + 1)) - there))

    def back():
        while limits:
            set_limit(*limits.popitem())

    take.back = back
    yield take
    back()


def sleeps(pid):
    return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] == "S"


def test_a_worker_without_a_descriptor_serves_who_is_there_and_lets_the_others_wait(house, without_descriptors):
    worker = house.worker_pids()[0]
    with house.connect("acme") as there:
        assert get(there, "acme.localhost", "/version") == (200, b"1.0.0\n")
        without_descriptors(worker)
        waiting = [socket.create_connection(("127.0.0.1", house.port)) for _ in range(20)]
        until(lambda: "nobody can be let in" in house.front.said(), "it is said")
        until(lambda: sleeps(worker), "it sleeps although somebody waits")
        assert get(there, "acme.localhost", "/version") == (200, b"1.0.0\n")
        without_descriptors.back()
        for sock in waiting:
            with house.context().wrap_socket(sock, server_hostname="acme.localhost") as tls:
                assert get(tls, "acme.localhost", "/version") == (200, b"1.0.0\n")
        assert get(there, "acme.localhost", "/version") == (200, b"1.0.0\n")
    assert house.worker_pids() == [worker]
    assert house.front.said().count("nobody can be let in") == 1, house.front.said()


def test_tenants_that_hold_all_connections_keep_nobody_from_a_third(make_house):
    house = make_house(front=["--max-connections", "20", "--max-handshakes", "10"])
    house.add_images("probe:1.0.0")
    for name in ("one", "two", "third"):
        house.add_tenant(name)
    held = []
    for i in range(20):
        held.append(house.connect(("one", "two")[i % 2]))
        assert get(held[-1], ("one", "two")[i % 2] + ".localhost", "/version") == (200, b"1.0.0\n")
    with pytest.raises(OSError):  # who has as many as anybody takes nothing from anybody
        with house.connect("one") as sock:
            get(sock, "one.localhost", "/version")
    for _ in range(3):
        with house.connect("third") as sock:
            assert get(sock, "third.localhost", "/version") == (200, b"1.0.0\n")
    alive = sum(1 for i, sock in enumerate(held[:16]) if get(sock, ("one", "two")[i % 2] + ".localhost", "/version"))
    assert alive == 16, "the newest made room"
    for sock in held:
        sock.close()


def test_clients_of_a_tenant_that_cannot_serve_fill_no_log(house):
    house.add_tenant("away")
    house.cli("tenant", "suspend", "away")
    count = many(200, 40)
    hello = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        house.context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="away.localhost").do_handshake()
    hello = hello.read()
    for _ in range(count):
        with raw(house) as sock:
            sock.sendall(hello)
            assert rest_of(sock)[5:] == bytes([2, 49])  # access_denied
    lines = sum("away.localhost: no instance" in line for line in house.front.said().splitlines())
    print(f"{lines} lines for {count} clients")
    assert 1 <= lines < count / 4
