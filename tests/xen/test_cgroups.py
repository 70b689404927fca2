"""The sandbox's cgroups, on a kernel that has their memory controller, which the machine that runs the other tests may not
have: in dom0, which has.

Runs in dom0: scripts/xenlab test tests/xen/test_cgroups.py

Seen to fail: without sandbox_cgroup_sweep() in sweep_all() (sandbox.c: the folder of one that died while no roomkeyd ran
stays).
"""

import contextlib
import random
import signal
from pathlib import Path

import pytest

from house import Refused, get, in_threads, many, until
from ledger import Ledger

ROOT = Path("/sys/fs/cgroup/roomkey")


def folders():
    """{user: processes in its cgroup}"""
    found = {}
    for folder in filter(Path.is_dir, ROOT.iterdir()):
        with contextlib.suppress(OSError):  # it has gone meanwhile
            found[int(folder.name)] = [int(p) for p in (folder / "cgroup.procs").read_text().split()]
    return found


def users(ledger):
    """{user: processes}, as the rows say"""
    handles = [h for h, in ledger.rows("SELECT handle FROM instance WHERE state <> 'ended'") if h]
    parts = [dict(word.split("=") for word in h.split()) for h in handles]
    return {int(p["uid"]): [int(p["pid"])] for p in parts}


def agree(ledger):
    ledger.check()
    until(lambda: folders() == users(ledger), lambda: f"cgroups {folders()}, rows {users(ledger)}")


@pytest.fixture
def house(make_house):
    house = make_house(ground="sandbox", config={"limits": {"channels": 1}})
    house.add_images("probe:1.0.0", "probe:2.0.0", "escaper:1.0.0")
    return house


def pid_of(ledger, tenant):
    rows = ledger.rows(f"SELECT handle FROM instance n JOIN tenant t ON t.id = n.tenant WHERE t.name = '{tenant}' AND n.state <> 'ended'")
    return int(rows[0][0].split()[0].removeprefix("pid=")) if rows and rows[0][0] else None


def storm(house, ledger, tenant, rounds):
    """Whatever may befall a tenant, in some order."""
    chance = random.Random(tenant)

    def crash():
        if pid := pid_of(ledger, tenant):
            with contextlib.suppress(ProcessLookupError):
                house.machines.kill(pid)

    def again():
        house.cli("tenant", "remove", tenant)
        house.add_tenant(tenant)

    acts = [lambda: house.cli("instance", "stop", tenant), crash, again,
            lambda: house.cli("tenant", "upgrade", tenant, "--image", chance.choice(["probe:1.0.0", "probe:2.0.0"]))]
    for _ in range(rounds):
        for act in chance.sample(acts, len(acts)):
            house.curl(tenant, "/version", check=False)
            with contextlib.suppress(Refused):  # it sleeps, or is what it shall be
                act()


def test_after_a_storm_and_a_death_of_roomkeyd_cgroups_agree_with_rows_and_machines(house):
    ledger, tenants = Ledger(house), ["acme", "globex", "initech"]
    for name in tenants:
        house.add_tenant(name)
    in_threads(len(tenants), lambda i: storm(house, ledger, tenants[i], many(10, 1)))
    for name in tenants:
        until(lambda n=name: house.curl(n, "/version", check=False).returncode == 0, f"{name} serves")
    agree(ledger)
    assert len(folders()) == len(tenants)
    with house.connect("acme") as sock:
        get(sock, "acme.localhost", "/version")
        lost = pid_of(ledger, "globex")
        house.orchestrator.stop(signal.SIGKILL)
        house.machines.kill(lost)
        house.start_orchestrator()
        agree(ledger)
        assert len(folders()) == len(tenants) - 1
        get(sock, "acme.localhost", "/version")
    house.stop()
    assert folders() == {}


def test_a_memory_bomb_is_ended_by_its_cgroup_and_told_of(house):
    """Its resource limits come first, so the cgroup's bound is made lower than they are."""
    house.add_tenant("eats", "escaper:1.0.0", "--memory", "12M")
    ledger = Ledger(house)
    assert house.curl("eats", "/version")
    (user,) = folders()
    (ROOT / str(user) / "memory.max").write_text(str(6 << 20))
    assert house.curl("eats", "/eat", check=False).returncode != 0
    said = until(lambda: [e["text"] for e in house.events("eats") if e["kind"] == "crashed"], "an event that it ended")
    assert "out of memory" in said[0] and "--memory" in said[0], said
    assert house.curl("eats", "/version"), "a new one serves"
    agree(ledger)
