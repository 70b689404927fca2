"""Hostile clients of the plain HTTP port (`--listen-http`): each gets one short answer or the end, and none keeps others out.

Seen to fail: with more than HTTP_CONNS_MAX refused in place of the oldest ended, 256 silent ones are the last to be let in;
with no answer to what is too long, or has a NUL, none comes; with the timer started anew by each byte, the drip goes on;
with the oldest of all ended in make_room(), one source ends the visit of another; without rate_allow() in http.c none of the
40 that came too often is ended.
"""

import select
import socket
import time

import pytest

from clients import rest_of
from house import DEADLINE, SLOW, House, get, many, until

pytestmark = pytest.mark.only_on("sandbox", "nothing of it is the ground's")
PLACES = 256  # HTTP_CONNS_MAX
FRONT = ["--listen-http", "127.0.0.1:0"]
OTHER = "127.0.0.2"


@pytest.fixture(scope="module")
def house():
    house = House(front=FRONT)
    try:
        house.start()
        find_port(house)
        house.add_images("probe:1.0.0")
        house.add_tenant("acme")
        yield house
    finally:
        house.remove()
    house.check()


def find_port(house):
    house.http_port = int(house.front.ready(r"HTTP on 127\.0\.0\.1:(\d+)").group(1))


def visit(house, source="127.0.0.1"):
    return socket.create_connection(("127.0.0.1", house.http_port), DEADLINE, (source, 0))


def ask(house, data):
    """The answer, whole."""
    with visit(house) as sock:
        try:
            sock.sendall(data)
        except OSError:
            pass  # it has heard enough
        return rest_of(sock)


def is_redirected(house):
    return ask(house, b"GET /x HTTP/1.1\r\nHost: acme.localhost\r\n\r\n").startswith(b"HTTP/1.1 308 ")


@pytest.mark.parametrize("data, status", [
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), b"400"),
    (b"\x00", b"400"),
    (b"GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", b"400"),
    (b"\r\n\r\n", b"400"),
    (b"hello\r\n\r\n", b"400"),
    (b"GET / HTTP/1.1\r\nAccept: */*\r\n\r\n", b"400"),
    (b"GET / HTTP/1.1\r\nHost: \r\n\r\n", b"400"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", b"400"),
    (b"GET / HTTP/1.1\r\nHost: a/../b\r\n\r\n", b"400"),
    (b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
    (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", b"400"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"400"),
    (b"GET /" + b"a" * 8170, b"431"),
    (b"GET / HTTP/1.1\r\nX: " + b"a" * 20000, b"431"),
    (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5000, b"431"),
    (b"a" * 1_000_000, b"431"),
], ids=lambda v: repr(v[:24]) if isinstance(v, bytes) else v)
def test_what_is_no_request_gets_its_status(house, data, status):
    if len(data) > 8000:
        data = data.ljust(8193, b"a")
    answer = ask(house, data)
    assert answer.startswith(b"HTTP/1.1 " + status + b" ") and answer.count(b"HTTP/1.1 ") == 1, answer[:200]
    assert is_redirected(house)


def test_one_answer_is_all_that_a_connection_gets(house):
    answer = ask(house, b"GET /x HTTP/1.1\r\nHost: acme.localhost\r\n\r\n" * 100)
    assert answer.count(b"HTTP/1.1 ") == 1 and answer.startswith(b"HTTP/1.1 308 "), answer


def test_many_that_say_nothing_or_half_a_request_keep_nobody_out(house):
    standing = []
    for i in range(many(4 * PLACES, PLACES + 50)):
        standing.append(visit(house))
        if i % 2:
            standing[-1].sendall(b"GET / HTTP/1.1\r\n")
    assert is_redirected(house)
    with house.connect("acme") as sock:
        assert get(sock, "acme.localhost", "/version") == (200, b"1.0.0\n")
    assert rest_of(standing[0]) == b""  # it had to make room
    for sock in standing:
        sock.close()


def test_many_that_do_not_take_their_answer_keep_nobody_out(house):
    standing = [visit(house) for _ in range(PLACES + 10)]
    for sock in standing:
        try:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: acme.localhost\r\n\r\n")
        except OSError:
            pass  # one that had to make room
    assert is_redirected(house)
    for sock in standing:
        sock.close()


def test_a_source_that_comes_again_and_again_ends_no_visit_but_its_own(house):
    with visit(house, OTHER) as other:
        other.sendall(b"GET /x HTTP/1.1\r\n")
        standing = [visit(house) for _ in range(PLACES + 10)]
        assert [rest_of(sock) for sock in standing[:10]] == [b""] * 10
        other.sendall(b"Host: acme.localhost\r\n\r\n")
        assert rest_of(other).startswith(b"HTTP/1.1 308 ")
    for sock in standing:
        sock.close()


def test_a_source_that_comes_too_often_is_ended(make_house):
    house = make_house(front=[*FRONT, "--rate", "5"])
    find_port(house)
    came = [visit(house, OTHER) for _ in range(40)]

    def ended():
        return len(select.select(came, [], [], 0)[0])

    until(lambda: ended() >= 20, "those that are too many are ended", 5)  # all are after ten seconds
    assert ended() <= 30, "it may come ten times"
    assert is_redirected(house)
    for sock in came:
        sock.close()


def test_a_request_in_drops_is_ended_after_ten_seconds(house):
    start = time.monotonic()
    with visit(house) as sock:
        def ended():
            try:
                sock.sendall(b"a")
                return False
            except OSError:
                return True

        sock.sendall(b"GET /")
        until(ended, "it is ended")
    assert 9.5 < time.monotonic() - start < 20 * SLOW
    assert is_redirected(house)
