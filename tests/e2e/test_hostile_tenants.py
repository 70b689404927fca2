"""Tenants that lie in the memory they share with the house: stopped, with the reason said, and noticed by nobody else."""

import pytest

from house import much, pattern, until

WORKERS = 1  # whose channel the liar knows
BROKE = {"worker": "broke its channel to worker 0", "control": "broke its control channel"}
HUNG = "did not answer a health question"


@pytest.fixture(scope="module", autouse=True)
def image(house):
    house.add_images("liar:1.0.0")


def ask(sock, host, path):
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}.localhost\r\nConnection: close\r\n\r\n".encode())


def rest(sock, first):
    answer = bytearray(first)
    while chunk := sock.recv(1 << 18):
        answer += chunk
    return bytes(answer).split(b"\r\n\r\n", 1)[1]


def ends(sock):
    try:
        return sock.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def crashed(house, tenant):
    return until(lambda: [e["text"] for e in house.events(tenant) if e["kind"] == "crashed"], "an event that it was stopped")


@pytest.mark.parametrize("channel", BROKE)
@pytest.mark.parametrize("lie", ["prod", "garbage", "nonsense"])
def test_a_tenant_that_lies_is_stopped_at_once_and_its_neighbours_served(house, channel, lie):
    liar, total = f"{channel}-{lie}", much(20_000_000)
    house.add_tenant(liar, "liar:1.0.0")
    assert house.curl(liar, "/version") == "1.0.0\n"
    with house.connect("acme", narrow=True) as download, house.connect(liar) as sock:
        ask(download, "acme", f"/bytes/{total}")
        body = download.recv(1000)
        ask(sock, liar, f"/lie/{channel}/{lie}")
        assert ends(sock), "a lie was answered"
        assert house.curl("globex", "/version") == "1.0.0\n"
        assert rest(download, body) == pattern(0, total)
    assert BROKE[channel] in crashed(house, liar)[0]
    assert house.curl(liar, "/version") == "1.0.0\n", "a new instance serves"


@pytest.mark.parametrize("channel, lie, reasons", [
    ("worker", "silence", [HUNG]), ("worker", "storm", [HUNG, "rings without end"]),
    # what it read is a matter when it is next written to
    ("worker", "cons", [HUNG, BROKE["worker"]]), ("control", "cons", [HUNG, BROKE["control"]]),
])
def test_a_tenant_that_answers_no_more_is_stopped_when_idle_and_its_neighbours_served(house, channel, lie, reasons):
    liar = f"{channel}-{lie}"
    house.add_tenant(liar, "liar:1.0.0", "--idle", "1s")
    with house.connect(liar) as sock:
        ask(sock, liar, f"/lie/{channel}/{lie}")
        for _ in range(3):
            assert house.curl("globex", "/bytes/100000", text=False) == pattern(0, 100_000)
    said = crashed(house, liar)[0]
    assert any(reason in said for reason in reasons), said
    assert house.curl(liar, "/version") == "1.0.0\n", "a new instance serves"
