"""Kills a program of a house at one exact system call, or makes that call fail.

What a process leaves when it is killed changes only by its system calls: so all the states of an operation are
those before each of the calls that it makes.  `calls_during` lists them, by watching the operation once with
strace; `at` lets strace do its work at one of them, in a later run of the operation.
"""

import contextlib
import os
import re
import signal
import subprocess
import tempfile
from pathlib import Path

from house import DEADLINE

# What others can see of a process: files, messages, processes.  Not: looking, waiting, memory of its own.
SEEN = ("pwrite64,pwritev,write,writev,fsync,fdatasync,ftruncate,fallocate,fchmod,fchown,rename,renameat,renameat2,"
        "link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir,sendmsg,sendto,clone,clone3,kill,pidfd_send_signal,exit_group")
LINE = re.compile(r"^(?:(\d+) +)?([a-z_0-9]+)\((.*)$")
LIST = ("-y", "-s", "24", "-e", f"trace={SEEN}", "-e", "signal=none")
ALL = os.environ.get("ROOMKEY_CRASHES") == "all"


class Call:
    """The nth call of that name of one thread."""

    def __init__(self, name, nth, main, text):
        self.name, self.nth, self.main, self.text = name, nth, main, text

    def __str__(self):
        return f"{self.name} no. {self.nth} of {'the main thread' if self.main else 'another thread'}: {self.text[:90]}"


def threads(pid):
    return [int(t) for t in os.listdir(f"/proc/{pid}/task")]


@contextlib.contextmanager
def strace(pids, *args):
    """strace at work on these threads; it lets go at the end."""
    where = [a for pid in pids for a in ("-p", str(pid))]
    tracer = subprocess.Popen(["strace", *map(str, args), *where], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        for _ in pids:
            line = tracer.stderr.readline()
            assert "attached" in line, f"strace: {line}"
        yield
    finally:
        tracer.send_signal(signal.SIGINT)  # detaches
        tracer.communicate(timeout=DEADLINE)


def calls_during(pid, act):
    """What others can see of the process while act() runs: its calls, in order."""
    with tempfile.NamedTemporaryFile("r", prefix="roomkey-calls-") as log:
        with strace(threads(pid), *LIST, "-o", log.name):
            act()
        return parse(log.read(), pid)


def run(options, args, until_it_says):
    """Runs the program under strace to that line on its standard error, where it is killed.  Its pid; None: it died
    first, or right after it had said so."""
    tracer = subprocess.Popen(["strace", *options, *args], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    pid = None
    for line in tracer.stderr:
        if re.search(until_it_says, line):
            for child in Path(f"/proc/{tracer.pid}/task/{tracer.pid}/children").read_text().split():
                pid = int(child)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    tracer.wait(DEADLINE)
    return pid


def calls_from_start(args, until_it_says):
    with tempfile.NamedTemporaryFile("r", prefix="roomkey-calls-") as log:
        pid = run((*LIST, "-o", log.name), args, until_it_says)
        return parse(log.read(), pid)


def killed_from_start(args, call, until_it_says):
    """False: it did not come to that call."""
    options = ("-o", "/dev/null", "-e", f"trace={call.name}", "-e", "signal=none", "-e", f"inject={call.name}:signal=KILL:when={call.nth}")
    return run(options, args, until_it_says) is None


def calls_of_child(pid, act):
    """One call of each kind that a process makes which this one starts in act(), in order: those of a name that the
    parent itself does not call meanwhile, since strace counts the calls of both."""
    ours = set(threads(pid))
    with tempfile.NamedTemporaryFile("r", prefix="roomkey-calls-") as log:
        with strace([pid], "-f", "-e", "signal=none", "-o", log.name):
            act()
        text = log.read()
    lines = [m for m in map(LINE.match, text.splitlines()) if m]
    names = {m.group(2) for m in lines} - {m.group(2) for m in lines if int(m.group(1)) in ours}
    calls = parse(text, pid, names)
    return [c for i, c in enumerate(calls) if ALL or i + 1 == len(calls) or calls[i + 1].name != c.name]


def at_child(pid, call):
    return strace([pid], "-f", "-e", f"trace={call.name}", "-e", "signal=none", "-e",
                  f"inject={call.name}:signal=KILL:when={call.nth}", "-o", "/dev/null")


def parse(log, pid, names=SEEN.split(",")):
    """names: of the calls that count; None: of all."""
    calls, count = [], {}
    for line in log.splitlines():
        match = LINE.match(line)
        if not match or names and match.group(2) not in names:
            continue
        thread, name, text = int(match.group(1) or pid), match.group(2), match.group(3)
        count[thread, name] = count.get((thread, name), 0) + 1
        calls.append(Call(name, count[thread, name], thread == pid, text))
    return calls


# A word to a thread of its own, or to its log: nobody else sees it.
INWARD = re.compile(r"^(pipe:|anon_inode:\[eventfd\]|.*\.log$)")


def kinds(calls):
    """Those worth a run: all of them, or one of each kind of state (of what is repeated the last one, half done)."""
    if ALL:
        return calls
    kept = []
    for call in calls:
        fd = re.match(r"\d+<([^>]*)>", call.text)
        call.kind = (call.name, fd.group(1) if fd else None)
        if not (fd and INWARD.match(fd.group(1))):
            kept.append(call)
    return [c for i, c in enumerate(kept) if i == len(kept) - 1 or c.kind != kept[i + 1].kind]


def at(pid, call, what="signal=KILL"):
    """`what` befalls the process at that call, once: before the kernel does anything for it."""
    mine = [t for t in threads(pid) if (t == pid) == call.main]
    return strace(mine or [pid], "-e", f"trace={call.name}", "-e", "signal=none", "-e",
                  f"inject={call.name}:{what}:when={call.nth}", "-o", "/dev/null")


def is_dead(pid):
    """Also when nobody has waited for it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return True
