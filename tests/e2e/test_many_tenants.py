"""Ten thousand registered tenants: each is listed, found, woken, and one more onboarded; neither the front nor roomkeyd grows.

ROOMKEY_TENANTS: how many, 10,000 unless set. That it takes no more steps than among ten: tests/unit/test_registry_many.c; how
long it takes: tests/bench/tenants. Seen to fail: without the loop over max_routes in routes_put() of tls-front/route.c the
front keeps a route of each.
"""

import json
import os

import pytest

from clients import Client, metrics, raw, rest_of
from house import House, assert_bounded, in_threads, many, resident, until
from many_tenants import Onboarding, copy, host, name
from tls_wire import HANDSHAKE, client_hello, record

TENANTS = int(os.environ.get("ROOMKEY_TENANTS", many(10_000, 1000)))
ONBOARDED = many(100, 8)  # by the admin API, of these
ROUTES = many(20, 4)  # --max-routes
MIB = 1 << 20


@pytest.fixture(scope="module")
def house():
    house = House(front=["--max-routes", str(ROUTES)])
    try:
        house.start()
        yield house
    finally:
        house.remove()
    house.check()


@pytest.fixture(scope="module")
def onboarding(house):
    """With all tenants there, and what the daemons had in memory before."""
    onboarding = Onboarding(house)
    onboarding.add(0)
    woken(house, 0)
    (worker,) = house.worker_pids()
    before = resident(worker), resident(house.orchestrator.pid)
    half = ONBOARDED // 2
    in_threads(4, lambda k: [onboarding.add(i) for i in range(1 + k, half, 4)])
    house.orchestrator.stop()
    copy(house, half, TENANTS - half)
    house.start_orchestrator()
    until(lambda: metrics(house)["front_workers"] == 1, "the front has found roomkeyd again")
    in_threads(4, lambda k: [onboarding.add(i) for i in range(TENANTS - half + k, TENANTS, 4)])
    return worker, before


def woken(house, i):
    client = Client(house, host(i)).shake()
    client.answered()
    client.fin()


def test_neither_daemon_grows_with_them(house, onboarding):
    worker, (front, orchestrator) = onboarding
    now = resident(worker), resident(house.orchestrator.pid)
    print(f"{TENANTS} tenants: front worker {front / MIB:.1f} -> {now[0] / MIB:.1f} MiB, "
          f"roomkeyd {orchestrator / MIB:.1f} -> {now[1] / MIB:.1f} MiB")
    assert_bounded(now[0] - front, 1 * MIB)
    assert_bounded(now[1] - orchestrator, 8 * MIB)  # SQLite's page cache is 2 MiB


def test_all_are_listed_and_each_is_found(house, onboarding):
    before = resident(house.orchestrator.pid)
    listed = json.loads(house.api("/v1/tenants"))
    assert [t["name"] for t in listed] == [name(i) for i in range(TENANTS)]
    assert len(json.loads(house.api("/v1/certs"))) == TENANTS
    assert metrics(house)["tenants"] == TENANTS
    for i in (0, 1, TENANTS // 2, TENANTS - 1):
        assert json.loads(house.api(f"/v1/tenants/{name(i)}"))["hosts"] == [host(i)]
    assert_bounded(resident(house.orchestrator.pid) - before, 8 * MIB)  # no list is held whole


@pytest.mark.parametrize("which", ["the first", "one in the middle", "the last"])
def test_each_is_woken(house, onboarding, which):
    woken(house, {"the first": 0, "one in the middle": TENANTS // 2, "the last": TENANTS - 1}[which])


def test_the_front_keeps_no_more_routes_than_it_may(house, onboarding):
    (worker,) = house.worker_pids()
    before = resident(worker, "RssAnon")
    for i in range(5 * ROUTES):
        woken(house, i * (TENANTS // (5 * ROUTES)))
    until(lambda: metrics(house)["front_routes"] == ROUTES, lambda: f"{metrics(house)['front_routes']} routes are kept")
    with raw(house) as sock:
        sock.sendall(record(HANDSHAKE, client_hello([f"nobody.{host(0)}"])))
        assert rest_of(sock)
    assert_bounded(resident(worker, "RssAnon") - before, ROUTES * (64 << 10) + 2 * MIB)
