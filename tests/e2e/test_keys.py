"""Private keys: who has them, who can be asked for them, and what happens when he is gone.

Whose memory they are in is test_memory's. Seen to fail: a key's descriptor kept open by the agent, agent.sock for
everybody (nobody else); its user the workers' (own).
"""

import contextlib
import os
import re
import signal
import ssl
import stat
from pathlib import Path

import pytest

from house import get, in_threads, until

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
KINDS = ["ec", "ec384", "rsa"]


def agent_of(house, before=None):
    """The pid of the key agent that is there; not this one."""
    def look():
        pid = house.agent_pid()
        return pid if pid != before else None

    return until(look, "a key agent")


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
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile: a connection's
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
