"""What a process lacks for a while costs who comes then a wait, and nobody who is there; and who makes a house say the
same again and again fills no log with it.

Seen to fail: libuv's own accept() (a worker without a descriptor was ended by its system call filter), the pause of
common/host/acceptor.c (it never sleeps), log_seldom() -> log_line() (a line a client); share.c's make_room() left
out, or what the tenant is through with taken last there; --max-connections held against all that are open, and
end_oldest_answer() left out.
"""

import os
import re
import resource
import socket
import ssl
import time
from pathlib import Path

import pytest

from clients import raw, rest_of
from house import DEADLINE, get, many, until

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


def ticks(pid):
    """Of processor time."""
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()[11:13]))


def test_a_worker_without_a_descriptor_serves_who_is_there_and_lets_the_others_wait(house, without_descriptors):
    worker = house.worker_pids()[0]
    began = time.monotonic()
    with house.connect("acme") as there:
        assert get(there, "acme.localhost", "/version") == (200, b"1.0.0\n")
        without_descriptors(worker)
        waiting = [socket.create_connection(("127.0.0.1", house.port)) for _ in range(20)]
        until(lambda: "nobody can be let in" in house.front.said(), "it is said")
        before = ticks(worker)
        time.sleep(1)
        assert ticks(worker) - before < os.sysconf("SC_CLK_TCK") / 5, "it sleeps although somebody waits"
        assert get(there, "acme.localhost", "/version") == (200, b"1.0.0\n")
        without_descriptors.back()
        for sock in waiting:
            with house.context().wrap_socket(sock, server_hostname="acme.localhost") as tls:
                assert get(tls, "acme.localhost", "/version") == (200, b"1.0.0\n")
        assert get(there, "acme.localhost", "/version") == (200, b"1.0.0\n")
    assert house.worker_pids() == [worker]
    assert 1 <= house.front.said().count("nobody can be let in") <= time.monotonic() - began + 2, house.front.said()


@pytest.fixture
def full_of(make_house):
    """A house of so many connections and as many handshakes, in which nothing ends for its age, and its tenants."""
    def make(count, *tenants):
        house = make_house(front=["--max-connections", str(count), "--max-handshakes", str(count), "--linger", "600"])
        house.add_images("probe:1.0.0")
        for name in tenants:
            house.add_tenant(name)
        return house
    return make


def served(house, name):
    """A connection that was handed over."""
    sock = house.connect(name)
    assert is_served(sock, name)
    return sock


def is_served(sock, name):
    return get(sock, f"{name}.localhost", "/version") == (200, b"1.0.0\n")


def bare(tls):
    """What comes next on the socket below: an SSLSocket calls a reset an end."""
    with socket.socket(fileno=os.dup(tls.fileno())) as sock:
        sock.settimeout(DEADLINE)
        return sock.recv(1)


def test_tenants_that_hold_all_connections_keep_nobody_from_a_third(full_of):
    house = full_of(20, "one", "two", "third")
    held = [(name, served(house, name)) for name in ("one", "two") * 10]
    with pytest.raises(OSError):  # who has as many as anybody takes nothing from anybody
        house.connect("one")
    for _ in range(3):
        served(house, "third").close()
    assert all(is_served(sock, name) for name, sock in held[:16]), "the newest made room"
    for _, sock in held:
        sock.close()


def test_who_gets_an_answer_of_the_front_costs_no_tenant_a_connection_and_keeps_nobody_out(full_of):
    house = full_of(6, "one", "third")
    held = [served(house, "one") for _ in range(4)]
    lingering = []
    for _ in range(2):
        for _ in range(20):
            lingering.append(raw(house))
            lingering[-1].sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert rest_of(lingering[-1]).startswith(b"HTTP/1.1 400 ")
        served(house, "third").close()
        assert all(is_served(sock, "one") for sock in held)
    for sock in held + lingering:
        sock.close()


def test_what_a_tenant_is_through_with_makes_room_before_anything_of_others(full_of):
    house = full_of(6, "one", "two", "third")
    idle = served(house, "one")
    answered = [house.connect("one") for _ in range(3)]
    for sock in answered:
        assert get(sock, "one.localhost", "/version", close=True) == (200, b"1.0.0\n")
        assert sock.recv(1) == b""
        assert bare(sock) == b"", "the end of the answer; the client's does not come"
    for machine in house.machines.running():
        house.machines.kill(machine)
    with pytest.raises(ConnectionResetError):
        bare(idle)
    held = [(name, served(house, name)) for name in ("one", "two", "two")]
    served(house, "third").close()
    assert all(is_served(sock, name) for name, sock in held)
    for sock in answered + [sock for _, sock in held]:
        sock.close()


def test_clients_of_a_tenant_that_cannot_serve_fill_no_log(house):
    house.add_tenant("away")
    house.cli("tenant", "suspend", "away")
    count = many(200, 40)
    began = time.monotonic()
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
    assert 1 <= lines <= time.monotonic() - began + 2
