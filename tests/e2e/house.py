"""A house: one roomkeyd and one roomkey-front in a temporary folder, driven as a person would.

Nothing in here waits for time to pass: `until` looks at a condition until it holds or the
deadline ends the test, and says what it saw last.

A slow machine (an emulated one) is told by ROOMKEY_SLOW, a factor: deadlines and times that tests give grow by it,
those of roomkeyd too; what is only many or much so that it lasts (`much`, `many`) shrinks by its square.
"""

import atexit
import contextlib
import functools
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import grounds

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("ROOMKEY_BUILD", ROOT / "build" / "release"))
IMAGES = Path(os.environ.get("ROOMKEY_IMAGES", BUILD / "images"))
GROUND = os.environ.get("ROOMKEY_GROUND", "sandbox")
FAULT = re.compile(r"Sanitizer|runtime error:|CHECK|was ended by signal (?!9 )")
SLOW = max(1.0, float(os.environ.get("ROOMKEY_SLOW", "1")))
# Memory that was freed stays with a sanitizer for a while: up to 256 MiB of it.
SANITIZED = b"__asan_init" in (BUILD / "bin/roomkey-front").read_bytes()
GROWTH = (24 << 20) + (288 << 20) * SANITIZED  # bytes that a program may come to have more: less than a flood would bring
DEADLINE = float(os.environ.get("ROOMKEY_TEST_DEADLINE", 30 * SLOW))  # seconds

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

# docs/CONFIG.md: seconds, and the most that roomkeyd takes.
DEADLINES = {"start": (10, 600), "trial_start": (5, 600), "drain": (10, 600), "stop": (5, 600), "stop_grace": (1, 60),
             "kill": (5, 600), "health": (2, 60), "reset": (5, 60), "worker_grace": (3, 60), "shutdown": (20, 600)}


def resident(pid, what="VmRSS"):
    """Bytes of memory that a process has; RssAnon is without the rings, which are the tenants' (RssShmem)."""
    return int(re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text()).group(1)) << 10


def assert_bounded(grown, most):
    """Of a daemon's memory, in bytes. A sanitizer keeps what was freed: there it is only lived through."""
    assert grown < most or SANITIZED, f"grown by {grown} bytes, more than {most}"


def much(size):
    """So many bytes, or fewer on a slow machine: they only have to take their time."""
    return int(size / SLOW ** 2)


def many(count, least):
    """So many times, or fewer on a slow machine."""
    return max(least, int(count / SLOW ** 2))


def ms(seconds):
    """A time that a test gives roomkeyd or a tenant, in milliseconds; longer on a slow machine."""
    return int(seconds * SLOW * 1000)


def toml(tables):
    """The text of roomkey.toml."""
    def value(v):
        return json.dumps(v) if isinstance(v, (str, bool)) else str(v)

    return "".join(f"[{name}]\n" + "".join(f"{k} = {value(v)}\n" for k, v in table.items())
                   for name, table in tables.items())


def until(look, what, deadline=DEADLINE):
    """The first true value of look(); what is awaited (a text, or what makes it then) is named when it does not come.

    A look that costs much is taken less often: it must not keep what it waits for from the processor."""
    end = time.monotonic() + deadline
    while True:
        began = time.monotonic()
        seen = look()
        if seen:
            return seen
        if time.monotonic() > end:
            what = what() if callable(what) else what
            raise AssertionError(f"{what}: not within {deadline} s; last seen: {seen!r}")
        time.sleep(max(0.01 * SLOW, time.monotonic() - began))


class Refused(Exception):
    """The CLI exited with something but 0."""

    def __init__(self, args, status, err):
        super().__init__(f"roomkey {' '.join(map(str, args))}: exit {status}: {err}")
        self.status = status
        self.err = err


class Daemon:
    """A program of ours in the foreground; its standard error is kept for failures."""

    def __init__(self, args, log):
        self.log = open(log, "w+b")
        self.args = [str(a) for a in args]
        self.closed = None  # what it had said, once its log is gone
        self.process = subprocess.Popen(self.args, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)

    def ready(self, pattern):
        """The match of the one line that it prints when it is ready."""
        def look():
            if self.process.poll() is not None:
                raise AssertionError(f"{self.args[0]} ended with {self.process.returncode}:\n{self.said()}")
            return re.search(pattern, self.said())

        return until(look, f"ready line of {self.args[0]}; it said: {self.said()}")

    def said(self):
        return self.closed or Path(self.log.name).read_text(errors="replace")

    def close(self):
        self.closed = self.said()
        self.log.close()

    @property
    def pid(self):
        return self.process.pid

    def stop(self, how=signal.SIGTERM, deadline=2 * DEADLINE):
        """The exit status; negative: ended by that signal."""
        if self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(deadline)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"{self.args[0]} did not stop in {deadline} s:\n{self.said()}")
        return self.process.returncode


@functools.cache
def authority():
    """The folder of a certificate authority for this run: ca.pem, ca.key."""
    folder = Path(tempfile.mkdtemp(prefix="roomkey-ca-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    openssl(folder, "req", "-x509", *EC, "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Roomkey test CA",
            "-days", "30")
    (folder / "plain.conf").write_text("[req]\ndistinguished_name = name\n[name]\n")
    return folder


EC = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
NEW_KEY = {"ec": EC, "ec384": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"], "rsa": ["-newkey", "rsa:2048"],
           "rsa4096": ["-newkey", "rsa:4096", "-pkeyopt", "rsa_keygen_primes:4"]}  # of four primes: found five times as fast


def openssl(folder, *args):
    subprocess.run(["openssl", *map(str, args)], cwd=folder, check=True, capture_output=True)


class Certificates:
    """What the authority signs for one house."""

    def __init__(self, folder):
        self.dir = Path(folder)
        shutil.copytree(authority(), self.dir)
        self.ca = self.dir / "ca.pem"
        self.count = 0

    def make(self, *names, key="ec", days=30):
        """(chain file, key file) for these names, signed by the authority."""
        self.count += 1
        base = f"c{self.count}"
        subject = ["-nodes", "-keyout", f"{base}.key", "-subj", f"/CN={names[0]}", "-config", "plain.conf"]
        alternative = "subjectAltName=" + ",".join(f"DNS:{n}" for n in names)
        if days > 0:
            openssl(self.dir, "req", "-x509", "-CA", "ca.pem", "-CAkey", "ca.key", *NEW_KEY[key], *subject,
                    "-addext", alternative, "-days", days, "-out", f"{base}.pem")
        else:
            ext = self.dir / f"{base}.ext"
            ext.write_text(alternative + "\n")
            openssl(self.dir, "req", *NEW_KEY[key], *subject, "-out", f"{base}.csr")
            self._expired(base, ext)
        chain = self.dir / f"{base}.chain.pem"
        chain.write_text((self.dir / f"{base}.pem").read_text() + self.ca.read_text())
        return chain, self.dir / f"{base}.key"

    def long(self, name):
        """The same, RSA, of 4 KiB as DER: with two authorities of 4,096 bits below the first."""
        above, chain = "ca", ""
        for base, key, basic in (("long1", "rsa4096", "true"), ("long2", "rsa4096", "true"), ("long", "rsa", "false")):
            openssl(self.dir, "req", "-x509", "-CA", f"{above}.pem", "-CAkey", f"{above}.key", *NEW_KEY[key], "-nodes",
                    "-keyout", f"{base}.key", "-subj", f"/CN={base}", "-config", "plain.conf", "-days", 30,
                    "-addext", f"basicConstraints=critical,CA:{basic}", "-addext", f"subjectAltName=DNS:{name}",
                    "-out", f"{base}.pem")
            chain, above = (self.dir / f"{base}.pem").read_text() + chain, base
        path = self.dir / "long.chain.pem"
        path.write_text(chain + self.ca.read_text())
        return path, self.dir / "long.key"

    def _expired(self, base, ext):
        conf = self.dir / "ca.conf"
        (self.dir / "index.txt").write_text("")
        (self.dir / "serial").write_text("1000\n")
        conf.write_text("[ca]\ndefault_ca=d\n[d]\ndir=.\nnew_certs_dir=.\ndatabase=index.txt\n"
                        "serial=serial\ndefault_md=sha256\npolicy=p\nunique_subject=no\n"
                        "[p]\ncommonName=supplied\n")
        openssl(self.dir, "ca", "-batch", "-config", conf, "-in", f"{base}.csr", "-cert", "ca.pem",
                "-keyfile", "ca.key", "-out", f"{base}.pem", "-extfile", ext, "-notext",
                "-startdate", "20200101000000Z", "-enddate", "20200201000000Z")


class House:
    def __init__(self, config=None, front=(), workers=1, ground=GROUND, programs=BUILD / "bin"):
        """config: tables of roomkey.toml.  programs: where the daemons are."""
        self.dir = Path(tempfile.mkdtemp(prefix="roomkey-e2e-"))
        self.dir.chmod(0o755)
        self.state = self.dir / "state"
        self.run = self.dir / "run"
        self.ground = ground
        self.machines = grounds.of(self)
        self.config = self.dir / "roomkey.toml"
        config = {"deadlines": {}, **(config or {})}
        if SLOW > 1:
            config["deadlines"] = {**{k: f"{min(int(v * SLOW), most)}s" for k, (v, most) in DEADLINES.items()},
                                   **config["deadlines"]}
            config["xen"] = {"job": f"{int(5 * SLOW)}s", **config.get("xen", {})}
        self.config.write_text(toml(config))
        self.front_args = list(front)
        self.workers = workers
        self.programs = programs
        self.certs = Certificates(self.dir / "certs")
        self.daemons = []
        self.orchestrator = self.front = None
        self.port = None

    # -- the programs

    def start(self):
        self.start_orchestrator()
        self.start_front()
        return self

    def start_orchestrator(self):
        self.orchestrator = self._daemon("roomkeyd", "--state", self.state, "--run", self.run,
                                         "--ground", self.ground, "--config", self.config)
        self.orchestrator.ready(r"(?m)^roomkeyd: ready.*$")

    def start_front(self):
        listen = f"127.0.0.1:{self.port or 0}"
        # A hundred handshakes at once take an emulated machine longer than one may last.
        slow = [f"--{step}-timeout={int(10 * SLOW)}" for step in ("hello", "route", "handshake") if SLOW > 1]
        self.front = self._daemon("roomkey-front", "--run", self.run, "--listen", listen,
                                  "--workers", self.workers, *slow, *self.front_args)
        self.port = int(self.front.ready(r"(?m)^roomkey-front: ready on 127\.0\.0\.1:(\d+).*$").group(1))

    def _daemon(self, program, *args):
        daemon = Daemon([self.programs / program, *args], self.dir / f"{program}.{len(self.daemons)}.log")
        self.daemons.append(daemon)
        return daemon

    def stop(self):
        """Ends both as an operator would; {program: exit status}."""
        status = {}
        for name in ("front", "orchestrator"):
            daemon = getattr(self, name)
            if daemon:
                status[name] = daemon.stop()
        return status

    def worker_pids(self):
        """What the front has started, but for its key agent."""
        return [pid for pid, name in self._front_children() if name != "roomkey-keys"]

    def agent_pid(self):
        """The front's key agent; None while there is none."""
        return next((pid for pid, name in self._front_children() if name == "roomkey-keys"), None)

    def _front_children(self):
        for pid in Path(f"/proc/{self.front.pid}/task/{self.front.pid}/children").read_text().split():
            with contextlib.suppress(OSError):  # it has gone meanwhile
                yield int(pid), Path(f"/proc/{pid}/comm").read_text().strip()

    def remove(self):
        """Ends all that still runs.  Instances outlive a daemon, so they are ended by themselves."""
        for daemon in self.daemons:
            if daemon.process.poll() is None:
                daemon.process.kill()
                daemon.process.wait()
            daemon.close()
        self.machines.clear()
        shutil.rmtree(self.dir, ignore_errors=True)

    def check(self):
        """What no test expects: a sanitizer's finding, a worker that died of itself."""
        for daemon in self.daemons:
            for line in daemon.said().splitlines():
                assert not FAULT.search(line), self.logs()

    def logs(self):
        return "\n".join(f"--- {' '.join(d.args)}\n{d.said()[-6000:]}" for d in self.daemons)

    # -- the CLI

    def cli(self, *args, deadline=2 * DEADLINE, check=True):
        done = subprocess.run([BUILD / "bin/roomkey", "--run", self.run, *map(str, args)],
                              capture_output=True, text=True, timeout=deadline)
        if check and done.returncode != 0:
            raise Refused(args, done.returncode, done.stderr.strip())
        return done.stdout

    def json(self, *args, **kw):
        return json.loads(self.cli(*args, "--json", **kw))

    def refused(self, *args, status=1):
        """The one line that a command which must fail says."""
        try:
            out = self.cli(*args)
        except Refused as refusal:
            assert refusal.status == status, refusal
            assert refusal.err.count("\n") == 0, f"more than one line: {refusal.err}"
            return refusal.err
        raise AssertionError(f"roomkey {' '.join(map(str, args))} was not refused: {out}")

    def add_images(self, *names):
        for name in names:
            self.cli("image", "add", name, IMAGES / f"{name.replace(':', '-')}.img")

    def add_tenant(self, name, image="probe:1.0.0", *more, host=None, key="ec"):
        host = host or f"{name}.localhost"
        chain, private = self.certs.make(host, key=key)
        if SLOW > 1 and "--wake-timeout" not in more:
            more = (*more, "--wake-timeout", f"{ms(10)}ms")
        self.cli("tenant", "add", name, "--image", image, "--host", host, "--cert", chain,
                 "--key", private, *more)

    # What tests ask again and again goes without the CLI's process, straight to the socket that it asks.

    def api(self, path, post=None):
        """The text of a GET on the admin socket, or of a POST of that object."""
        body = json.dumps(post).encode() if post is not None else b""
        line = f"POST {path} HTTP/1.0\r\nContent-Length: {len(body)}" if body else f"GET {path} HTTP/1.0"
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(DEADLINE)
            sock.connect(str(self.run / "admin.sock"))
            sock.sendall(f"{line}\r\nHost: roomkey\r\n\r\n".encode() + body)
            seen = b"".join(iter(lambda: sock.recv(1 << 16), b""))
        head, body = seen.decode().split("\r\n\r\n", 1)
        assert head.split()[1] in ("200", "201"), seen
        return body

    def instances(self, tenant=None):
        return [i for i in json.loads(self.api("/v1/instances")) if tenant in (None, i["tenant"])]

    def running(self, tenant):
        """The tenant's instances that are there at all."""
        return [i for i in self.instances(tenant) if i["state"] not in ("absent", "failed")]

    def generation(self, tenant):
        """Of its last instance, whatever has become of that."""
        return json.loads(self.api(f"/v1/tenants/{tenant}"))["generation"]

    def until_asleep(self, tenant, deadline=DEADLINE):
        until(lambda: not self.running(tenant), f"{tenant} is reaped", deadline)

    def events(self, tenant=None):
        lines = self.api("/v1/events").splitlines()
        return [e for e in map(json.loads, lines) if tenant in (None, e.get("tenant"))]

    # -- a client

    def curl(self, host, path="/", *more, check=True, deadline=2 * DEADLINE, text=True):
        host = host if "." in host else f"{host}.localhost"
        args = ["curl", "-sS", "--fail-with-body", "--max-time", deadline, "--cacert", self.certs.ca,
                "--resolve", f"{host}:{self.port}:127.0.0.1", *more,
                f"https://{host}:{self.port}{path}"]
        done = subprocess.run(list(map(str, args)), capture_output=True, timeout=deadline + 10)
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(map(str, args))}: exit {done.returncode}: "
                                 f"{done.stderr.decode()} {done.stdout[-300:]!r}\n{self.logs()}")
        return done.stdout.decode() if text and check else (done if not check else done.stdout)

    def connect(self, host, version=None, deadline=DEADLINE, verify=True, alpn=None, session=None,
                context=None, narrow=False):
        """A TLS connection, handshake done.  narrow: the kernel holds little of what was not read yet."""
        host = host if "." in host else f"{host}.localhost"
        context = context or self.context(version, verify, alpn)
        raw = socket.socket()
        raw.settimeout(deadline)
        try:
            if narrow:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 << 10)
            raw.connect(("127.0.0.1", self.port))
            return context.wrap_socket(raw, server_hostname=host, session=session)
        except BaseException:
            raw.close()
            raise

    def context(self, version=None, verify=True, alpn=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.certs.ca)
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if version:
            context.minimum_version = context.maximum_version = version
        if alpn:
            context.set_alpn_protocols(alpn)
        return context


def pattern(start, length):
    """Bytes [start, start + length) of probe's /bytes: byte i is (i * 31 + 7) mod 251."""
    period = bytes((i * 31 + 7) % 251 for i in range(251))
    first = start % 251
    return (period * (length // 251 + 2))[first:first + length]


def get(sock, host, path, close=False):
    """(status, body) of a GET on an open connection; the answer must have a length."""
    ask = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n" + ("Connection: close\r\n" if close else "") + "\r\n"
    sock.sendall(ask.encode())
    return answer(sock)


def head_of(sock, piece=65536):
    """(head, what came behind it) of an answer; with a piece of 1 nothing has."""
    seen = b""
    while b"\r\n\r\n" not in seen:
        more = sock.recv(piece)
        if not more:
            raise AssertionError(f"connection ended within the head: {seen!r}")
        seen += more
    return seen.split(b"\r\n\r\n", 1)


def answer(sock):
    """(status, body) of an answer with a length, with nothing behind it."""
    head, body = head_of(sock)
    status = int(head.split()[1])
    length = re.search(rb"(?i)^content-length: *(\d+)", head, re.M)
    assert length, head
    while len(body) < int(length.group(1)):
        more = sock.recv(65536)
        if not more:
            raise AssertionError(f"connection ended within the body ({len(body)} of {length.group(1)})")
        body += more
    assert len(body) == int(length.group(1)), body[int(length.group(1)):]
    return status, body


def in_threads(count, work):
    """work(i) for i below count, all at once; the first exception is raised."""
    results, errors = [None] * count, []

    def run(i):
        try:
            results[i] = work(i)
        except BaseException as e:  # noqa: BLE001 - told to the caller below
            errors.append(e)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]
    return results
