"""TLS after the handover, through the whole house: KeyUpdate, the end, alerts, sizes, and who still has which key.

docs/TLS.md says what is owed.  Each alert's own test is tests/unit/test_record_alerts.c; here are those that take another
way, and some of each kind to see that they come through.

Seen to fail: what is cut off, with http_read_body taking the end of the stream for that of the body; close_notify after an
answer, without conn_shut's record_close.
"""

import hashlib
import socket
import subprocess
import threading

import pytest

from house import DEADLINE, many, much, pattern
from records import CLOSE_NOTIFY, FATAL, WARNING, Client
from tls_wire import ALERT, APPLICATION, CCS, HANDSHAKE

HOST = "acme.localhost"
BOTH = pytest.mark.parametrize("version", ["1.2", "1.3"])


def serves(house):
    return house.curl("acme", "/version") == "1.0.0\n"


# -- KeyUpdate

def test_keys_are_updated_in_the_middle_of_a_download(house, tmp_path):
    """Each one that asks is answered in the middle too.  Fails without http_input's look at records while it answers."""
    with Client(house, tmp_path, "1.3", narrow=True) as client:
        client.ask(f"/bytes/{20_000_000}")
        seen = [client.data(1)]
        for i in range(5):
            client.key_update(ask=True, cut=i)
            while client.updates <= i:
                seen.append(client.data(1))
        body = b"".join(seen).partition(b"\r\n\r\n")[2]
        assert body == pattern(0, len(body))


def test_keys_are_updated_in_the_middle_of_an_upload(house, tmp_path):
    body = pattern(5, much(1_000_000))
    with Client(house, tmp_path, "1.3") as client:
        client.ask("/sha256", "POST", f"Content-Length: {len(body)}\r\n")
        for i, at in enumerate(range(0, len(body), 10_000)):
            client.send(APPLICATION, body[at:at + 10_000])
            client.key_update(ask=i % 3 == 0, cut=i % 5)
        assert client.answer() == (200, hashlib.sha256(body).hexdigest().encode() + b"\n")
        assert client.updates > 0


def test_keys_are_updated_while_data_goes_both_ways(house, tmp_path):
    body = pattern(0, 300_000)
    with Client(house, tmp_path, "1.3") as client:
        client.ask("/echo", "POST", f"Content-Length: {len(body)}\r\n")
        seen = b""
        for at in range(0, len(body), 10_000):
            client.key_update(ask=True)
            client.send(APPLICATION, body[at:at + 10_000])
            while len(seen.partition(b"\r\n\r\n")[2]) < at:
                seen += client.data(1)
        while len(seen.partition(b"\r\n\r\n")[2]) < len(body):
            seen += client.data(1)
        assert seen.endswith(body) and client.updates > 10


def test_a_key_update_may_be_the_first_record_and_the_last(house, tmp_path):
    with Client(house, tmp_path, "1.3") as client:
        client.key_update(ask=True)
        client.ask("/version")
        assert client.answer() == (200, b"1.0.0\n")
        assert client.updates == 1
        client.key_update(ask=True)
        client.end()
        assert client.rest() == (b"", [(WARNING, 0)])


@pytest.mark.parametrize("data", [False, True])
def test_a_flood_of_key_updates_is_ended_and_with_data_between_none(house, tmp_path, data):
    with Client(house, tmp_path, "1.3") as client:
        for _ in range(100 if data else 33):
            client.key_update(ask=True)
            if data:
                client.ask("/version")
        if data:
            assert [client.answer() for _ in range(100)] == [(200, b"1.0.0\n")] * 100
        else:
            assert client.rest() == (b"", [(FATAL, 10)])
    assert serves(house)


def test_gnutls_can_update_keys_in_mid_stream(house):
    """rekey asks the tenant for its own, rekey1 does not."""
    request = f"GET /version HTTP/1.1\r\nHost: {HOST}\r\n"
    client = subprocess.Popen(["gnutls-cli", "--x509cafile", house.certs.ca, "--sni-hostname", HOST, "--verify-hostname", HOST,
                               "--inline-commands", "-p", str(house.port), "127.0.0.1"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    seen = b""
    try:
        for turn, command in enumerate(("^rekey^", "^rekey1^", "^rekey^"), 1):
            client.stdin.write(f"{request}\r\n".encode())
            client.stdin.flush()
            while seen.count(b"1.0.0\n") < turn:
                more = client.stdout.read1(65536)
                assert more, seen
                seen += more
            client.stdin.write(f"{command}\n".encode())
            client.stdin.flush()
            while seen.count(b"Rekey was completed") < turn:
                more = client.stdout.read1(65536)
                assert more, seen
                seen += more
    finally:
        client.kill()
        client.wait()


# -- the end

@BOTH
@pytest.mark.parametrize("notify", [False, True])
@pytest.mark.parametrize("what, sent", [
    ("a head", f"GET /version HTTP/1.1\r\nHost: {HOST}\r\n"),
    ("a body with a length", f"POST /sha256 HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10\r\n\r\n123456789"),
    ("a chunk", f"POST /sha256 HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n123"),
    ("a body between chunks", f"POST /sha256 HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n123\r\n"),
])
def test_what_is_cut_off_is_not_taken_for_whole(house, tmp_path, version, notify, what, sent):
    """With or without close_notify.  In mid-record as well."""
    with Client(house, tmp_path, version) as client:
        client.send(APPLICATION, sent.encode())
        if not notify:
            client.raw(client.out.seal(APPLICATION, b"\r\n0\r\n\r\n")[:-1])
        client.end(notify)
        data, alerts = client.rest()
        assert b" 200 " not in data and all(level == WARNING for level, _ in alerts), (data, alerts)


@BOTH
def test_a_whole_request_is_answered_in_full_after_close_notify(house, tmp_path, version):
    size = 2_000_000
    with Client(house, tmp_path, version) as client:
        client.ask(f"/bytes/{size}")
        client.end()
        data, alerts = client.rest()
        assert data.endswith(pattern(0, size)) and alerts == [(WARNING, 0)]


@BOTH
def test_what_comes_behind_close_notify_is_ignored(house, tmp_path, version):
    with Client(house, tmp_path, version) as client:
        client.ask("/bytes/300000")
        client.send(ALERT, CLOSE_NOTIFY)
        client.ask("/crash")
        client.raw(b"\x17\3\3\0\x20" + bytes(32))
        client.sock.shutdown(socket.SHUT_WR)
        data, alerts = client.rest()
        assert data.endswith(pattern(0, 300_000)) and alerts == [(WARNING, 0)]
    assert serves(house)


# -- alerts

UPDATE = b"\x18\0\0\1\0"
FAULTS = [
    ("1.3", [(HANDSHAKE, b"\1\0\0\2xx")], (FATAL, 10)),
    ("1.3", [(HANDSHAKE, b"\x63\0\0\0")], (FATAL, 10)),
    ("1.3", [(HANDSHAKE, UPDATE + b"\x18")], (FATAL, 10)),
    ("1.3", [(HANDSHAKE, UPDATE[:2]), (APPLICATION, b"x")], (FATAL, 10)),
    ("1.3", [(HANDSHAKE, b"\x18\0\0\2\0\0")], (FATAL, 50)),
    ("1.3", [(HANDSHAKE, b"\x18\0\0\1\2")], (FATAL, 47)),
    ("1.3", [(0, bytes(100))], (FATAL, 10)),
    ("1.3", [(CCS, b"\1")], (FATAL, 10)),
    ("1.3", [(ALERT, b"\1")], (FATAL, 50)),
    ("1.3", [(APPLICATION, b"")] * 33, (FATAL, 10)),
    ("1.3", [(ALERT, b"\1\x5a")] * 5, (FATAL, 10)),
    ("1.3", [(APPLICATION, bytes(16385))], (FATAL, 22)),
    ("1.2", [(HANDSHAKE, b"\1\0\0\2xx")] * 2, (FATAL, 10)),
    ("1.2", [(HANDSHAKE, b"\0\0\0\0")], (FATAL, 10)),
    ("1.2", [(HANDSHAKE, UPDATE)], (FATAL, 10)),
    ("1.2", [(CCS, b"\1")], (FATAL, 10)),
    ("1.2", [(24, b"\1")], (FATAL, 10)),
    ("1.2", [(ALERT, b"\3\1")], (FATAL, 47)),
    ("1.2", [(ALERT, b"\1\0\0")], (FATAL, 50)),
    ("1.2", [(APPLICATION, b"")] * 33, (FATAL, 10)),
    ("1.2", [(APPLICATION, bytes(16385))], (FATAL, 22)),
]
PLAIN = [
    ("1.3", b"\x14\3\3\0\1\1", 10), ("1.3", b"\x15\3\3\0\2\2\x28", 10), ("1.3", b"\x16\3\3\0\4\0\0\0\0", 10),
    ("1.3", b"GET / HTTP/1.1\r\n\r\n", 10), ("1.3", b"\x17\3\3\x40\x12", 22), ("1.3", b"\x17\3\3\0\x20" + bytes(32), 20),
    ("1.2", b"\x14\3\3\0\1\1", 10), ("1.2", b"GET / HTTP/1.1\r\n\r\n", 10), ("1.2", b"\x17\3\1\0\x20" + bytes(32), 70),
    ("1.2", b"\x17\3\3\xff\xff", 22), ("1.2", b"\x17\3\3\0\x20" + bytes(32), 20),
]


def test_each_fault_gets_its_alert_and_the_end(house, tmp_path):
    for version, records, alert in FAULTS:
        with Client(house, tmp_path, version) as client:
            client.raw(b"".join(client.out.seal(kind, text) for kind, text in records))
            data, alerts = client.rest()
            assert data == b"" and alerts[-1:] == [alert], f"{version} {records[-1]}: {alerts}"
    for version, data, alert in PLAIN:
        with Client(house, tmp_path, version) as client:
            client.raw(data)
            assert client.rest() == (b"", [(FATAL, alert)]), f"{version} {data}"
    assert serves(house)


@BOTH
def test_a_fault_in_mid_download_ends_it_with_its_alert(house, tmp_path, version):
    """Fails without http_input's look at records while it answers: all of it comes first."""
    with Client(house, tmp_path, version, narrow=True) as client:
        client.ask(f"/bytes/{20_000_000}")
        client.data(100_000)
        client.send(CCS, b"\1")
        data, alerts = client.rest()
        assert alerts == [(FATAL, 10)] and len(data) < 19_000_000


@BOTH
def test_a_fatal_alert_ends_the_connection_without_one_of_ours(house, tmp_path, version):
    with Client(house, tmp_path, version, narrow=True) as client:
        client.ask(f"/bytes/{20_000_000}")
        client.data(100_000)
        client.send(ALERT, b"\2\x28")
        try:
            data, alerts = client.rest()
        except AssertionError as cut:  # it is reset: the last record may be cut
            assert "within a record" in str(cut)
            data, alerts = b"", []
        assert alerts == [] and len(data) < 19_000_000
    assert serves(house)


def test_renegotiation_is_refused_and_the_connection_goes_on(house, tmp_path):
    with Client(house, tmp_path, "1.2") as client:
        for byte in b"\1\0\0\3hey":
            client.send(HANDSHAKE, bytes([byte]))
        assert client.record() == (ALERT, b"\1\x64")
        client.ask("/version")
        assert client.answer() == (200, b"1.0.0\n")


# -- sizes

SIZES = [1, 2, 15, 16, 17, 63, 64, 255, 256, 257, 1023, 1024, 1025, 4095, 4096, 8192, 16383, 16384]


@BOTH
def test_records_of_each_size_come_through_both_ways(house, tmp_path, version):
    with Client(house, tmp_path, version) as client:
        for size in SIZES:
            body = pattern(size, size)
            client.ask("/echo", "POST", f"Content-Length: {size}\r\n")
            client.send(APPLICATION, body, padding=16384 - size)
            client.send(APPLICATION, b"")
            assert client.answer() == (200, body)


class Dribble:
    """A way to the house on which each byte is a segment of its own, in both directions."""

    def __init__(self, house):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.house = house
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.house.port), DEADLINE)
            for a, b in ((client, server), (server, client)):
                a.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self.pump, args=(a, b), daemon=True).start()

    @staticmethod
    def pump(source, sink):
        try:
            while byte := source.recv(1):
                sink.sendall(byte)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self.listener.close()


@BOTH
def test_the_whole_of_a_connection_may_come_byte_by_byte_both_ways(house, tmp_path, version):
    """Handshake, upload, download and the end."""
    body = pattern(1, many(20_000, 2_000))
    (tmp_path / "body").write_bytes(body)
    way = Dribble(house)
    try:
        done = subprocess.run(["curl", "-sS", "--fail", "--max-time", str(DEADLINE), "--cacert", house.certs.ca,
                               "--connect-to", f"{HOST}:443:127.0.0.1:{way.port}", f"--tlsv{version}", "--tls-max", version,
                               "--data-binary", f"@{tmp_path / 'body'}", f"https://{HOST}/echo"], capture_output=True)
        assert done.returncode == 0 and done.stdout == body, done.stderr
    finally:
        way.close()


# -- keys

def found(memory, needles):
    seen = set()
    for piece in memory:
        seen |= {name for name, needle in needles.items() if needle in piece}
    return seen


def needles(client):
    out = {"the client's key": client.out.key, "the tenant's key": client.in_.key}
    if client.in_.tls13:
        out |= {"the client's secret": client.out.secret, "the tenant's secret": client.in_.secret,
                "the client's IV": client.out.iv, "the tenant's IV": client.in_.iv}
    return out


@BOTH
def test_a_tenant_keeps_no_key_that_it_has_done_with(house, tmp_path, version):
    """Each generation, and the last when the connection has ended.  Fails without channel.c's
    wipe of the handover; test_record_wipe tells of the others."""
    (machine,) = [m for m in house.machines.running() if found(house.machines.memory(m), {"name": HOST.encode()})] \
        if serves(house) else []
    with Client(house, tmp_path, version) as client:
        client.ask("/version")
        client.answer()
        keys = needles(client)
        assert found(house.machines.memory(machine), keys) == set(keys)
        for _ in range(3 if version == "1.3" else 0):
            client.key_update(ask=True)
            client.ask("/bytes/100000")
            client.answer()
            assert found(house.machines.memory(machine), keys) == set()
            keys = needles(client)
            assert found(house.machines.memory(machine), keys) == set(keys)
        client.end()
        assert client.rest() == (b"", [(WARNING, 0)])
        assert found(house.machines.memory(machine), keys) == set()
