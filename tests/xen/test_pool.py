"""The pool: domains that stand ready, paused, and are nobody's until they are launched.

Runs in dom0: scripts/xenlab test tests/xen/test_pool.py
"""

import grounds
from dom0 import free_mib, of_tenant, only
from house import get, ms, pattern, until


def pooled(house):
    return of_tenant(house, "pool")


def states():
    """{domid: state letters} of xl list."""
    return {int(line.split()[1]): line.split()[4] for line in grounds.tool("xl", "list").splitlines()[1:]}


def test_the_second_wake_comes_out_of_the_pool_which_is_filled_again_and_ends_with_roomkeyd(make_house):
    house = make_house(config={"xen": {"pool": 2}})
    house.add_images("probe:1.0.0")
    names = ["one", "two", "three"]
    for name in names:
        house.add_tenant(name)
    assert not pooled(house)
    assert house.curl("one", "/version") == "1.0.0\n"
    assert house.running("one")[0]["start"]["created_us"] > 0
    ready = until(lambda: len(pooled(house)) == 2 and pooled(house), "a pool of two")
    assert all("p" in states()[domid] for domid in ready), states()

    used = of_tenant(house, "one")
    for name in names[1:]:
        assert house.curl(name, "/version") == "1.0.0\n"
        start = house.running(name)[0]["start"]
        assert start["created_us"] == 0 and start["ready_us"] > 0, start
        (domid,) = of_tenant(house, name)
        assert domid in ready and domid not in used, "it was of the pool, and nobody else's before"
        used.add(domid)
        ready = until(lambda: len(pooled(house)) == 2 and pooled(house), "a pool of two again")
        assert not ready & used

    house.cli("instance", "stop", "two")
    until(lambda: not of_tenant(house, "two"), "the domain of two is gone")
    assert house.curl("two", "/version") == "1.0.0\n"
    assert not of_tenant(house, "two") & used, "a domain that served is never used again"
    assert house.stop() == {"front": 0, "orchestrator": 0}
    assert not house.machines.running()


def test_a_pool_of_the_old_version_never_serves_the_new_one_and_goes(make_house):
    """Seen to fail: find() in xen_pool.c by memory alone (the new version is rolled back)."""
    house = make_house(config={"xen": {"pool": 1, "pool_idle": f"{ms(5)}ms"}})
    house.add_images("probe:1.0.0", "probe:2.0.0")
    house.add_tenant("acme")
    house.add_tenant("other")
    assert house.curl("acme", "/version") == "1.0.0\n"
    old = until(lambda: pooled(house), "a pool of the old version")
    house.cli("tenant", "upgrade", "acme", "--image", "probe:2.0.0", "--wait")
    assert house.curl("acme", "/version") == "2.0.0\n"
    assert not of_tenant(house, "acme") & old
    until(lambda: pooled(house) - old, "a pool of the new version")
    until(lambda: not pooled(house) & old, "that of the old one is given back")
    assert house.curl("other", "/version") == "1.0.0\n", "who has the old version still gets it"
    for name in ("acme", "other"):
        house.cli("instance", "stop", name)
    until(lambda: not house.machines.running(), "nothing stays")


def test_under_memory_pressure_the_pool_gives_its_back(make_house):
    house = make_house(config={"xen": {"pool": 1}})
    house.add_images("probe:1.0.0")
    house.add_tenant("acme")
    house.add_tenant("big", "probe:1.0.0", "--memory", "200M")
    house.add_tenant("bigger", "probe:1.0.0", "--memory", "350M")
    with only(700), house.connect("acme") as sock:
        get(sock, "acme.localhost", "/version")
        assert house.curl("big", "/version") == "1.0.0\n"
        until(lambda: len(pooled(house)) == 2, "a pool for each of both sizes")
        assert free_mib() < 350, "what is free is not enough"
        assert house.curl("bigger", "/version") == "1.0.0\n"
        assert not pooled(house)
        assert get(sock, "acme.localhost", "/bytes/100000") == (200, pattern(0, 100000))
        assert house.running("big")
