"""Private keys: who has them, who can be asked for them, and what happens when he is gone.

Seen to fail: the agent's keys in ordinary memory (anywhere); a key's descriptor kept open by it, its
user the workers', agent.sock for everybody (nobody else).
"""

import os
import re
import signal
import socket
import ssl
import stat
import subprocess

import pytest

from house import get, in_threads, until

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
KINDS = ["ec", "ec384", "rsa"]
SECRET = ("priv:", "privateExponent:", "prime1:", "prime2:", "exponent1:", "exponent2:", "coefficient:")
AGENT = "roomkey-keys"


def children(pid):
    """{pid: name} of all that this process started."""
    found = {}
    for other in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{other}/stat") as f:
                name, rest = re.fullmatch(r"\d+ \((.*)\) \S (.*)", f.read().strip(), re.S).groups()
        except (OSError, AttributeError):
            continue  # it has gone meanwhile
        if int(rest.split()[0]) == pid:
            found[int(other)] = name
    return found


def agent_of(house, before=None):
    def look():
        pids = [pid for pid, name in children(house.front.pid).items() if name == AGENT]
        return pids[0] if pids and pids[0] != before else None

    return until(look, "a key agent")


def workers_of(house):
    return [pid for pid, name in children(house.front.pid).items() if name != AGENT]


def sanitized(house):
    return "built with a sanitizer" in house.front.said()


def numbers(key):
    """The secret numbers of a key file, as bytes and as libraries keep them: the least first."""
    text = subprocess.run(["openssl", "pkey", "-in", key, "-noout", "-text"], check=True, capture_output=True,
                          text=True).stdout
    found = []
    for name, digits in re.findall(r"^(\w+:)[^\n]*\n((?: +[0-9a-f:]+\n)+)", text, re.M):
        if name in SECRET:
            number = bytes.fromhex(re.sub(r"[^0-9a-f]", "", digits)).lstrip(b"\0")
            found += [number, number[::-1]]
    assert len(found) in (2, 12), text
    return found


def memory(pid):
    """What can be read of a process's writable memory, a mapping each."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            span, mode = line.split()[:2]
            if mode.startswith("rw"):
                start, end = (int(n, 16) for n in span.split("-"))
                try:
                    mem.seek(start)
                    yield line, mem.read(end - start)
                except OSError:
                    pass  # secret memory, or a device's


def assert_nowhere(pids, secrets):
    for pid in pids:
        for line, bytes_ in memory(pid):
            for secret in secrets:
                assert secret not in bytes_, f"a private key is in process {pid}: {line}"


def hello_only(house, host, version):
    """A connection whose ClientHello is out, and no more."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = house.context(version).wrap_bio(incoming, outgoing, server_hostname=f"{host}.localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    raw = socket.create_connection(("127.0.0.1", house.port), 30)
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


def test_no_private_key_is_anywhere_but_with_the_agent(house, key_files):
    """With a hundred connections of both versions in every state: half a hello, waiting for the agent,
    waiting for the client, handed over."""
    if sanitized(house):
        pytest.skip("a sanitizer maps more memory than can be searched")
    secrets = [n for f in key_files for n in numbers(f)]
    secrets += [f.read_bytes().split(b"\n")[1] for f in key_files]
    public = subprocess.run(["openssl", "pkey", "-in", key_files[0], "-pubout", "-outform", "DER"],
                            check=True, capture_output=True).stdout[-32:]
    agent, workers = agent_of(house), workers_of(house)
    open_ones = []
    try:
        for i in range(25):
            kind, version = f"k{KINDS[i % 3]}", VERSIONS[i % 2]
            raw = socket.create_connection(("127.0.0.1", house.port), 30)
            raw.sendall(b"\x16\x03\x01\x02\x00\x01")
            open_ones.append(raw)
            open_ones.append(hello_only(house, kind, version))
            sock = house.connect(kind, version)
            get(sock, f"{kind}.localhost", "/version")
            open_ones.append(sock)
        os.kill(agent, signal.SIGSTOP)
        open_ones += [hello_only(house, f"k{KINDS[i % 3]}", VERSIONS[i % 2]) for i in range(25)]
        everybody = [house.orchestrator.pid, house.front.pid, agent, *workers, *house.instance_pids()]
        assert len(everybody) >= 8, everybody
        assert_nowhere(everybody, secrets)
        os.kill(agent, signal.SIGCONT)
        for sock in open_ones[2:75:3]:
            assert get(sock, sock.server_hostname, "/version") == (200, b"1.0.0\n")
        assert_nowhere(everybody, secrets)
        # The search itself works: public keys are with the workers.
        assert any(public in b for pid in workers for _, b in memory(pid))
    finally:
        os.kill(agent, signal.SIGCONT)
        for sock in open_ones:
            sock.close()
    for daemon in house.daemons:
        log = daemon.said()
        assert not any(s.hex() in log for s in secrets) and "PRIVATE" not in log


def test_nobody_else_can_open_a_key(house, key_files):
    for kind in KINDS:
        assert house.curl(f"k{kind}", "/version") == "1.0.0\n"  # its key has been used
    for file in key_files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600 and file.stat().st_uid == 0
    for name in ("agent.sock", "front.sock"):
        at = (house.run / name).stat()
        assert stat.S_IMODE(at.st_mode) == 0o600 and at.st_uid == 0
    users = set()
    for pid in [agent_of(house), *workers_of(house)]:
        with open(f"/proc/{pid}/status") as f:
            users.add((children(house.front.pid)[pid] == AGENT, re.search(r"Uid:\t(\d+)", f.read()).group(1)))
        for fd in os.listdir(f"/proc/{pid}/fd"):
            assert "/keys/" not in os.readlink(f"/proc/{pid}/fd/{fd}")
    if not sanitized(house):  # then nobody is confined
        assert len(users) == 2 and len({uid for _, uid in users}) == 2 and "0" not in {uid for _, uid in users}


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
