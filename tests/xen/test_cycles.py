"""Domains come and go, and nothing of them stays: not in Xen, not in xenstore, not in roomkeyd or its workers.

Runs in dom0: scripts/xenlab test tests/xen/test_cycles.py
"""

import os

from dom0 import free_mib
from house import get, until

CYCLES = 50


def counts(house):
    workers = house.worker_pids()
    return {
        "domains of the house": len(house.machines.running()),
        "descriptors of roomkeyd": len(os.listdir(f"/proc/{house.orchestrator.pid}/fd")),
        "descriptors of the workers": sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in workers),
        **house.machines.traces(workers),
    }


def test_fifty_domains_are_created_serve_and_are_destroyed_without_a_trace(make_house):
    house = make_house(workers=2)
    house.add_images("probe:1.0.0")
    house.add_tenant("acme")
    seen = set()

    def cycle():
        with house.connect("acme") as sock:
            assert get(sock, "acme.localhost", "/version") == (200, b"1.0.0\n")
        seen.update(house.machines.running())
        house.cli("instance", "stop", "acme")

    cycle()
    until(lambda: not house.machines.running(), "the first domain is gone")
    before, free_before = counts(house), free_mib()
    for _ in range(CYCLES):
        cycle()
    until(lambda: counts(house) == before, f"all is as before: {before}")
    after, free_after = counts(house), free_mib()
    print(f"\nafter {CYCLES} cycles, {len(seen)} domains: {after}, free memory {free_before} -> {free_after} MiB")
    assert len(seen) == CYCLES + 1, "each cycle had a domain of its own"
    assert after == before
    until(lambda: free_mib() >= free_before - 1, f"Xen has its memory back: {free_before} MiB were free")
