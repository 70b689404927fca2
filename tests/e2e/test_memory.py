"""Who holds which secret: all memory of every process is read while a hundred connections are in every state.

The secrets of a handshake may be in its worker until the handover, or until it has failed, and nowhere else; so it
is for those that wait for the agent, for the client's Finished, or for their tenant to boot. ROOMKEY_TEST_CROWD is
how many connections of each state and version there are (4; 1 on a slow machine).

The same search finds what must be there: session keys with their tenant, secrets of unfinished handshakes with their
worker, private keys with a process that has read them.

Seen to fail: handshake_free() of put_opening() taken out (both versions, and resumption secrets); that of opening_free()
for a connection that was reset; the wipe of `hs`; the wipes of put_handover(); secret_wipe_stack() empty; opening_free() of
conn_answer() (both versions, failed and 503); the tenant's wipe of its ring; a secret in the log; refuse_core_dumps()
not called; a worker that makes itself dumpable. Seen to change nothing, as another wipe covers the same bytes: that of the
key block in export_12(), either secret_wipe_stack() alone, the tenant's of a connection's info and of its struct.
"""

import json
import os
import re
import secrets
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

import crowd
from clients import rest_of
from crowd import Client, Secret
from grounds import maps, overlapping, process_memory
from house import VERSIONS, House, answer, in_threads, many, ms, pattern
from needles import Needles, private_key_forms
from test_keys import agent_of

pytestmark = pytest.mark.not_sanitized("a sanitizer keeps what was freed, and maps more than can be read")

COUNT = int(os.environ.get("ROOMKEY_TEST_CROWD", many(4, 1)))
LONG = "3600"

Private = namedtuple("Private", "tenant form")
Plain = namedtuple("Plain", "tenant what")  # what: host, marker
Psk = namedtuple("Psk", "name")
PAGE = "what /bytes answers"


class Tenant:
    def __init__(self, name):
        self.name = f"{name}{secrets.token_hex(4)}"
        self.host = f"{self.name}.localhost"
        self.marker = secrets.token_hex(24)

    def __repr__(self):
        return self.name


class Crowd:
    def __init__(self, house, folder):
        self.house, self.folder = house, folder
        self.contexts = crowd.Contexts(house, folder)
        self.clients, self.past = [], []
        self.served = [Tenant(n) for n in ("acme", "globex", "initech")]
        self.sleepy, self.broken = Tenant("sleepy"), Tenant("broken")
        self.tenants = [*self.served, self.sleepy, self.broken]
        house.add_images("probe:1.0.0", "hanging:1.0.0")
        for tenant, key in zip(self.served, ("ec", "rsa", "ec384")):
            house.add_tenant(tenant.name, "probe:1.0.0", "--idle", "1h", "--wake-timeout", "300s", host=tenant.host, key=key)
        house.add_tenant(self.sleepy.name, "hanging:1.0.0", "--wake-timeout", "300s", host=self.sleepy.host)
        house.add_tenant(self.broken.name, "hanging:1.0.0", "--wake-timeout", f"{ms(0.5)}ms", host=self.broken.host)
        self.keys = {f: private_key_forms(f) for f in sorted((house.state / "keys").glob("*.pem"))}
        assert len(self.keys) == len(self.tenants)

    # -- the situation

    def each(self, states, tenants):
        """(state, version, tenant, number), COUNT of each state and version."""
        return [(state, version, tenants[(i + j) % len(tenants)], i)
                for i in range(COUNT) for j, state in enumerate(states) for version in VERSIONS]

    def add(self, state, version, tenant, number):
        client = Client(self.contexts, tenant, version, state.__name__, number)
        client.to = state
        state(client)
        self.clients.append(client)
        if client.resumed:
            client.resumed.to = crowd.closed
            self.past.append(client.resumed)

    def gather(self):
        for what in self.each(crowd.SERVED, self.served):
            self.add(*what)
        for what in self.each([crowd.booting], [self.sleepy]):
            self.add(*what)
        late = self.each([crowd.refused], [self.broken])
        in_threads(len(late), lambda i: self.add(*late[i]))
        self.settle()
        self.psks = {n: psk for t in self.served
                     for n, psk in crowd.resumption_psks(self.house, t, self.folder).items()}
        os.kill(self.agent, signal.SIGSTOP)
        for what in self.each([crowd.waiting_for_the_agent], self.served):
            self.add(*what)
        gone = {crowd.closed, crowd.reset}
        crowd.until_front_has(self.house, connections=sum(c.to not in gone for c in self.clients),
                              handshakes=sum(c.to in {crowd.tcp_only, crowd.half_a_hello, *crowd.UNDER_WAY} for c in self.clients))
        self.settle()

    def settle(self):
        """A tenant that has answered has taken all that was before it in its ring: also that others have gone."""
        for client in self.clients:
            if client.to in {crowd.idle, crowd.resumed}:
                client.serve()

    def needles(self):
        needles = Needles()
        for file, forms in self.keys.items():
            for form, data in forms:
                needles.add(Private(file.name, form), data)
        for client in self.clients + self.past:
            for label, data in client.secrets().items():
                needles.add(Secret(client, label), data)
        for name, psk in self.psks.items():
            needles.add(Psk(name), psk)
        for tenant in self.tenants:
            needles.add_repeated(Plain(tenant, "marker"), tenant.marker.encode())
            needles.add(Plain(tenant, "host"), tenant.host.encode()[:16])
        needles.add_repeated(PAGE, pattern(0, 251))
        return needles

    # -- the processes

    def search(self):
        """{process: names of what is in its memory}"""
        needles = self.needles()
        seen = {name: needles.found(process_memory(pid)) for name, pid in self.processes().items()}
        seen |= {machine: needles.found(self.house.machines.memory(machine)) for machine in self.house.machines.running()}
        return seen

    def processes(self):
        return {"roomkeyd": self.house.orchestrator.pid, "parent": self.house.front.pid, "agent": self.agent,
                **{f"worker {i}": pid for i, pid in enumerate(self.house.worker_pids())}}

    def owner(self, found):
        """The tenant of whom an instance has the marker, or the host; there is no other."""
        tenants = {name.tenant for name in found if isinstance(name, Plain)}
        assert len(tenants) <= 1, f"bytes of {tenants} in one instance"
        return tenants.pop() if tenants else None


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """The situation; `seen` is what was found in it, `after` when unfinished handshakes were over."""
    house = House(workers=2, config={"deadlines": {"start": "600s"}},
                  front=[f"--{n}={LONG}" for n in ("hello-timeout", "handshake-timeout", "linger", "stall")])
    people = None
    try:
        house.start()
        people = Crowd(house, tmp_path_factory.mktemp("crowd"))
        people.agent = agent_of(house)
        people.gather()
        people.seen = people.search()
        yield people
    finally:
        if people and hasattr(people, "agent"):
            os.kill(people.agent, signal.SIGCONT)
        for client in people.clients if people else []:
            client.sock.close()
        house.remove()
    house.check()


@pytest.fixture(autouse=True)
def nobody_is_idle_for_too_long(scene):
    """A search takes a while on a slow machine, and a tenant ends what was silent for 75 s."""
    scene.settle()


def listed(names):
    """Each kind of name once: sessions by state and version."""
    return "; ".join(sorted({f"{n.label}: {n.client.state}, TLS {n.client.version}" if isinstance(n, Secret) else str(n)
                             for n in names}))


def test_the_search_finds_private_keys_that_are_in_a_process(scene):
    """Of a process that has read them as the agent does, by libcrypto."""
    load = ("import ssl, sys\nkeep = []\nfor f in sys.argv[1:]:\n c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); keep.append(c)\n"
            " c.load_cert_chain(f[:-4] + '.pem', f)\nprint('read', flush=True)\nsys.stdin.read()\n")
    files = sorted(scene.house.certs.dir.glob("c*.key"))
    with subprocess.Popen([sys.executable, "-c", load, *map(str, files)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"read\n"
        found = scene.needles().found(process_memory(other.pid))
        other.stdin.close()
    assert {name.tenant for name in found if isinstance(name, Private)} == {file.name for file in scene.keys}


def test_no_private_key_is_anywhere_but_with_the_agent(scene):
    secret = any("secretmem" in line for line in maps(scene.agent))
    assert secret != ("no memfd_secret" in scene.house.front.said())
    for process, found in scene.seen.items():
        keys = [name for name in found if isinstance(name, Private)]
        if process == "agent" and not secret:
            assert keys, "root reads ordinary memory"
        else:
            assert not keys, f"{process}: {listed(keys)}"


def test_what_the_agent_keeps_in_secret_memory_root_cannot_read(scene):
    for line in maps(scene.agent):
        if "secretmem" in line:
            start = int(line.split("-")[0], 16)
            with open(f"/proc/{scene.agent}/mem", "rb", buffering=0) as memory:
                memory.seek(start)
                with pytest.raises(OSError):
                    memory.read(4096)


def test_a_worker_has_secrets_of_handshakes_that_are_not_over_and_no_others(scene):
    workers = [name for process, found in scene.seen.items() if str(process).startswith("worker") for name in found]
    found = {name for name in workers if isinstance(name, (Secret, Psk))}
    late = {name for name in found if isinstance(name, Psk) or name.client.to not in crowd.UNDER_WAY}
    assert not late, listed(late)
    for client in scene.clients:
        if client.to == crowd.booting:  # the search works
            assert {name for name in found if name.client == client}, f"nothing of {client}"


def test_what_customers_say_and_hear_is_never_in_a_worker_nor_in_what_stands_beside(scene):
    for process in scene.processes():
        plain = [n for n in scene.seen[process] if n == PAGE or isinstance(n, Plain) and n.what == "marker"]
        assert not plain, f"{process}: {listed(plain)}"


def test_no_session_secret_is_with_roomkeyd_the_parent_or_the_agent(scene):
    for process in ("roomkeyd", "parent", "agent"):
        found = [name for name in scene.seen[process] if isinstance(name, (Secret, Psk))]
        assert not found, f"{process}: {listed(found)}"


def is_handed_over(secret):
    """What a tenant has of a connection: never a master secret, a handshake's, an exporter's."""
    return secret.client.to in crowd.KEPT and secret.label.split()[0] in (
        "CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0", "client", "server")


def test_a_tenant_has_its_own_connections_and_nothing_of_anybody_else(scene):
    owners = []
    for machine, found in scene.seen.items():
        if machine in scene.processes():
            continue
        tenant = scene.owner(found)
        owners.append(tenant)
        session = {name for name in found if isinstance(name, (Secret, Psk))}
        wrong = {name for name in session if isinstance(name, Psk) or name.client.tenant != tenant or not is_handed_over(name)}
        assert not wrong, f"{tenant}: {listed(wrong)}"
        mine = {Secret(c, label) for c in scene.clients if c.tenant == tenant and c.to == crowd.idle for label in c.secrets()}
        missing = {name for name in mine if is_handed_over(name)} - session
        assert not missing, f"{tenant}: {listed(missing)}"  # the search works
    assert set(scene.served) <= set(owners), owners


def test_no_log_says_a_secret(scene):
    needles = scene.needles()
    texts = {" ".join(d.args): d.said() for d in scene.house.daemons}
    texts["events"] = json.dumps(scene.house.events())
    texts |= {f"log of {t}": scene.house.cli("logs", t.name) for t in scene.tenants}
    for log, text in texts.items():
        found = [n for n in needles.written(text) if not (isinstance(n, Plain) and n.what == "host")]
        assert not found and "PRIVATE" not in text, f"{log}: {listed(found)}"
    some = next(c for c in scene.clients if c.to == crowd.idle).secrets().popitem()[1]
    assert needles.written(f"key={some.hex().upper()}")  # the search works


@pytest.mark.only_on("sandbox", "gdb is not in the lab's domain 0; a domain has no core dump")
def test_a_core_dump_has_no_more_than_that(scene):
    """As root makes it, registers and all; of its own accord none of the front's processes leaves one."""
    needles = scene.needles()
    running = scene.processes()
    machine = next(m for m in scene.house.machines.running() if scene.owner(scene.seen[m]) in scene.served)
    kinds = {name: pid for name, pid in running.items() if name != "worker 1"}
    for process, pid in {**kinds, machine: machine}.items():
        core = scene.folder / "core"
        subprocess.run(["gcore", "-o", core, str(pid)], check=True, capture_output=True)
        file = Path(f"{core}.{pid}")
        with open(file, "rb") as dump:
            found = needles.found(overlapping(dump))
        file.unlink()
        more = found - scene.seen[process]
        assert not more, f"{process}: {listed(more)}"
        if process == machine:
            assert any(isinstance(name, Secret) for name in found)  # the search works
    for process, pid in running.items():
        if process != "roomkeyd":
            limits = Path(f"/proc/{pid}/limits").read_text()
            assert re.search(r"(?m)^Max core file size +0 +0 +bytes", limits), f"{process}: {limits}"
            assert process == "parent" or os.stat(f"/proc/{pid}/environ").st_uid == 0, f"{process} is dumpable"


def test_when_unfinished_handshakes_are_over_nothing_of_them_is_left(scene):
    """The last test: of each kind one half goes on, the other half is reset; who waited for a boot is refused."""
    os.kill(scene.agent, signal.SIGCONT)
    scene.house.cli("tenant", "suspend", scene.sleepy.name)
    for client in [c for c in scene.clients if c.to in {*crowd.UNDER_WAY, crowd.half_a_hello}]:
        if client.to == crowd.booting:
            assert answer(client)[0] == 503
            rest_of(client.sock)
            client.to = crowd.refused
        elif client.to == crowd.half_a_hello or (client.number + (client.version == "1.3")) % 2:
            client.reset()
            client.to = crowd.reset
        else:
            client.put(client.held)
            client.step(client.tls.do_handshake)
            client.serve()
            client.to = crowd.idle
    crowd.until_front_has(scene.house, handshakes=sum(c.to == crowd.tcp_only for c in scene.clients))
    scene.settle()
    found = {name for process, found in scene.search().items() if str(process).startswith("worker") for name in found}
    secret = {name for name in found if not (isinstance(name, Plain) and name.what == "host")}
    assert not secret, listed(secret)
