"""What happens to a domain from outside: destroyed behind roomkeyd's back, no memory for it, nobody who asks it anything.

Runs in dom0: scripts/xenlab test tests/xen/test_domains.py
"""

import os
import signal
import time

import pytest

import grounds
from dom0 import free_mib, of_tenant, only
from house import get, pattern, until


@pytest.fixture(scope="module", autouse=True)
def witness(house):
    """A tenant that serves one customer throughout; call it now and then: who is silent for long is hung up on."""
    house.add_tenant("witness", "probe:1.0.0", "--idle", "1h")
    with house.connect("witness") as sock:
        def ask():
            assert get(sock, "witness.localhost", "/bytes/100000") == (200, pattern(0, 100000))
            assert [i["generation"] for i in house.running("witness")] == [1]

        ask()
        yield ask
        ask()


def test_one_that_is_destroyed_behind_the_back_is_missed_told_of_and_replaced(house):
    with house.connect("globex") as sock:
        get(sock, "globex.localhost", "/version")
        generation = house.running("globex")[0]["generation"]
        (machine,) = of_tenant(house, "globex")
        house.machines.kill(machine)
        with pytest.raises(OSError):
            assert sock.recv(1) == b""
            raise ConnectionResetError
    said = until(lambda: [e["text"] for e in house.events("globex") if e["kind"] == "crashed"], "an event")
    assert "destroyed behind our back" in said[0], said
    assert house.curl("globex", "/version") == "1.0.0\n"
    assert house.running("globex")[0]["generation"] > generation
    domains = grounds.domains()
    assert "(null)" not in domains.values(), f"one stays because somebody maps its memory: {domains}"


def test_memory_that_a_worker_still_maps_is_told_of_until_the_worker_lets_go(house, witness):
    """Seen to fail: helper/domain_destroy.c without finish_dying()."""
    def stuck(word):
        return [e["text"] for e in house.events() if e["kind"] == "stuck" and word in e["text"]]

    witness()
    house.curl("globex", "/version")
    (machine,) = of_tenant(house, "globex")
    workers = house.worker_pids()
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        house.machines.kill(machine)
        (said,) = until(lambda: stuck("are not free although it is destroyed"), "that its memory is held")
        assert "-globex-" in said and f"domain {machine} " in said, said
        print("\n" + said)
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
    until(lambda: stuck("is free now"), "that it is free")
    assert "(null)" not in grounds.domains().values()
    assert house.curl("globex", "/version") == "1.0.0\n"


def test_more_memory_than_the_host_has_is_refused_with_the_numbers(house, witness):
    witness()
    house.add_tenant("huge", "probe:1.0.0", "--memory", "1000M")
    with only(600):
        done = house.curl("huge", "/", "-i", check=False)
        assert b"503" in done.stdout.splitlines()[0] and b"retry-after" in done.stdout.lower(), done.stdout
        said = [e["text"] for e in house.events("huge") if e["kind"] == "failed"]
        assert said and "memory" in said[0] and "KiB are free" in said[0], said
        assert house.curl("globex", "/version") == "1.0.0\n"
    house.cli("tenant", "remove", "huge")


def test_when_memory_is_used_up_the_rest_lives_on_and_who_is_idle_gives_way(house, witness):
    witness()
    for name in ("big-1", "big-2", "big-3"):
        house.add_tenant(name, "probe:1.0.0", "--memory", "200M")
    with only(500):
        with house.connect("big-1") as one, house.connect("big-2") as two:
            get(one, "big-1.localhost", "/version")
            get(two, "big-2.localhost", "/version")
            witness()
            done = house.curl("big-3", "/", "-i", check=False)
            assert b"503" in done.stdout.splitlines()[0], done.stdout
            assert any("KiB are free" in e["text"] for e in house.events("big-3")), house.events("big-3")
            assert house.curl("globex", "/version") == "1.0.0\n"
            assert get(one, "big-1.localhost", "/version") == get(two, "big-2.localhost", "/version") == (200, b"1.0.0\n")
        witness()
        until(lambda: house.curl("big-3", "/version", check=False).stdout == b"1.0.0\n", "an idle one gives way to it")
        assert len(house.running("big-1")) + len(house.running("big-2")) == 1
        witness()
    assert free_mib() > 500
    for name in ("big-1", "big-2", "big-3"):
        house.cli("tenant", "remove", name)


def test_nobody_who_asks_means_no_processor_time(house, witness):
    """The witness has an open connection, and hears nothing for a while; the time is the subject of the test."""
    def used():
        return house.running("witness")[0]["cpu_us"]

    witness()
    # Figures come every two seconds: the first one that is new is of now.
    first = used()
    house.curl("witness", "/bytes/200000", text=False)
    before = until(lambda: used() != first and used(), "a new figure")
    time.sleep(3)  # the last of the work above is in the figure then
    before = used()
    time.sleep(10)
    spent = used() - before
    print(f"\nprocessor time of an idle domain in 10 s: {spent} us")
    assert spent < 100_000, f"{spent} us"
