"""A crowd of tenants, each fetched asleep, reaped, fetched again; nothing is left behind."""

import contextlib
import os
from pathlib import Path

from house import DEADLINE, in_threads, many, ms, until

TENANTS = many(200, 12)
AT_ONCE = 8


def descriptors(pid):
    with contextlib.suppress(OSError):  # it has gone meanwhile
        return len(os.listdir(f"/proc/{pid}/fd"))
    return 0


def descendants(pid):
    found = []
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def leftovers(house):
    """What must be as before once all is asleep."""
    workers = descendants(house.front.pid)
    return {
        "processes of roomkeyd": len(descendants(house.orchestrator.pid)),
        "descriptors of roomkeyd": descriptors(house.orchestrator.pid),
        "descriptors of the workers": sum(descriptors(p) for p in workers),
        "machines": len(house.machines.running()),
        "instances": len(house.running(None)),
        **house.machines.traces(workers),
    }


def test_a_crowd_of_tenants_sleeps_wakes_and_leaves_nothing_behind(make_house):
    house = make_house(workers=2)
    house.add_images("probe:1.0.0")
    names = [f"t{i:03}" for i in range(TENANTS)]
    hosts = [f"{n}.localhost" for n in names]
    chain, key = house.certs.make(*hosts)
    for name, host in zip(names, hosts):
        house.cli("tenant", "add", name, "--image", "probe:1.0.0", "--host", host, "--cert", chain, "--key", key,
                  "--idle", "1s", "--wake-timeout", f"{ms(10)}ms")

    def fetch_all():
        def some(k):
            for name in names[k::AT_ONCE]:
                assert house.curl(name, "/version") == "1.0.0\n"
        in_threads(AT_ONCE, some)

    def all_asleep():
        until(lambda: not house.running(None), "all tenants are reaped", 4 * DEADLINE)

    assert house.curl(names[0], "/version") == "1.0.0\n"
    all_asleep()
    before = leftovers(house)
    for _ in range(2):
        fetch_all()
        all_asleep()
    def more():
        """What there is more of than before; then, roomkeyd may not have closed our last question's connection yet."""
        return {what: (before[what], now) for what, now in leftovers(house).items() if now > before[what]}

    until(lambda: not more(), lambda: f"nothing is left behind; (before, now): {more()}")
    assert not house.json("instance", "list")
    assert "failed" not in {e["kind"] for e in house.events()}
