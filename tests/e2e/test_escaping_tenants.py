"""Tenants that want out of their box, or ruin the house from inside of it: ended, with the reason said in words, or
kept to what they were given; and noticed by nobody else.

Each wall by itself, every system call and every bit of what the filter looks at: tests/unit/test_sandbox_walls.c, which
also says how each was seen to fail.  Here it is the whole house that must stand, and say so.
"""

import pytest

from house import GROWTH, ms, resident, until

CONFIG = {"deadlines": {"health": f"{ms(1)}ms"}}
SECCOMP = "bad system call (seccomp); its number is in the kernel's log: dmesg | grep pid="
CALLS = {"open": 2, "socket": 41, "fork": 57, "io_uring_setup": 425}

on_sandbox = pytest.mark.only_on("sandbox", "that a call ends it is told in the sandbox's words; tests/xen has the others")


@pytest.fixture(scope="module", autouse=True)
def image(house):
    house.add_images("escaper:1.0.0")
    for host in ("acme", "globex"):
        house.cli("tenant", "set", host, "--idle", "1h")  # a test may take longer than they would be let be
        house.curl(host, "/version")


@pytest.fixture(autouse=True)
def neighbours(house):
    """Those that were awake are the same instances, and serve; no program of the house has ended or grown."""
    awake = {i["tenant"]: i["generation"] for i in house.instances() if i["tenant"] in ("acme", "globex")}
    assert len(awake) == 2
    programs = {pid: resident(pid) for pid in [house.orchestrator.pid, *house.worker_pids()]}
    yield
    for host in awake:
        assert house.curl(host, "/version") == "1.0.0\n"
    assert awake == {i["tenant"]: i["generation"] for i in house.instances() if i["tenant"] in awake}
    after = {pid: resident(pid) for pid in [house.orchestrator.pid, *house.worker_pids()]}
    print(f"bytes resident before and after: {programs} {after}")
    assert after.keys() == programs.keys()
    assert all(after[pid] < programs[pid] + GROWTH for pid in after), (programs, after)


def ends(house, tenant, path, why, *more):
    """Its client gets no answer, the events say why, and a new instance serves."""
    house.add_tenant(tenant, "escaper:1.0.0", *more)
    answer = house.curl(tenant, path, check=False)
    assert answer.returncode != 0 and not answer.stdout, answer
    said = until(lambda: [e["text"] for e in house.events(tenant) if e["kind"] == "crashed"], "an event that it ended")
    assert why in said[0], said
    assert house.curl(tenant, "/version") == "1.0.0\n", "a new instance serves"


@on_sandbox
@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_no_image_makes_ends_it(house, call):
    ends(house, f"calls-{call}".replace("_", "-"), f"/call/{CALLS[call]}", SECCOMP)


@on_sandbox
def test_memory_to_be_written_and_executed_ends_it(house):
    ends(house, "makes-code", "/code", SECCOMP)


@on_sandbox
def test_a_stack_without_end_ends_it(house):
    ends(house, "recurses", "/recurse", "SIGSEGV")


def test_an_app_that_gives_up_is_told_of_and_its_log_says_so(house):
    ends(house, "gives-up", "/abort", "exit status 134 (panic: its log says where)")
    assert "roomkey: stopped: the app called abort()" in house.cli("logs", "gives-up")


def test_a_tenant_that_takes_all_memory_gets_its_own_and_no_more(house):
    tenant, memory = "eats", 12 << 10
    house.add_tenant(tenant, "escaper:1.0.0", "--memory", f"{memory >> 10}M")
    answer = house.curl(tenant, "/eat", check=False)  # it may have none left to answer with
    if answer.returncode == 0:
        print(f"{int(answer.stdout)} KiB of {memory}")
        assert int(answer.stdout) < memory
    else:
        assert until(lambda: [e for e in house.events(tenant) if e["kind"] == "crashed"], "an event that it ended")


@on_sandbox
def test_lines_without_end_are_dropped_and_counted_and_it_is_stopped_when_idle(house):
    tenant = "prints"
    house.add_tenant(tenant, "escaper:1.0.0", "--idle", f"{ms(2)}ms")
    with house.connect(tenant) as sock:
        sock.sendall(f"GET /print HTTP/1.1\r\nHost: {tenant}.localhost\r\n\r\n".encode())
        until(lambda: "lines dropped" in house.cli("logs", tenant), "a line that tells of those that were dropped")
        assert house.curl("globex", "/bytes/100000", text=False), "others are served"
    said = until(lambda: [e["text"] for e in house.events(tenant) if e["kind"] == "crashed"], "an event that it ended")
    assert "did not answer a health question" in said[0], said
    house.until_asleep(tenant)  # who comes before that is reset with it
    assert house.curl(tenant, "/version") == "1.0.0\n", "a new instance serves"
    size = sum(f.stat().st_size for f in (house.state / "logs").glob(f"{tenant}*"))
    print(f"{size} bytes of log")
    assert 0 < size < 2 << 20
