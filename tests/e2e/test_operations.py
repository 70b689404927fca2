"""What an operator and an app's developer rely on beside serving: own apps, deadlines, limits, services."""

import json
import os
import re
import select
import socket
import sqlite3
import subprocess
import threading
import time
from pathlib import Path

import pytest

import grounds
from house import BUILD, DEADLINE, IMAGES, Daemon, House, get, head_of, many, much, until

APPS = Path(__file__).parent / "apps"

of_the_front = pytest.mark.only_on("sandbox", "the front is the same on each ground, and an emulated machine is slow")


@pytest.mark.only_on("sandbox", "dom0 has no compiler; the next test boots the same app on any ground")
def test_an_app_of_ones_own_is_online_with_three_commands(house, tmp_path):
    subprocess.run([BUILD / "bin/roomkey-cc", APPS / "greeter.c", "-o", tmp_path / "greeter.img"], check=True)
    house.cli("image", "add", "greeter:1.0.0", tmp_path / "greeter.img")
    house.cli("tenant", "add", "own", "--image", "greeter:1.0.0", "--host", "own.localhost", "--self-signed")
    assert house.curl("own", "/", "-k", "-H", "X-Who: you") == "own greets you\n"


def test_an_app_of_ones_own_serves(house):
    house.cli("image", "add", "greeter:2.0.0", IMAGES / "greeter-2.0.0.img")
    house.add_tenant("own-too", "greeter:2.0.0")
    assert house.curl("own-too", "/", "-H", "X-Who: you") == "own-too greets you\n"


def test_an_instance_tells_what_its_start_took_and_what_it_uses(house):
    house.curl("acme", "/handover")
    (instance,) = house.running("acme")
    start = instance["start"]
    assert 0 < start["entered_us"] < start["ready_us"], instance
    assert start["created_us"] <= start["unpaused_us"] <= start["entered_us"], instance
    assert instance["cpu_us"] >= 0 and instance["memory"] > 0, instance  # counted in ticks by Linux
    assert f"{start['ready_us'] // 1000}." in house.cli("instance", "list")


def test_what_an_app_prints_is_in_its_log_at_once(house):
    house.add_images("printing:1.0.0")
    house.add_tenant("printing", "printing:1.0.0")
    for path in ("/1", "/2", "/3"):
        house.curl("printing", path)
    until(lambda: "served /3" in house.cli("logs", "printing"), "the third line")
    assert house.cli("logs", "printing", "--lines", "2").count("served") == 2


def test_past_the_wake_deadline_the_front_answers_503_itself(house):
    house.add_images("hanging:1.0.0")
    house.add_tenant("hanging", "hanging:1.0.0", "--wake-timeout", "700ms")
    start = time.monotonic()
    done = house.curl("hanging", "/", "-i", check=False)
    head = done.stdout.decode().lower()
    assert "503" in head.splitlines()[0] and "retry-after" in head, done
    assert time.monotonic() - start < DEADLINE / 3
    house.cli("tenant", "remove", "hanging")
    until(lambda: not house.running("hanging"), "the hanging instance is gone")


def test_a_503_ends_with_close_notify(house):
    house.add_tenant("never", "hello:3.0.0")
    raw = socket.create_connection(("127.0.0.1", house.port), DEADLINE)
    with house.context().wrap_socket(raw, server_hostname="never.localhost", suppress_ragged_eofs=False) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: never.localhost\r\n\r\n")
        seen = b""
        while more := sock.recv(4096):
            seen += more
    assert seen.startswith(b"HTTP/1.1 503"), seen


@of_the_front
def test_plain_http_redirects_and_answers_acme_challenges(make_house, tmp_path):
    (tmp_path / "token-1_x").write_text("the answer")
    secret = tmp_path.parent / "secret"
    secret.write_text("no")
    tmp_path.chmod(0o755)
    house = make_house(front=["--listen-http", "127.0.0.1:0", "--acme-dir", str(tmp_path)])
    port = house.front.ready(r"HTTP on 127\.0\.0\.1:(\d+)").group(1)

    def fetch(path, *more):
        return subprocess.run(["curl", "-sS", "-i", "--path-as-is", *more, f"http://127.0.0.1:{port}{path}"],
                              capture_output=True, text=True, timeout=DEADLINE).stdout

    redirect = fetch("/a?b=c", "-H", "Host: acme.localhost")
    assert "308" in redirect.splitlines()[0] and "https://acme.localhost" in redirect and "/a?b=c" in redirect
    assert fetch("/.well-known/acme-challenge/token-1_x").endswith("the answer")
    for path in ("/.well-known/acme-challenge/../secret", "/.well-known/acme-challenge/none",
                 "/.well-known/acme-challenge/%2e%2e%2fsecret"):
        answer = fetch(path)
        assert "200" not in answer.splitlines()[0] and "no" != answer[-2:], answer


@of_the_front
def test_limits_are_kept_and_counted(make_house):
    house = make_house(front=["--max-connections", "5"])
    house.add_images("probe:1.0.0")
    house.add_tenant("acme")
    open_ones = [house.connect("acme") for _ in range(5)]
    for sock in open_ones:  # they count from the handover on
        assert get(sock, "acme.localhost", "/version") == (200, b"1.0.0\n")
    with pytest.raises(OSError):
        house.connect("acme")
    assert get(open_ones[0], "acme.localhost", "/version") == (200, b"1.0.0\n")
    for sock in open_ones:
        sock.close()
    until(lambda: house.curl("acme", "/version", check=False).returncode == 0, "room again")
    until(lambda: counter(house, "roomkey_front_refused_limit_total") >= 1, "the refusal is counted")


@of_the_front
def test_a_tenants_connections_are_bounded_for_itself_alone(make_house):
    house = make_house()
    house.add_images("probe:1.0.0")
    house.add_tenant("small", "probe:1.0.0", "--max-connections", "2")
    house.add_tenant("other")
    held = [house.connect("small") for _ in range(2)]
    for sock in held:
        get(sock, "small.localhost", "/version")
    with pytest.raises(OSError):
        with house.connect("small") as third:
            get(third, "small.localhost", "/version")
    assert house.curl("other", "/version") == "1.0.0\n"
    for sock in held:
        sock.close()


@of_the_front
def test_a_source_that_comes_too_often_is_refused(make_house):
    house = make_house(front=["--rate", "5"])
    house.add_images("probe:1.0.0")
    house.add_tenant("acme")
    assert house.curl("acme", "/version") == "1.0.0\n"
    came = [socket.socket() for _ in range(40)]
    for sock in came:
        sock.connect_ex(("127.0.0.1", house.port))  # that it is refused may be told at once
    until(lambda: counter(house, "roomkey_front_refused_rate_total") >= 10, "refusals are counted")
    assert len(select.select(came, [], [], 0)[0]) >= 10, "those refused are ended"
    for sock in came:
        sock.close()
    until(lambda: house.curl("acme", "/version", check=False).returncode == 0, "it may come again later")


def counter(house, name):
    metrics = subprocess.run(["curl", "-sS", "--fail", "--unix-socket", house.run / "admin.sock", "http://roomkey/metrics"],
                             capture_output=True, text=True, check=True).stdout
    return sum(float(line.split()[-1]) for line in metrics.splitlines() if line.startswith(name))


def test_the_daemons_tell_systemd(make_house, tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(tmp_path / "notify"))
        notify.settimeout(DEADLINE)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        house = make_house()
        said = [notify.recv(1024).decode() for _ in range(2)]
        assert all("READY=1" in text for text in said), said
        house.front.stop()
        assert "STOPPING=1" in notify.recv(1024).decode()
        house.orchestrator.stop()
        assert "STOPPING=1" in notify.recv(1024).decode()


def test_the_fronts_unit_takes_ipv4_and_ipv6():
    """With the unit's own words, but for the port.  Seen to fail: --listen [::]:443 alone."""
    unit = (Path(__file__).parents[2] / "packaging/systemd/roomkey-front.service").read_text()
    words = re.search(r'"ROOMKEY_FRONT_OPTIONS=(.*)"', unit).group(1)
    house = House()

    def listening():
        """The port; None: somebody else took it meanwhile."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        front = house._daemon("roomkey-front", "--run", house.run, "--workers", "1", *words.replace(":443", f":{port}").split())
        until(lambda: front.process.poll() is not None or ": ready on " in front.said(), "it is ready, or ends")
        if front.process.returncode is None:
            return port
        assert "Address already in use" in front.said(), front.said()
        return None

    try:
        house.start_orchestrator()
        port = until(listening, "a port that is free for both")
        for address in ("127.0.0.1", "::1"):
            socket.create_connection((address, port), DEADLINE).close()
    finally:
        house.remove()


@pytest.mark.parametrize("what", ["events", "logs"])
def test_follow_shows_what_happens_as_it_happens(house, what):
    name = f"follow-{what}"
    house.add_tenant(name)
    command = {"events": ["events", "--follow"], "logs": ["logs", name, "--follow"]}[what]
    follower = subprocess.Popen([BUILD / "bin/roomkey", "--run", house.run, *command], stdout=subprocess.PIPE, text=True)
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(follower.stdout), daemon=True)
    reader.start()
    try:
        house.curl(name, "/crash", check=False)
        house.curl(name, "/version")
        until(lambda: [line for line in lines_now(follower, lines) if re.search("crash|SIG|abort", line)], lambda: f"a line of it: {lines}")
    finally:
        follower.terminate()
        follower.wait(DEADLINE)
        reader.join(DEADLINE)


def lines_now(process, lines):
    assert process.poll() is None, f"the follower ended: {lines}"
    return list(lines)


@of_the_front
def test_a_graceful_stop_of_the_front_lets_a_download_finish(make_house):
    house = make_house()
    house.add_images("probe:1.0.0")
    house.add_tenant("acme")
    total = much(50_000_000)
    with house.connect("acme", narrow=True) as sock:
        sock.sendall(f"GET /bytes/{total} HTTP/1.1\r\nHost: acme.localhost\r\nConnection: close\r\n\r\n".encode())
        seen = len(sock.recv(1000))
        stopper = threading.Thread(target=house.front.stop)
        stopper.start()
        while chunk := sock.recv(1 << 18):
            seen += len(chunk)
    stopper.join()
    assert seen > total


@pytest.mark.parametrize("args, says", [
    pytest.param(["--ground", "xen"], "xen", marks=pytest.mark.only_on("sandbox", "in domain 0 it does start")),
    (["--ground", "nonsense"], "nonsense"),
    (["--config", "/nonexistent.toml"], "/nonexistent.toml"),
    (["--bogus"], "--bogus"),
])
def test_roomkeyd_says_why_it_does_not_start(tmp_path, args, says):
    done = subprocess.run([BUILD / "bin/roomkeyd", "--state", tmp_path / "s", "--run", tmp_path / "r", *args], capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode in (1, 2) and says in done.stderr, done


def test_roomkeyd_makes_the_folders_that_lead_to_its_own(tmp_path):
    args = ["--state", tmp_path / "var/lib/state", "--run", tmp_path / "run/here/run"]
    daemon = Daemon([BUILD / "bin/roomkeyd", *args], tmp_path / "log")
    try:
        daemon.ready("(?m)^roomkeyd: ready.*$")
    finally:
        daemon.stop()
        daemon.close()


def test_ground_auto_chooses_what_the_host_has(make_house):
    house = make_house(ground="auto")
    house.add_images("probe:1.0.0")
    house.add_tenant("acme")
    house.curl("acme", "/version")
    assert house.running("acme")[0]["ground"] == grounds.best()


def test_two_daemons_do_not_share_a_state(house):
    done = subprocess.run([BUILD / "bin/roomkeyd", "--state", house.state, "--run", house.dir / "run2"],
                          capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 1 and str(house.state) in done.stderr, done
    assert house.curl("acme", "/version") == "1.0.0\n"


def test_what_was_acknowledged_is_there_after_a_kill(make_house):
    house = make_house()
    house.add_images("probe:1.0.0", "probe:2.0.0")
    house.add_tenant("acme")
    house.cli("tenant", "upgrade", "acme", "--image", "probe:2.0.0")
    house.orchestrator.stop(9)
    house.start_orchestrator()
    assert house.json("tenant", "show", "acme")["image"] == "probe:2.0.0"
    assert len(house.json("image", "list")) == 2
    until(lambda: house.curl("acme", "/version", check=False).returncode == 0, "the front has found the new daemon")
    assert house.curl("acme", "/version") == "2.0.0\n"


def test_the_registry_keeps_no_row_of_an_instance_that_is_not_there(house):
    house.add_tenant("rows")
    for _ in range(many(8, 6)):
        house.curl("rows", "/version")
        house.cli("instance", "stop", "rows")
    with sqlite3.connect(f"file:{house.state}/roomkey.db?mode=ro", uri=True) as db:
        rows = db.execute("SELECT count(*), sum(ended_at IS NULL) FROM instance WHERE tenant ="
                          " (SELECT id FROM tenant WHERE name = 'rows')").fetchone()
    assert rows[0] <= 5 and not rows[1], rows


def test_renegotiation_is_refused(house):
    done = subprocess.run(["gnutls-cli", "--x509cafile", house.certs.ca, "--sni-hostname", "acme.localhost",
                           "--verify-hostname", "acme.localhost", "--priority", "NORMAL:-VERS-ALL:+VERS-TLS1.2",
                           "--rehandshake", "-p", str(house.port), "127.0.0.1"],
                          input=b"", capture_output=True, timeout=DEADLINE)
    assert b"ReHandshake was completed" not in done.stdout + done.stderr
    assert house.curl("acme", "/version") == "1.0.0\n"


def test_a_terabyte_may_be_asked_for(house):
    with house.connect("acme") as sock:
        sock.sendall(f"GET /bytes/{1 << 40} HTTP/1.1\r\nHost: acme.localhost\r\n\r\n".encode())
        head, _ = head_of(sock)
        assert f"Content-Length: {1 << 40}".encode().lower() in head.lower()
    done = house.curl("acme", f"/bytes/{(1 << 40) + 1}", check=False)
    assert done.returncode != 0
    assert house.curl("acme", "/version") == "1.0.0\n"


def test_busy_and_sleep_answer_as_they_should(house):
    start = time.monotonic()
    house.curl("acme", "/busy/60000")
    assert time.monotonic() - start < min(DEADLINE, 60)
    house.curl("acme", "/sleep/10")
    for path in ("/sleep/x", "/busy/-1", "/bytes/1e3"):
        assert house.curl("acme", path, check=False).returncode != 0
    assert json.loads(house.curl("acme", "/handover"))["sni"] == "acme.localhost"
    assert os.path.exists(IMAGES / "hello-3.0.0.img")
