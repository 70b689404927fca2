"""Tenants that lie in the memory they share with the house, flood it, or die when it is least convenient: stopped,
with the reason said, and noticed by nobody else.

Neighbours are compared by events: a download that began before the lie ends after it with every byte, and requests
are answered in between.  Seen to fail with each of these taken out: the channel in conn_find() (a neighbour's download is
reset), take_crossing()'s bound (a flood goes on), the check in room_for_blocked() (a bad index goes unnoticed),
left_badly (no event).
The same lies frame by frame: tests/integration/test_front_liars.c, tests/unit/test_link.c.
"""

import ssl

import pytest

from house import GROWTH, SLOW, ms, much, pattern, resident, until

WORKERS = 1  # whose channel the liar knows
CONFIG = {"deadlines": {"drain": f"{ms(1)}ms", "stop": f"{ms(1)}ms", "health": f"{ms(1)}ms"}}
FRONT = ["--stall", str(int(2 * SLOW))]
BROKE = {"worker": "broke its channel to worker 0", "control": "broke its control channel"}
HUNG = "did not answer a health question"
STORM = "rings without end and has nothing to say"  # or HUNG: on a busy processor it does not get to ring that often

# What is told at once, when the lie is seen.
AT_ONCE = {
    "worker": {
        "prod": "malformed", "garbage": "malformed", "nonsense": "HELLO came twice", "cons": "index",
        "flip": "", "leave": "it left its channel", "foreign": "connections that it does not have",
        "flood": "connections that it does not have", "empty": "DATA is empty", "credit": "more credit",
        "overrun": "without credit", "twice": "CLOSE", "after": "DATA came after CLOSE",
    },
    "control": {
        "prod": "indices", "garbage": "frame head", "nonsense": "READY", "cons": "index", "flip": "",
        "ready": "READY twice", "slot": "SLOT for a channel it does not have",
    },
}
# What both grounds do by the very same code, an emulated machine does not do once more: it takes minutes.
XEN_TOO = {"worker": {"prod", "cons", "flip", "foreign", "flood", "silence"}, "control": {"garbage", "cons", "lines"}}


def case(channel, lie):
    marks = [] if lie in XEN_TOO[channel] else [pytest.mark.only_on("sandbox", "one of each kind is enough there")]
    return pytest.param(channel, lie, marks=marks)


@pytest.fixture(scope="module", autouse=True)
def image(house):
    house.add_images("liar:1.0.0")


@pytest.fixture(autouse=True)
def same_programs(house):
    """No program of the house has ended, nor grown."""
    pids = [house.orchestrator.pid, *house.worker_pids()]
    before = {pid: resident(pid) for pid in pids}
    yield
    assert [house.orchestrator.pid, *house.worker_pids()] == pids
    after = {pid: resident(pid) for pid in pids}
    print(f"bytes resident before and after: {before} {after}")
    assert all(after[pid] < before[pid] + GROWTH for pid in pids), (before, after)


def ask(sock, host, path):
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}.localhost\r\nConnection: close\r\n\r\n".encode())


def rest(sock, first):
    answer = bytearray(first)
    while chunk := sock.recv(1 << 18):
        answer += chunk
    return bytes(answer).split(b"\r\n\r\n", 1)[1]


def ends(sock):
    try:
        while sock.recv(1 << 18):
            pass
        return True
    except TimeoutError:
        return False
    except OSError:
        return True


def told(house, tenant, *kinds):
    """The first thing that was said of it."""
    return until(lambda: [e["text"] for e in house.events(tenant) if e["kind"] in kinds],
                 lambda: f"an event that it was stopped; there are {house.events(tenant)}")[0]


def crashed(house, tenant):
    return told(house, tenant, "crashed")


def serves(house, host):
    """A new instance does."""
    assert until(lambda: house.curl(host, "/version", check=False).stdout == b"1.0.0\n", f"{host} serves anew")


@pytest.mark.parametrize("channel, lie", [case(c, w) for c, lies in AT_ONCE.items() for w in lies])
def test_a_tenant_that_lies_is_stopped_at_once_and_its_neighbours_served(house, channel, lie):
    liar, total = f"{channel}-{lie}", much(20_000_000)
    house.add_tenant(liar, "liar:1.0.0")  # never idle here: nobody asks for its health instead
    assert house.curl(liar, "/version") == "1.0.0\n"
    with house.connect("acme", narrow=True) as download, house.connect(liar) as sock:
        ask(download, "acme", f"/bytes/{total}")
        body = download.recv(1000)
        ask(sock, liar, f"/lie/{channel}/{lie}")
        said = crashed(house, liar)  # its client may have read nothing until then
        assert ends(sock), "a lie was answered"
        assert house.curl("globex", "/version") == "1.0.0\n"
        assert rest(download, body) == pattern(0, total)
    assert BROKE[channel] in said and AT_ONCE[channel][lie] in said, said
    serves(house, liar)


def test_a_tenant_cannot_end_its_neighbours_connections(house):
    """A frame of a connection that is over may have crossed: as many as that it may try with ids of others."""
    liar, total = "thief", much(20_000_000)
    house.add_tenant(liar, "liar:1.0.0")
    assert house.curl(liar, "/version") == "1.0.0\n"  # one that is over
    with house.connect("acme", narrow=True) as download, house.connect("globex") as idle, house.connect(liar) as sock:
        ask(download, "acme", f"/bytes/{total}")
        body = download.recv(1000)
        ask(sock, liar, "/lie/worker/foreign")
        assert AT_ONCE["worker"]["foreign"] in crashed(house, liar)
        ask(idle, "globex", "/bytes/1000")
        assert rest(idle, b"") == pattern(0, 1000)
        assert rest(download, body) == pattern(0, total)


@pytest.mark.parametrize("channel, lie", [
    case("worker", "silence"), case("worker", "storm"), case("control", "storm"), case("control", "leave"),
    case("control", "lines"), case("control", "health"), case("control", "busy"), case("control", "slots"),
    case("control", "unknown"),
])
def test_a_tenant_that_only_makes_noise_is_stopped_when_idle_and_its_neighbours_served(house, channel, lie):
    liar = f"{channel}-{lie}"
    house.add_tenant(liar, "liar:1.0.0", "--idle", f"{ms(0.2)}ms")
    with house.connect(liar) as sock:
        ask(sock, liar, f"/lie/{channel}/{lie}")
        for _ in range(3):
            assert house.curl("globex", "/bytes/100000", text=False) == pattern(0, 100_000)
            assert house.events("acme") is not None, "roomkeyd answers"
    said = crashed(house, liar)
    assert HUNG in said or lie == "storm" and STORM in said, said
    serves(house, liar)


def test_a_tenant_that_takes_nothing_is_stopped_and_its_neighbours_served(house):
    """Its ring is full of what its clients send, and stays so."""
    liar = "glutton"
    house.add_tenant(liar, "liar:1.0.0")
    socks = [house.connect(liar) for _ in range(4)]
    try:
        ask(socks[0], liar, "/lie/worker/silence")
        for sock in socks[1:]:
            sock.sendall(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n" + bytes(65000))
        assert house.curl("globex", "/version") == "1.0.0\n"
        said = crashed(house, liar)
        assert "takes nothing from its full ring" in said, said
    finally:
        for sock in socks:
            sock.close()
    serves(house, liar)


@pytest.mark.parametrize("liar, kind, why", [
    ("dies-at-start", "failed", ["exit status 3"]),
    # a domain may have been ready before it had all its channels
    ("dies-when-ready", "crashed", ["exit status 3", "a channel of it cannot be had"]),
    ("is-ready-twice", "crashed", ["READY twice"]),
])
def test_a_tenant_that_dies_as_it_starts_is_told_of(house, liar, kind, why):
    house.add_tenant(liar, "liar:1.0.0", "--wake-timeout", f"{ms(3)}ms")
    try:
        with house.connect(liar) as sock:
            ask(sock, liar, "/version")
            assert ends(sock)
    except (ConnectionError, ssl.SSLError):
        pass  # it was reset before the question was out
    assert house.curl("globex", "/version") == "1.0.0\n"
    said = told(house, liar, kind, "failed")
    assert any(reason in said for reason in why), said


def test_a_tenant_that_dies_in_the_middle_of_an_answer_resets_that_one_and_serves_the_next(house):
    house.add_tenant("dies-in-half", "liar:1.0.0")
    with house.connect("acme", narrow=True) as download, house.connect("dies-in-half") as sock:
        ask(download, "acme", f"/bytes/{much(20_000_000)}")
        body = download.recv(1000)
        ask(sock, "dies-in-half", "/half")
        assert ends(sock)
        assert rest(download, body) == pattern(0, much(20_000_000))
    assert "exit status 3" in crashed(house, "dies-in-half")
    serves(house, "dies-in-half")


@pytest.mark.parametrize("liar, kind, why", [
    ("dies-when-asked", "crashed", "exit status 3"),
    ("dies-when-stopped", "left badly", "exit status 3"),
    ("hangs-when-stopped", "left badly", "did not leave in time"),
])
def test_a_tenant_that_dies_or_hangs_as_it_is_stopped_is_told_of(house, liar, kind, why):
    house.add_tenant(liar, "liar:1.0.0", "--idle", f"{ms(0.2)}ms")
    assert house.curl(liar, "/version") == "1.0.0\n"
    said = told(house, liar, kind)
    assert why in said, said
    assert house.curl("globex", "/version") == "1.0.0\n"
    serves(house, liar)


@pytest.mark.parametrize("liar, kind, why", [
    ("dies-when-drained", "crashed", "exit status 3"),
    ("hangs-when-drained", "left badly", "did not leave in time"),
])
def test_a_tenant_that_dies_or_hangs_as_it_is_drained_is_told_of(house, liar, kind, why):
    house.add_tenant(liar, "liar:1.0.0", "--idle", f"{ms(1.5)}ms")  # longer than workers take to tell of bytes
    with house.connect(liar) as sock:  # it has something to drain
        sock.sendall(f"GET /version HTTP/1.1\r\nHost: {liar}.localhost\r\n\r\n".encode())
        assert b"1.0.0" in sock.recv(1000)
        assert why in told(house, liar, kind)
        assert ends(sock)
    serves(house, liar)
