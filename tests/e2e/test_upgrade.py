"""A tenant gets a new version while nobody is looking; a bad one goes back by itself."""

import threading

import pytest

from house import DEADLINE, get, head_of, ms, much, pattern, until


@pytest.fixture
def tenant(house, request):
    name = "up-" + "".join(c for c in request.node.name.removeprefix("test_") if c.isalpha())[:20]
    house.add_tenant(name)
    yield name
    house.cli("tenant", "remove", name)


def upgrade(house, tenant, image, *more):
    return house.cli("tenant", "upgrade", tenant, "--image", image, *more)


def test_asleep_the_next_wake_runs_the_new_version(house, tenant):
    upgrade(house, tenant, "probe:2.0.0")
    assert not house.running(tenant)
    assert house.curl(tenant, "/version") == "2.0.0\n"


def test_idle_it_moves_at_once(house, tenant):
    assert house.curl(tenant, "/version") == "1.0.0\n"
    upgrade(house, tenant, "probe:2.0.0", "--wait")
    assert house.curl(tenant, "/version") == "2.0.0\n"
    assert house.json("tenant", "show", tenant)["image"] == "probe:2.0.0"


def test_in_use_it_moves_when_idle_and_no_connection_is_cut(house, tenant):
    host = f"{tenant}.localhost"
    with house.connect(tenant) as sock:
        get(sock, host, "/version")
        waiting = threading.Thread(target=lambda: upgrade(house, tenant, "probe:2.0.0", "--wait"))
        with house.connect(tenant) as slow:
            slow.sendall(f"GET /sleep/{ms(1.5)} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            waiting.start()
            assert b"200 OK" in slow.recv(4096)
    waiting.join(2 * DEADLINE)
    assert not waiting.is_alive()
    assert house.curl(tenant, "/version") == "2.0.0\n"


def test_past_max_wait_new_connections_go_to_the_new_version_and_the_old_finishes(house, tenant):
    host = f"{tenant}.localhost"
    total = much(100 << 20)
    with house.connect(tenant, narrow=True) as sock:
        sock.sendall(f"GET /bytes/{total} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        _, seen = head_of(sock)
        assert seen == pattern(0, len(seen))
        count = len(seen)
        upgrade(house, tenant, "probe:2.0.0", "--max-wait", "1s")
        until(lambda: house.curl(tenant, "/version") == "2.0.0\n", "new connections meet the new version")
        while chunk := sock.recv(1 << 18):
            assert chunk == pattern(count, len(chunk))
            count += len(chunk)
        assert count == total
    until(lambda: len(house.running(tenant)) == 1, "the old instance is gone")


@pytest.mark.parametrize("state", ["asleep", "awake"])
def test_a_version_that_fails_in_on_start_is_rolled_back_and_the_customer_served(house, state):
    name = f"rollback-{state}"
    house.add_tenant(name, "hello:1.0.0")
    if state == "awake":
        assert "1.0.0" in house.curl(name)
    upgrade(house, name, "hello:3.0.0")
    page = house.curl(name)
    assert "1.0.0" in page
    until(lambda: house.json("tenant", "show", name)["image"] == "hello:1.0.0", "the tenant is back on its good version")
    shown = house.json("tenant", "show", name)
    assert shown["failed_image"] == "hello:3.0.0" and shown["failed_reason"]
    assert any("rolled back" in e["text"] for e in house.events(name)), house.events(name)
    assert "rolled back" in house.cli("events")
    assert "1.0.0" in house.curl(name)


def test_upgrade_wait_tells_of_a_rollback(house):
    house.add_tenant("telling", "hello:1.0.0")
    house.curl("telling")
    line = house.refused("tenant", "upgrade", "telling", "--image", "hello:3.0.0", "--wait")
    assert "rolled back" in line


def test_a_first_version_that_fails_is_said_to_fail(house):
    house.add_tenant("stillborn", "hello:3.0.0")
    done = house.curl("stillborn", "/", "-i", check=False)
    assert b"503" in done.stdout and b"retry-after" in done.stdout.lower(), done.stdout
    assert house.events("stillborn")


def test_another_tenants_download_goes_on_through_an_upgrade(house, tenant):
    with house.connect("globex", narrow=True) as sock:
        total = much(50 << 20)
        sock.sendall(f"GET /bytes/{total} HTTP/1.1\r\nHost: globex.localhost\r\nConnection: close\r\n\r\n".encode())
        first = sock.recv(1000)
        upgrade(house, tenant, "probe:2.0.0", "--wait")
        assert house.curl(tenant, "/version") == "2.0.0\n"
        body = bytearray(first)
        while chunk := sock.recv(1 << 18):
            body += chunk
    assert bytes(body).split(b"\r\n\r\n", 1)[1] == pattern(0, total)
