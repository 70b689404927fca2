"""Slow clients: each deadline of docs/CONFIG.md, made short, is what ends its connection, not before it has passed.

All are slow at the same time, one thread each; a test waits for its own. Seen to fail: without the line that arms the
deadline (conn_deadline() in opening_begin(), on_hello(), on_route_known() and flushed() of tls-front, those with limit_ms()
in tenant-runtime; for a head there are two of these), the connection of that name outlives the test; with the deadline of
the hello moved on at each byte (in on_bytes() of tls-front/opening.c) so does the one that drips.
"""

import collections
import os
import signal
import threading
import time

import pytest

from clients import Account, Client, alert_of, raw, rest_of
from house import DEADLINE, SLOW, House
from tls_wire import HANDSHAKE, client_hello, record

SHORT = max(2, round(2 * SLOW))  # seconds, as given to the front; an app of apps/hasty.c has three itself
FRONT = [f"--{name}-timeout={SHORT}" for name in ("hello", "handshake", "route")] + [f"--linger={SHORT}", f"--stall={SHORT}"]
INTERNAL_ERROR = 80
HEAD = b"GET / HTTP/1.1\r\nHost: hasty.localhost\r\n"


@pytest.fixture(scope="module")
def hasty():
    house = House(front=FRONT)
    try:
        house.start()
        house.add_images("hasty:1.0.0", "probe:1.0.0")
        house.add_tenant("hasty", "hasty:1.0.0")
        house.add_tenant("other")
        house.curl("hasty", "/")
        yield house
    finally:
        house.remove()
    house.check()


# Each returns when its connection has ended, as far as a client can see that.

def nothing_is_said(house):
    with raw(house) as sock:
        assert rest_of(sock) == b""


def a_hello_drips(house):
    client = Client(house, "hasty.localhost")
    client.drip(single(client.hello()))
    assert rest_of(client.sock) == b""


def nothing_follows_the_server_hello(house):
    client = Client(house, "hasty.localhost")
    client.until_server_hello()
    rest_of(client.sock)


def a_finished_drips(house):
    client = Client(house, "hasty.localhost")
    client.drip(single(client.finished()[:-1]))
    assert rest_of(client.sock) == b""


def nothing_is_asked(house):
    client = Client(house, "hasty.localhost").shake()
    assert client.rest() == b""
    client.fin()


def a_head_drips(house):
    client = Client(house, "hasty.localhost").shake()
    client.drip(client.sealed(b) for b in single(HEAD + b"X-Slow: " + b"y" * 8000))
    assert client.rest().startswith(b"HTTP/1.1 408 ")
    client.fin()


def a_body_stops(house):
    client = Client(house, "hasty.localhost").shake()
    client.send(b"POST / HTTP/1.1\r\nHost: hasty.localhost\r\nContent-Length: 10\r\n\r\nhalf ")
    assert client.rest().startswith(b"HTTP/1.1 408 ")
    client.fin()


def nothing_more_is_asked(house):
    client = Client(house, "hasty.localhost").shake()
    client.ask("/")
    assert client.rest().endswith(b"\r\n\r\nall\n")
    client.fin()


def an_answer_is_not_read(house):
    client = Client(house, "hasty.localhost", narrow=4096).shake()
    client.ask("/endless")
    client.until_reset()


def a_client_does_not_end(house):
    """After FIN nothing tells the client that the front has given up: the counter does."""
    client = Client(house, "hasty.localhost").shake()
    client.ask("/", "Connection: close\r\n")
    assert client.rest().endswith(b"\r\n\r\nall\n")
    left_open.append(client)


def a_client_does_not_end_after_an_alert(house):
    sock = raw(house)
    sock.sendall(record(HANDSHAKE, client_hello(["unknown.localhost"])))
    rest_of(sock)
    left_open.append(sock)


def a_client_vanishes_within_its_hello(house):
    client = Client(house, "hasty.localhost")
    client.sock.sendall(client.hello()[:50])
    client.vanish()


def a_client_vanishes_between_requests(house):
    client = Client(house, "hasty.localhost").shake()
    client.answered("/", b"all\n")
    client.vanish()


left_open = []
CASES = {
    nothing_is_said: ["hello_timeout"],
    a_hello_drips: ["hello_timeout"],
    nothing_follows_the_server_hello: ["handshake_timeout"],
    a_finished_drips: ["handshake_timeout"],
    nothing_is_asked: ["handovers", "relay_closed"],
    a_head_drips: ["handovers", "relay_closed"],
    a_body_stops: ["handovers", "relay_closed"],
    nothing_more_is_asked: ["handovers", "relay_closed"],
    an_answer_is_not_read: ["handovers", "relay_tenant_lost"],
    a_client_does_not_end: ["handovers", "relay_linger_timeout"],
    a_client_does_not_end_after_an_alert: ["refused_name"],
    a_client_vanishes_within_its_hello: ["hello_timeout"],
    a_client_vanishes_between_requests: ["handovers", "relay_client_lost"],
}


def single(data):
    return (bytes([b]) for b in data)


class Slow(threading.Thread):
    def __init__(self, house, work):
        super().__init__(daemon=True)
        self.house, self.work, self.error = house, work, None
        self.start()

    def run(self):
        start = time.monotonic()
        try:
            self.work(self.house)
        except BaseException as e:  # noqa: BLE001 - told by ended()
            self.error = e
        self.took = time.monotonic() - start

    def ended(self):
        """How long it took, in seconds."""
        self.join(2 * DEADLINE)
        assert not self.is_alive(), f"its connection is still open after {2 * DEADLINE} s"
        if self.error:
            raise self.error
        return self.took


@pytest.fixture(scope="module")
def slow_ones(hasty):
    account = Account(hasty)
    return account, {case.__name__: Slow(hasty, case) for case in CASES}


@pytest.mark.parametrize("name", [case.__name__ for case in CASES])
def test_a_deadline_ends_it(hasty, slow_ones, name):
    took = slow_ones[1][name].ended()
    assert "does_not_end" in name or "vanishes" in name or took >= 1.9, f"it was ended after {took:.3f} s, before its deadline"


def test_each_was_counted_for_its_own_deadline(hasty, slow_ones):
    account, slow = slow_ones
    for one in slow.values():
        one.ended()
    assert account.since(len(slow)) == collections.Counter(r for reasons in CASES.values() for r in reasons)
    assert hasty.curl("other", "/version") == "1.0.0\n"


def test_without_a_word_of_roomkeyd_it_is_an_alert(hasty):
    account = Account(hasty)
    os.kill(hasty.orchestrator.pid, signal.SIGSTOP)
    try:
        start = time.monotonic()
        with raw(hasty) as sock:
            sock.sendall(record(HANDSHAKE, client_hello(["never-asked.localhost"])))
            assert alert_of(sock) == (2, INTERNAL_ERROR)
        assert time.monotonic() - start >= 0.9 * SHORT
    finally:
        os.kill(hasty.orchestrator.pid, signal.SIGCONT)
    assert account.since(1) == {"wake_failed": 1}
