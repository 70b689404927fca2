"""A roomkeyd that is killed and started again, or is not the only one: what it takes over, what it destroys, what it
leaves alone.

Runs in dom0: scripts/xenlab test tests/xen/test_restart.py
"""

import contextlib
import signal
import subprocess

import grounds
from dom0 import by_hand, of_tenant
from house import BUILD, DEADLINE, get, pattern, until


def test_its_own_are_taken_over_strays_are_destroyed_and_foreigners_left_alone(make_house):
    house = make_house(config={"xen": {"pool": 1}})
    house.add_images("probe:1.0.0")
    house.add_tenant("acme")
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(house.connect("acme"))
        assert get(sock, "acme.localhost", "/version") == (200, b"1.0.0\n")
        pool = until(lambda: of_tenant(house, "pool"), "a domain in the pool")
        (own,) = of_tenant(house, "acme")
        house.orchestrator.stop(signal.SIGKILL)
        stray = stack.enter_context(by_hand(f"{house.machines.name()}ghost-7"))
        foreign = {stack.enter_context(by_hand(name))
                   for name in ("someone-elses", "rk-00000000-acme-1", f"x{house.machines.name()}acme-1")}
        assert get(sock, "acme.localhost", "/bytes/100000") == (200, pattern(0, 100000))

        house.start_orchestrator()
        until(lambda: not grounds.domains().keys() & {stray, *pool}, "strays are destroyed")
        assert [i["generation"] for i in house.running("acme")] == [1]
        assert of_tenant(house, "acme") == {own}
        assert get(sock, "acme.localhost", "/bytes/100000") == (200, pattern(0, 100000))
        assert house.curl("acme", "/version") == "1.0.0\n"
        assert of_tenant(house, "acme") == {own}, "it is the same one still"
        house.add_tenant("later")
        assert house.curl("later", "/version") == "1.0.0\n"
        house.stop()
        assert not house.machines.running()
        assert grounds.domains().keys() >= foreign


def test_two_houses_on_one_host_leave_each_others_domains_alone(make_house):
    """With tenants of the same name. Seen to fail: is_wanted() of domain_list.c by "rk-" alone (the first to restart
    destroys the other's)."""
    houses = [make_house(config={"xen": {"pool": 1}}) for _ in range(2)]
    for house in houses:
        house.add_images("probe:1.0.0")
        house.add_tenant("acme")
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(house.connect("acme")) for house in houses]

        def both_serve():
            for sock in socks:
                assert get(sock, "acme.localhost", "/bytes/100000") == (200, pattern(0, 100000))

        both_serve()
        for house in houses:
            until(lambda h=house: of_tenant(h, "pool"), "a domain in the pool")
        first, second = houses
        theirs = set(second.machines.running())
        assert not theirs & set(first.machines.running())
        own = of_tenant(first, "acme")

        first.orchestrator.stop(signal.SIGKILL)
        first.start_orchestrator()
        until(lambda: not of_tenant(first, "pool"), "its own pool, which nobody knows any more, is destroyed")
        both_serve()
        assert of_tenant(first, "acme") == own and set(second.machines.running()) == theirs

        done = subprocess.run([BUILD / "bin/roomkeyd", "--state", second.state, "--run", first.dir / "third",
                               "--ground", "xen"], capture_output=True, text=True, timeout=DEADLINE)
        assert done.returncode == 1 and "another roomkeyd works in it" in done.stderr, done
        assert first.stop() == {"front": 0, "orchestrator": 0}
        assert not first.machines.running() and set(second.machines.running()) == theirs
        assert get(socks[1], "acme.localhost", "/bytes/100000") == (200, pattern(0, 100000))
        assert [i["generation"] for i in second.running("acme")] == [1]


GARBAGE = {
    "ref-text": ("0/ring-ref", "abc"),
    "ref-wild": ("0/ring-ref", "4294967295"),
    "ref-long": ("0/ring-ref", "9" * 1500),
    "port-wild": ("0/event-channel", "123456789"),
    "port-negative": ("control/event-channel", "-1"),
    "control-wild": ("control/ring-ref", "77777"),
}


def test_what_a_guest_may_write_in_xenstore_is_doubted(make_house):
    """The nodes are read again when a roomkeyd takes over; a guest may have written anything since."""
    house = make_house()
    house.add_images("probe:1.0.0")
    house.add_tenant("acme")
    for name in GARBAGE:
        house.add_tenant(name)
    with house.connect("acme") as sock:
        get(sock, "acme.localhost", "/version")
        domid = {}
        for name in GARBAGE:
            before = set(house.machines.running())
            assert house.curl(name, "/version") == "1.0.0\n"
            (domid[name],) = set(house.machines.running()) - before
            get(sock, "acme.localhost", "/version")  # who is silent for long is hung up on
        house.orchestrator.stop(signal.SIGKILL)
        for name, (node, value) in GARBAGE.items():
            subprocess.run(["xenstore-write", "--", f"/local/domain/{domid[name]}/data/roomkey/{node}", value], check=True)
        house.start_orchestrator()
        assert get(sock, "acme.localhost", "/bytes/100000") == (200, pattern(0, 100000))
        for name in GARBAGE:
            until(lambda n=name: house.curl(n, "/version", check=False).stdout == b"1.0.0\n", f"{name} is served again")
        assert [i["generation"] for i in house.running("acme")] == [1]
        assert house.orchestrator.process.poll() is None
