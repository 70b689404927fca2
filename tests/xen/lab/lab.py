#!/usr/bin/env python3
"""The lab's machine: real Xen and a Debian dom0 in QEMU's software emulation.  Called by scripts/xenlab.

    scripts/xenlab build                                             what follows does so by itself
    scripts/xenlab run [--timeout S] [--results DIR] COMMAND...      run it in dom0, in the repository's layout
    scripts/xenlab test [--jobs N] [--reports DIR] [--keep-seconds] PATH...
                                                                     run pytest files, each in a machine of its own
    scripts/xenlab shell                                             a prompt in dom0

build boots the machine once (half a minute) and saves it: its memory in the file `ram`, its devices in `state`.
run and shell map that memory privately (writes stay theirs), load the devices and go on within two seconds, so
that several machines can run at once from one saved one.  What is saved is made anew when anything it was made
of changes: files of this folder, QEMU, its arguments.

Happy path: exit with the command's status, its output streamed, what it left in /results (and consoles of the
guests, Xen's log, xenstore) in DIR.
Failure modes: the command outlives the timeout: 124; the machine does not boot, dies or stays silent: 125, its
console is shown.  In each case the machine is ended, and DIR/console.log has what Xen and dom0 said.
"""

import argparse
import concurrent.futures
import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time
import tty
from pathlib import Path

LAB = Path(__file__).resolve().parent
TOP = LAB.parents[2]
WORK = TOP / "build" / "xenlab"
QEMU = "qemu-system-x86_64"

# Memory: the emulated machine's, and dom0's share of it (the rest is for guests).
MEMORY, DOM0_MEMORY = "4G", "1536M"
# What the emulated Xen needs: with SMAP dom0 dies at its first return to user mode, with RDTSCP a Linux guest dies.
CPU = "max,-smap,-rdtscp"
# Vector registers switched at once: without it Python in dom0 crashed, or read wrong bytes, now and then; with it, not
# since. That the lazy switching is the cause is inferred: no test of it alone has shown it.
XEN_ARGS = (f"spec-ctrl=eager-fpu console=com1 com1=115200,8n1 loglvl=warning guest_loglvl=all conring_size=256k bootscrub=0 "
            f"dom0_mem={DOM0_MEMORY},max:{DOM0_MEMORY} dom0_max_vcpus=1")
LINUX_ARGS = "console=hvc0 quiet loglevel=4 nokaslr random.trust_cpu=on mitigations=off"
DISK = 512 << 20  # bytes of the job disk; the saved machine knows its size, so it is always the same
PORTS = ("control", "output", "results")
BOOT = 300  # seconds
RESTORE = 60
RESULTS = 120  # to hand over the results when the command has ended
SLOW = 5  # factor by which tests wait longer for events (ROOMKEY_SLOW): emulation is slow
HANGS = 400  # seconds after which a test shows where it stands
KEEP = 20  # folders of results
SECONDS = LAB.parent / "seconds.txt"  # how long each test file took when that was last kept


class Broken(Exception):
    """The lab itself failed: what, why, what to do."""

    def __init__(self, what, why, do):
        super().__init__(f"xenlab: {what}\n  why: {why}\n  do:  {do}")


class Machine:
    """A QEMU process and its channels.  Use with `with`: it never outlives the block."""

    def __init__(self, folder, job, saving):
        self.folder = Path(folder)
        self.console = self.folder / "console.log"
        self.job = job
        self.saving = saving
        self.socket = {}

    def __enter__(self):
        listeners = {name: self._listen(name) for name in (*PORTS, "tty", "qmp")}
        self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL,
                                        stdout=open(self.folder / "qemu.log", "wb"), stderr=subprocess.STDOUT)
        try:
            for name, listener in listeners.items():
                self.socket[name] = self._accept(listener)
                listener.close()
            self.qmp_lines = self.socket["qmp"].makefile("rb")
            self.qmp_lines.readline()
            self.qmp("qmp_capabilities")
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for channel in self.socket.values():
            channel.close()

    def _listen(self, name):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.folder / f"{name}.sock"))
        listener.listen(1)
        return listener

    def _accept(self, listener):
        end = time.monotonic() + 30
        while not select.select([listener], [], [], 0.1)[0]:
            if self.process.poll() is not None or time.monotonic() > end:
                raise Broken("QEMU does not start", self.said("qemu.log"), f"see that {QEMU} of Debian 12 works")
        return listener.accept()[0]

    def command(self):
        """The very same devices for saving and restoring."""
        share = "on" if self.saving else "off"
        ports = [f"-chardev socket,id={name},path={self.folder}/{name}.sock" for name in (*PORTS, "tty", "qmp")]
        ports += ["-device virtio-serial-pci,max_ports=8", "-device virtconsole,chardev=tty,nr=0",
                  "-mon chardev=qmp,mode=control"]
        ports += [f"-device virtserialport,chardev={name},name={name},nr={i}" for i, name in enumerate(PORTS, 1)]
        drives = [f"-drive if=none,id={name},format=raw,readonly=on,file={path} "
                  f"-device virtio-blk-pci,drive={name}"
                  for name, path in (("root", WORK / "dom0.squashfs"), ("job", self.job))]
        args = ["setpriv", "--pdeathsig", "KILL", QEMU, "-nodefaults", "-no-user-config", "-display", "none",
                "-no-reboot", "-machine", "q35,memory-backend=ram", "-accel", "tcg,thread=multi,tb-size=512",
                "-cpu", CPU, "-smp", "1", "-m", MEMORY,
                "-object", f"memory-backend-file,id=ram,size={MEMORY},mem-path={WORK}/ram,share={share}",
                "-serial", f"file:{self.console}", *" ".join(ports + drives).split(),
                "-kernel", WORK / "xen", "-append", XEN_ARGS,
                "-initrd", f"{WORK}/vmlinux {LINUX_ARGS},{WORK}/initrd.cpio"]
        if not self.saving:
            args += ["-incoming", "defer"]
        return list(map(str, args))

    def said(self, name="console.log"):
        """The end of what QEMU or the emulated machine wrote."""
        return tail(self.folder / name)

    # -- QEMU's own control channel

    def qmp(self, command, **arguments):
        self.socket["qmp"].sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while True:
            line = self.qmp_lines.readline()
            if not line:
                raise Broken(f"QEMU ended at {command}", self.said("qemu.log"), "see the lines above")
            answer = json.loads(line)
            if "error" in answer:
                raise Broken(f"QEMU refuses {command}", answer["error"]["desc"], "see tests/xen/README.md")
            if "return" in answer:
                return answer["return"]

    def _migration(self):
        # The memory is a file of its own, so that only the devices' state is copied.
        self.qmp("migrate-set-capabilities", capabilities=[{"capability": "x-ignore-shared", "state": True}])

    def _migrated(self, deadline):
        end = time.monotonic() + deadline
        while True:
            status = self.qmp("query-migrate")
            if status.get("status") == "completed":
                return
            if status.get("status") == "failed" or time.monotonic() > end:
                raise Broken("the machine cannot be saved or restored", f"{status}\n{self.said('qemu.log')}",
                             "try scripts/xenlab clean, then scripts/xenlab build")
            time.sleep(0.02)

    def save(self, path):
        self.qmp("stop")
        self._migration()
        self.qmp("migrate", uri=f"exec:cat >{shlex.quote(str(path))}")
        self._migrated(RESTORE)
        self.qmp("quit")
        self.process.wait(RESTORE)

    def restore(self, path):
        self._migration()
        self.qmp("migrate-incoming", uri=f"exec:cat {shlex.quote(str(path))}")
        self._migrated(RESTORE)

    # -- dom0

    def line(self, deadline):
        """The next line that dom0 says on its control port."""
        channel, said = self.socket["control"], b""
        end = time.monotonic() + deadline
        while not said.endswith(b"\n"):
            left = end - time.monotonic()
            if left <= 0 or not select.select([channel], [], [], left)[0]:
                raise TimeoutError
            byte = channel.recv(1)
            if not byte:
                raise Broken("the emulated machine ended by itself", f"its last lines:\n{self.said()}",
                             "the lines above say what failed")
            said += byte
        return said.decode().split()

    def tell(self, text):
        self.socket["control"].sendall(text.encode() + b"\n")


@contextlib.contextmanager
def folder():
    """A folder of this run's own; sockets have short paths."""
    path = tempfile.mkdtemp(prefix="xenlab-")
    try:
        yield Path(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def core():
    """Each machine takes a core whole: one that finds none free waits for its turn."""
    locks = [open(WORK / f"core{n}.lock", "w") for n in range(os.cpu_count() or 1)]
    try:
        waits = False
        while not any(locked(lock) for lock in locks):
            if not waits:
                print("xenlab: waiting for a machine that runs to end", file=sys.stderr)
            waits = True
            time.sleep(0.1)
        yield
    finally:
        for lock in locks:
            lock.close()


def locked(file):
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False


@contextlib.contextmanager
def ready():
    """Within it the files and the saved machine are there and stay; made first if they are not, or not as they should be."""
    files = hashlib.sha256()
    for path in sorted(p for p in LAB.iterdir() if p.is_file() and p.name != Path(__file__).name):
        files.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    machine = files.copy()
    machine.update(subprocess.run([QEMU, "--version"], capture_output=True, check=True).stdout)
    machine.update("\0".join(Machine("", "", saving=True).command()).encode())
    with open(WORK / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second caller waits for the first one's work
        if made("files", files.hexdigest(), make_files):
            (WORK / "machine.key").unlink(missing_ok=True)  # its disk is another one now
        made("machine", machine.hexdigest(), save)
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


@contextlib.contextmanager
def restored(here, job):
    """The saved machine, ready to go on."""
    with core(), contextlib.ExitStack() as stack:
        with ready():
            machine = stack.enter_context(Machine(here, job, saving=False))
            machine.restore(WORK / "state")
        yield machine


def made(what, wanted, make):
    """Makes it, unless it was made of the very same before; whether it had to be made."""
    mark = WORK / f"{what}.key"
    if mark.exists() and mark.read_text() == wanted:
        return False
    mark.unlink(missing_ok=True)
    print(f"xenlab: making the lab's {what}", file=sys.stderr)
    began = time.monotonic()
    make()
    mark.write_text(wanted)
    print(f"xenlab: made in {time.monotonic() - began:.0f} s", file=sys.stderr)
    return True


def make_files():
    if subprocess.run([LAB / "build.sh", WORK], check=False).returncode != 0:
        raise Broken("dom0's files cannot be made", "tests/xen/lab/build.sh failed", "see the lines above")


def save():
    for name in ("ram", "state"):
        (WORK / name).unlink(missing_ok=True)
    with folder() as here:
        job = here / "job"
        with open(job, "wb") as disk:
            disk.truncate(DISK)
        with Machine(here, job, saving=True) as machine:
            try:
                machine.line(BOOT)
            except TimeoutError:
                raise Broken(f"dom0 is not up after {BOOT} s", f"its last lines:\n{machine.said()}",
                             "the lines above say where it stopped") from None
            finally:
                shutil.copy(machine.console, WORK / "boot.log")
            machine.save(WORK / "state")


def make_disk(here):
    """The job's disk: what the repository's tests need, in its layout, with the build as build/release."""
    built = Path(os.environ.get("ROOMKEY_BUILD", TOP / "build" / "release")).resolve()
    if not (built / "bin" / "roomkeyd").exists():
        raise Broken(f"{built} has no bin/roomkeyd", "the lab runs what was built on this machine",
                     "cmake --preset release && cmake --build --preset release, or set ROOMKEY_BUILD")
    tree = here / "tree"
    target = tree / "build" / "release"
    target.mkdir(parents=True)
    for name in ("bin", "images", "lib"):
        if (built / name).exists():
            shutil.copytree(built / name, target / name, symlinks=True)
    for name in ("tests", "scripts", "packaging", "schema"):
        shutil.copytree(TOP / name, tree / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "corpus"))
    disk = here / "job"
    done = subprocess.run(["mksquashfs", tree, disk, "-all-root", "-noI", "-noD", "-noF", "-noX", "-no-progress",
                           "-quiet"], capture_output=True, text=True, check=False)
    if done.returncode != 0 or disk.stat().st_size > DISK:
        raise Broken("cannot make the job's disk", done.stderr or f"it is larger than {DISK >> 20} MiB",
                     "see that squashfs-tools is installed and the disk has room")
    os.truncate(disk, DISK)
    shutil.rmtree(tree)
    return disk


def job(command, timeout):
    """What dom0-run is told."""
    passed = {k: v for k, v in os.environ.items()
              if k.startswith("ROOMKEY_") and k not in ("ROOMKEY_BUILD", "ROOMKEY_IMAGES")}
    return json.dumps({"command": command, "environment": {"ROOMKEY_GROUND": "xen", "ROOMKEY_SLOW": str(SLOW), **passed},
                       "timeout": timeout})


class Output(threading.Thread):
    """Copies what comes on a channel to files until it ends."""

    def __init__(self, channel, *files):
        super().__init__(daemon=True)
        self.channel, self.files = channel, files
        self.count = 0
        self.start()

    def run(self):
        with contextlib.suppress(OSError):
            while data := self.channel.recv(65536):
                for file in self.files:
                    file.write(data)
                    file.flush()
                self.count += len(data)


class Terminal:
    """The person's terminal, raw, joined with dom0's; ctrl-] twice ends it."""

    def __init__(self, channel):
        self.channel = channel
        self.was = termios.tcgetattr(0)
        tty.setraw(0)

    def restore(self):
        termios.tcsetattr(0, termios.TCSADRAIN, self.was)

    def relay(self, control):
        """Until dom0 says something on its control port."""
        last = b""
        while True:
            ready = select.select([0, self.channel, control], [], [])[0]
            if self.channel in ready:
                data = self.channel.recv(65536)
                if not data:
                    return
                os.write(1, data)
            if 0 in ready:
                data = os.read(0, 4096)
                if not data or (last + data)[-2:] == b"\x1d\x1d":
                    raise KeyboardInterrupt
                last = data[-1:]
                self.channel.sendall(data)
            if control in ready and self.channel not in ready:
                return


def run(command, timeout, results, disk=None):
    """The command's exit status; with no command, a shell's.  disk: the job's, when it is made already."""
    results = results or fresh_results()
    results.mkdir(parents=True, exist_ok=True)
    with folder() as here, restored(here, disk or make_disk(here)) as machine:
        try:
            return serve(machine, command, timeout, results)
        finally:
            for name in ("console.log", "qemu.log"):
                shutil.copy(here / name, results / name)


def serve(machine, command, timeout, results):
    archive = results / "results.tar"
    log = open(results / "output.log", "wb")
    output = Output(machine.socket["output"], log, sys.stdout.buffer)
    with open(archive, "wb") as file:
        came = Output(machine.socket["results"], file)
        machine.qmp("cont")
        machine.tell(f"time {time.time():.3f}")
        machine.tell(f"seed {secrets.token_hex(32)}")
        if command:
            machine.tell(f"run {job(command, timeout)}")
        else:
            size = os.get_terminal_size(0)
            terminal = Terminal(machine.socket["tty"])
            try:
                machine.tell(f"shell {size.lines} {size.columns} {os.environ.get('TERM', 'vt100')}")
                terminal.relay(machine.socket["control"])
            finally:
                terminal.restore()
        try:
            _, status, size = machine.line(timeout + RESULTS if command else RESULTS)
        except TimeoutError:
            raise Broken("dom0 said nothing more", f"the machine's last lines:\n{machine.said()}",
                         f"see {results}") from None
        while came.count < int(size) and came.is_alive():
            time.sleep(0.01)
    if came.count < int(size):
        raise Broken("the results did not come whole", f"{came.count} of {size} bytes", "try again")
    machine.end()
    output.join()
    log.close()
    subprocess.run(["tar", "-xf", archive, "-C", results, "--no-same-owner"], check=True)
    archive.unlink()
    return int(status)


def seconds_kept():
    """{file: seconds}"""
    lines = SECONDS.read_text().splitlines() if SECONDS.exists() else []
    return {file: int(seconds) for seconds, file in map(str.split, lines)}


def keep_seconds(took):
    kept = {file: seconds for file, seconds in (seconds_kept() | took).items() if (TOP / file).exists()}
    SECONDS.write_text("".join(f"{seconds:4} {file}\n" for file, seconds in sorted(kept.items(), key=lambda i: (-i[1], i[0]))))


def test(paths, jobs, timeout, reports, keep):
    """Runs each test file in a machine of its own, as many at once as told.  0 when all of them passed.

    The longest first, so that the machines end together; one that nobody has measured may be long.  keep: measure them.
    """
    files = []
    for path in map(Path, paths):
        found = sorted(path.rglob("test_*.py")) if path.is_dir() else [path]
        if not found or not found[0].exists():
            raise Broken(f"no tests in {path}", "neither a test file nor a folder with test_*.py", "name one")
        files += [f.resolve().relative_to(TOP) for f in found]
    known = seconds_kept()
    files.sort(key=lambda file: -known.get(str(file), timeout))
    reports.mkdir(parents=True, exist_ok=True)
    top = fresh_results()
    running, took = set(), {}
    with folder() as here, concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        disk = make_disk(here)
        futures = [pool.submit(test_file, file, timeout, disk, reports, top, running, took) for file in files]
        try:
            status = 0 if all([future.result() for future in futures]) else 1
        except BaseException:  # interrupted: nothing is left behind
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(running):
                process.terminate()
            raise
    if keep:
        keep_seconds(took)
    return status


def test_file(file, timeout, disk, reports, top, running, took):
    """Whether all tests of the file passed; what it said is shown when it is over."""
    name = "-".join(file.with_suffix("").parts[1:])
    results = top / name
    began = time.monotonic()
    me = [sys.executable, __file__, "run", "--timeout", str(timeout), "--results", str(results), "--disk", disk]
    pytest = ["python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file), "--tb=short", "--durations=5",
              "--junitxml=/results/junit.xml", "-o", f"faulthandler_timeout={HANGS}"]
    process = subprocess.Popen(me + pytest, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, errors="replace")
    running.add(process)
    output = process.communicate()[0]
    running.discard(process)
    status, seconds = process.returncode, round(time.monotonic() - began)
    report = results / "junit.xml"
    with contextlib.suppress(OSError):
        shutil.copy(report, reports / f"xen-{name}.xml")
    said = [f"-- {file}: exit {status} after {seconds} s", output]
    if status == 0:
        took[str(file)] = seconds
    else:
        said += [f"{log.name}:\n{tail(log)}" for log in sorted((results / "xen").glob("guest-*.log"))[-5:]]
        said += [f"{name}:\n{tail(results / name)}" for name in ("console.log", "xen/xl-dmesg.txt")]
        said += [f"all of it is in {results}"]
    if status == 124:
        said += [f"{file} took longer than {timeout} s"]
    print("\n".join(said), flush=True)
    return status == 0 and report.exists()


def tail(path, lines=30):
    with contextlib.suppress(OSError):
        said = path.read_text(errors="replace").splitlines()
        return "\n".join([line for line in said if line.strip()][-lines:])
    return "(nothing)"


def fresh_results():
    """A new folder build/xenlab/results/N; of the older ones the newest are kept."""
    top = WORK / "results"
    top.mkdir(parents=True, exist_ok=True)
    old = sorted((p for p in top.iterdir() if re.fullmatch(r"\d{8}-\d{6}-\d+", p.name)), key=lambda p: p.name)
    for path in old[:-KEEP]:
        shutil.rmtree(path, ignore_errors=True)
    return top / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"


def main():
    parser = argparse.ArgumentParser(prog="scripts/xenlab", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("build", help="make the files and the saved machine, if not there yet")
    verbs.add_parser("clean", help="remove all that the lab has made, downloads and results too")
    shell = verbs.add_parser("shell", help="a prompt in dom0")
    command = verbs.add_parser("run", help="run a command in dom0")
    tests = verbs.add_parser("test", help="run pytest files in dom0, each in a machine of its own")
    tests.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N", help="machines at once [processors]")
    tests.add_argument("--timeout", type=int, default=900, metavar="S", help="seconds a file may take [900]")
    tests.add_argument("--reports", type=Path, default=TOP / "build" / "reports", metavar="DIR",
                       help="where the JUnit files go [build/reports]")
    tests.add_argument("--keep-seconds", action="store_true",
                       help="write down how long each file took: the longest go first from then on")
    tests.add_argument("path", nargs="+", help="test files, or folders of them")
    command.add_argument("--timeout", type=int, default=600, metavar="S", help="seconds the command may take [600]")
    command.add_argument("--disk", type=Path, help=argparse.SUPPRESS)  # of `test`, for all its files
    command.add_argument("command", nargs=argparse.REMAINDER, help="the command and its arguments")
    for verb in (shell, command):
        verb.add_argument("--results", type=Path, metavar="DIR", help="where results go [build/xenlab/results/…]")
    args = parser.parse_args()
    if args.verb == "run" and not args.command:
        command.error("run what?")
    if args.verb == "shell" and not sys.stdin.isatty():
        shell.error("a shell needs a terminal; use run")
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, lambda *_: sys.exit(125))
    try:
        if args.verb == "clean":
            shutil.rmtree(WORK, ignore_errors=True)
            return 0
        WORK.mkdir(parents=True, exist_ok=True)
        if args.verb == "build":
            with ready():
                return 0
        if args.verb == "test":
            return test(args.path, args.jobs, args.timeout, args.reports, args.keep_seconds)
        if args.verb == "run":
            return run(args.command, args.timeout, args.results, args.disk)
        return run([], 0, args.results)
    except Broken as broken:
        print(broken, file=sys.stderr)
        return 125
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
