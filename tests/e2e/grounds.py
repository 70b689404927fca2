"""What a test asks of a house's machines, on whatever ground they run: processes (sandbox) or domains (xen).

A handle is a process id or a domain id.  Nothing here goes through roomkeyd: it is what the host itself
says, so that a test can hold it against what roomkeyd says.
"""

import contextlib
import ctypes
import mmap
import os
import re
import signal
import subprocess
import time
from pathlib import Path


def best():
    """The ground that `auto` must choose on this host."""
    return "xen" if is_dom0() else "sandbox"


def is_dom0():
    try:
        return "control_d" in Path("/proc/xen/capabilities").read_text()
    except OSError:
        return False


def of(house):
    return {"sandbox": Sandbox, "xen": Xen}[best() if house.ground == "auto" else house.ground](house)


def maps(pid):
    """Lines of a process's memory map; none when it has gone."""
    try:
        return Path(f"/proc/{pid}/maps").read_text().splitlines()
    except OSError:
        return []


class Sandbox:
    def __init__(self, house):
        self.house = house

    def running(self):
        """Processes that execute an image of this house's store."""
        pids = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.readlink(f"/proc/{pid}/exe").startswith(f"{self.house.state}/"):
                    pids.append(int(pid))
            except OSError:
                pass  # it has gone meanwhile, or is none of ours
        return sorted(pids)

    def clear(self):
        """Ends all that still runs, with no roomkeyd about."""
        for pid in self.running():
            with contextlib.suppress(ProcessLookupError):
                self.kill(pid)

    def exists(self, pid):
        return os.path.exists(f"/proc/{pid}")

    def kill(self, pid):
        os.kill(pid, signal.SIGKILL)

    def memory(self, pid):
        """Yields all that it can read of its own memory, in pieces."""
        return process_memory(pid)

    def traces(self, workers):
        """Counts of what an instance leaves on the host, and in these workers, when it is not cleaned up."""
        ours = [self.house.orchestrator.pid, *workers]
        return {"memory files": sum("memfd" in line for pid in ours for line in maps(pid))}


class Xen:
    def __init__(self, house):
        self.house = house
        self.prefix = None

    def name(self):
        """What the names of this house's domains begin with: rk-HOUSE-, a number for the state folder."""
        if not self.prefix:
            st = os.stat(self.house.state)
            number = 14695981039346656037
            for part in zip(st.st_dev.to_bytes(8, "little"), st.st_ino.to_bytes(8, "little")):
                for byte in part:
                    number = (number ^ byte) * 1099511628211 % (1 << 64)
            self.prefix = f"rk-{number >> 32:08x}-"
        return self.prefix

    def running(self):
        """Domains of this house, those of its pool too."""
        return sorted(d for d, name in domains().items() if name.startswith(self.name()))

    def clear(self):
        """Destroys all that is still there, with no roomkeyd about; a helper may still be at work on one."""
        end = time.monotonic() + 60
        while left := self.running() if self.house.state.exists() else []:
            assert time.monotonic() < end, f"domains that cannot be destroyed: {left}"
            for domid in left:
                subprocess.run(["xl", "destroy", str(domid)], capture_output=True, check=False)

    def exists(self, domid):
        return domid in domains()

    def kill(self, domid):
        subprocess.run(["xl", "destroy", str(domid)], capture_output=True, check=True)

    def memory(self, domid):
        """Yields all that the domain has as its memory, in pieces."""
        return overlapping(ForeignMemory(domid))

    def traces(self, workers):
        ours = [self.house.orchestrator.pid, *workers]
        return {
            "domains": len(domains()),
            "mapped grants": len(mapped_grants()),
            "event channels of domain 0": len(event_channels()),
            "nodes in xenstore": len(xenstore_nodes()),
            "mappings of grants": sum("gntdev" in line for pid in ours for line in maps(pid)),
        }


def tool(*args):
    return subprocess.run(list(map(str, args)), capture_output=True, text=True, check=True).stdout


def domains():
    """{domid: name}, with those that are dying: their name is (null)."""
    lines = tool("xl", "list").splitlines()[1:]
    return {int(line.split()[1]): line.split()[0] for line in lines}


def mapped_grants():
    """What domain 0 maps of others: Xen's own table, by its debug key."""
    tool("xl", "debug-keys", "g")
    said = tool("xl", "dmesg").rpartition("gnttab_usage_print_all [")[2]
    assert "gnttab_usage_print_all ] done" in said, f"Xen's log has no whole table of grants: {said[-500:]}"
    return re.findall(r"(?m)^\(XEN\)(?: \[ *\d+\.\d+\])? \[0x[0-9a-f]+\] .*$", said)


def event_channels():
    return tool("/usr/lib/xen-4.17/bin/lsevtchn", 0).splitlines()


def xenstore_nodes():
    return tool("xenstore-ls", "-f", "/").splitlines()


# -- memory


class ForeignMemory:
    """A domain's pages, from the first on, to be read like a file."""

    PAGE = 4096

    def __init__(self, domid):
        self.lib = ctypes.CDLL("libxenforeignmemory.so.1", use_errno=True)
        self.lib.xenforeignmemory_open.restype = self.lib.xenforeignmemory_map.restype = ctypes.c_void_p
        self.handle = ctypes.c_void_p(self.lib.xenforeignmemory_open(None, 0))
        assert self.handle, "libxenforeignmemory does not open"
        self.domid, self.next = domid, 0
        self.count = int(tool("xl", "list", domid).splitlines()[1].split()[2]) * (1 << 20) // self.PAGE

    def read(self, size):
        """That many bytes, less at the end; a frame without memory reads as zeros."""
        frames = range(self.next, min(self.next + size // self.PAGE, self.count))
        self.next = frames.stop
        out = bytearray()
        errors = (ctypes.c_int * len(frames))()
        if frames and (memory := self.map(frames, errors)):
            for i, error in enumerate(errors):
                out += bytes(self.PAGE) if error else ctypes.string_at(memory + i * self.PAGE, self.PAGE)
            self.lib.xenforeignmemory_unmap(self.handle, ctypes.c_void_p(memory), ctypes.c_size_t(len(frames)))
        return bytes(out)

    def map(self, frames, errors):
        numbers = (ctypes.c_ulong * len(frames))(*frames)
        memory = self.lib.xenforeignmemory_map(self.handle, ctypes.c_uint32(self.domid), mmap.PROT_READ,
                                               ctypes.c_size_t(len(frames)), numbers, errors)
        assert memory, f"domain {self.domid} cannot be mapped: {os.strerror(ctypes.get_errno())}"
        return memory


PIECE = 1 << 20
OVERLAP = 256  # bytes of one piece that the next one begins with, so that nothing is cut in two


def overlapping(file, left=None):
    kept = b""
    while left is None or left > 0:
        data = file.read(PIECE if left is None else min(PIECE, left))
        if not data:
            return
        left = None if left is None else left - len(data)
        yield kept + data
        kept = data[-OVERLAP:]


def process_memory(pid):
    """Yields all that a process can read of its own memory, in pieces."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps(pid):
            where, rights = line.split()[:2]
            if rights[0] != "r" or "[v" in line:
                continue
            start, end = (int(x, 16) for x in where.split("-"))
            try:
                memory.seek(start)
                yield from overlapping(memory, end - start)
            except (OSError, ValueError, OverflowError):
                pass  # device memory, or gone meanwhile
