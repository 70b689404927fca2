"""Private keys: who has them, who can be asked for them, and what happens when he is gone.

Seen to fail: the agent's keys in ordinary memory (anywhere); a key's descriptor kept open by it, agent.sock
for everybody (nobody else); its user the workers' (own).
"""

import os
import re
import signal
import socket
import ssl
import stat
import subprocess
from pathlib import Path

import pytest

from grounds import process_memory
from house import DEADLINE, get, in_threads, many, until
from test_memory import private_numbers

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
KINDS = ["ec", "ec384", "rsa"]


def agent_of(house, before=None):
    """The pid of the key agent that is there; not this one."""
    def look():
        children = Path(f"/proc/{house.front.pid}/task/{house.front.pid}/children").read_text().split()
        agents = {int(pid) for pid in children} - set(house.worker_pids())
        return next((pid for pid in agents if pid != before), None)

    return until(look, "a key agent")


def hello_only(house, host, version):
    """A connection whose ClientHello is out, and no more."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = house.context(version).wrap_bio(incoming, outgoing, server_hostname=f"{host}.localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    raw = socket.create_connection(("127.0.0.1", house.port), DEADLINE)
    raw.sendall(outgoing.read())
    return raw


@pytest.fixture(scope="module", autouse=True)
def tenants(house):
    for kind in KINDS:
        house.add_tenant(f"k{kind}", key=kind)


@pytest.fixture(scope="module")
def key_files(house):
    return list((house.state / "keys").glob("*.pem"))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_key_serves_in_both_versions(house, kind, version):
    with house.connect(f"k{kind}", version) as sock:
        assert get(sock, f"k{kind}.localhost", "/version") == (200, b"1.0.0\n")


@pytest.mark.not_sanitized("a sanitizer keeps what was freed, and maps more than can be read")
def test_no_private_key_is_anywhere_but_with_the_agent(house, key_files):
    """With a hundred connections of both versions in every state: half a hello, waiting for the agent,
    waiting for the client, handed over."""
    secrets = {f"{f.name} {i}": n for f in key_files for i, n in enumerate(private_numbers(f))}
    secrets |= {f"{f.name} text": f.read_bytes().split(b"\n")[1] for f in key_files}
    public = [subprocess.run(["openssl", "pkey", "-in", f, "-pubout", "-outform", "DER"], check=True,
                             capture_output=True).stdout[-32:] for f in key_files]
    agent, workers = agent_of(house), house.worker_pids()
    everybody = [house.orchestrator.pid, house.front.pid, *workers]
    if "no memfd_secret" not in house.front.said():  # else root reads the agent's memory too
        everybody.append(agent)
    rounds = many(25, 6)
    waiting, served = [], []

    def search():
        for pid in everybody:
            for piece in process_memory(pid):
                assert not [name for name, n in secrets.items() if n in piece], f"process {pid}"
        for machine in house.machines.running():
            for piece in house.machines.memory(machine):
                assert not [name for name, n in secrets.items() if n in piece], f"machine {machine}"

    try:
        for i in range(rounds):
            kind, version = f"k{KINDS[i % 3]}", VERSIONS[i % 2]
            raw = socket.create_connection(("127.0.0.1", house.port), DEADLINE)
            raw.sendall(b"\x16\x03\x01\x02\x00\x01")
            waiting += [raw, hello_only(house, kind, version)]
            served.append(house.connect(kind, version))
            get(served[-1], f"{kind}.localhost", "/version")
        os.kill(agent, signal.SIGSTOP)
        waiting += [hello_only(house, f"k{KINDS[i % 3]}", VERSIONS[i % 2]) for i in range(rounds)]
        search()
        os.kill(agent, signal.SIGCONT)
        for sock in served:
            assert get(sock, sock.server_hostname, "/version") == (200, b"1.0.0\n")
        search()
        # The search itself works: public keys are with the workers.
        assert any(p in piece for pid in workers for piece in process_memory(pid) for p in public)
    finally:
        os.kill(agent, signal.SIGCONT)
        for sock in waiting + served:
            sock.close()
    for daemon in house.daemons:
        log = daemon.said()
        assert not any(n.hex() in log for n in secrets.values()) and "PRIVATE" not in log


def test_nobody_else_can_open_a_key(house, key_files):
    for kind in KINDS:
        assert house.curl(f"k{kind}", "/version") == "1.0.0\n"  # its key has been used
    for file in key_files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600 and file.stat().st_uid == 0
    for name in ("agent.sock", "front.sock"):
        at = (house.run / name).stat()
        assert stat.S_IMODE(at.st_mode) == 0o600 and at.st_uid == 0
    for pid in [agent_of(house), *house.worker_pids()]:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            assert "/keys/" not in os.readlink(f"/proc/{pid}/fd/{fd}")


@pytest.mark.not_sanitized("then nobody is confined")
def test_the_agent_has_a_user_of_its_own(house):
    def user(pid):
        return re.search(r"Uid:\t(\d+)\t\1\t\1\t\1\n", Path(f"/proc/{pid}/status").read_text()).group(1)

    workers = {user(pid) for pid in house.worker_pids()}
    assert len(workers | {user(agent_of(house)), "0"}) == 3


@pytest.mark.parametrize("version", VERSIONS)
def test_an_agent_that_is_killed_is_missed_by_nobody(house, version):
    agent = agent_of(house)
    with house.connect("kec", version) as before:
        get(before, "kec.localhost", "/version")
        os.kill(agent, signal.SIGKILL)
        for kind in KINDS:
            with house.connect(f"k{kind}", version) as sock:
                assert get(sock, f"k{kind}.localhost", "/version") == (200, b"1.0.0\n")
        assert get(before, "kec.localhost", "/version") == (200, b"1.0.0\n")
    assert agent_of(house, agent) != agent


def test_an_agent_that_is_killed_again_and_again_costs_time_and_nothing_else(house):
    """Fifty handshakes at once, of which each waits for one agent or the next."""
    stop = []

    def kill():
        agent = None
        for _ in range(5):
            agent = agent_of(house, agent)
            os.kill(agent, signal.SIGKILL)
        stop.append(True)

    def one(i):
        if i == 0:
            return kill()
        while not stop:
            with house.connect(f"k{KINDS[i % 3]}", VERSIONS[i % 2]) as sock:
                get(sock, f"k{KINDS[i % 3]}.localhost", "/version")

    in_threads(13, one)


def test_the_front_signs_on_while_roomkeyd_is_away(make_house):
    house = make_house()
    house.add_images("probe:1.0.0")
    house.add_tenant("acme", "probe:1.0.0", key="rsa")
    house.curl("acme", "/version")
    house.orchestrator.stop(signal.SIGKILL)
    for version in VERSIONS:
        with house.connect("acme", version) as sock:
            assert get(sock, "acme.localhost", "/version") == (200, b"1.0.0\n")
    house.start_orchestrator()
    os.kill(agent_of(house), signal.SIGKILL)
    assert house.curl("acme", "/version") == "1.0.0\n"


def test_a_renewed_certificate_is_signed_for_with_its_own_key(house):
    """Of the same kind: only with the new key does its signature fit the new certificate."""
    house.add_tenant("renewed")
    seen = set()
    for _ in range(2):
        with house.connect("renewed") as sock:
            assert get(sock, "renewed.localhost", "/version") == (200, b"1.0.0\n")
            seen.add(sock.getpeercert(binary_form=True))
        chain, key = house.certs.make("renewed.localhost")
        house.cli("cert", "set", "renewed", "--cert", chain, "--key", key)
    assert len(seen) == 2
