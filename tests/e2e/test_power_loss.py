"""What is acknowledged must be on the disk: of a power cut SIGKILL says nothing, since the kernel keeps what it was given.

roomkeyd, and the helper that it starts, are watched by strace from an empty state folder on.  When a command is
acknowledged, every file that its rows name has been synced after its last write, its folder after the file had its name, the
folders above likewise, and the registry's log after all of these.  It takes a sync at its word.

Seen to fail: without the fsync() of the folder above in make_folder() (files.c), of the file or of the folder in keep()
(image_store.c), with DB_LAZY in registry_image_add(), without the syncs of folders in install_work() (cert_import.c) or of files
in fill() (keyimport.c).
"""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from house import BUILD, DEADLINE
from ledger import Ledger

pytestmark = [
    pytest.mark.only_on("sandbox", "registry and stores are the same on every ground"),
    pytest.mark.not_sanitized("the helper has no environment that would tell it to look for no leaks while it is traced"),
]

SEEN = "write,pwrite64,fsync,fdatasync,rename,renameat,mkdir,ftruncate"
DONE = re.compile(r"^\d+ +(?:<\.\.\. )?(\w+)(?:\((.*)| resumed>(.*))$")


class Disk:
    """When, by the number of a line, each path was written, named and synced last."""

    def __init__(self, state):
        self.state, self.written, self.named, self.synced, self.log = str(state), {}, {}, {}, []

    def read(self, lines):
        begun = {}
        for at, line in enumerate(lines):
            thread = line.split(" ", 1)[0]
            match = DONE.match(line)
            if not match:
                continue
            name, text = match.group(1), match.group(2) or ""
            if "<unfinished" in text:  # a write counts from its end, a sync for what was written before its begin
                begun[thread] = (at, text)
                continue
            since, text = begun.pop(thread, (at, text)) if match.group(2) is None else (at, text)
            if not line.rstrip().endswith("= -1 EEXIST (File exists)"):
                self.take(name, text, since, at)

    def take(self, name, text, since, at):
        if name == "mkdir":
            path = re.search(r'"([^"]+)"', text).group(1)
            self.named[path] = at
            return
        folder = re.match(r"\d+<([^>]*)>", text)
        if name == "renameat":
            old, new = re.findall(r'<([^>]*)>, "([^"]+)"', text)
            old, new = "/".join(old), "/".join(new)
            self.written[new], self.synced[new] = self.written.pop(old, at), self.synced.pop(old, -1)
            self.named[new] = at
        elif folder and folder.group(1).startswith(self.state):
            (self.synced if "sync" in name else self.written)[folder.group(1)] = since if "sync" in name else at

    def kept_since(self, path):
        """The line after which the file is on the disk, with its name and all above it; the first thing that is missing
        ends the test."""
        assert self.synced.get(path, -1) > self.written.get(path, -1), f"{path}: written, not synced"
        last = self.synced[path]
        while path != self.state:
            above = path.rpartition("/")[0]
            assert self.synced.get(above, -1) > self.named.get(path, -1), f"{path}: its name is not synced in {above}"
            last = max(last, self.named.get(path, -1))
            path = above
        return last


def files_of(house, ledger):
    rows = ledger.rows("SELECT fingerprint, key_id FROM certificate")
    return ([f"{house.state}/images/sha256/{sha}" for sha, in ledger.rows("SELECT sha256 FROM image")]
            + [f"{house.state}/certs/{f}.pem" for f, _ in rows] + [f"{house.state}/keys/{k}.pem" for _, k in rows])


def test_what_is_acknowledged_is_on_the_disk(make_house):
    with tempfile.TemporaryDirectory(prefix="roomkey-programs-") as folder, tempfile.NamedTemporaryFile("r") as log:
        programs = Path(folder)
        for program in ("roomkeyd", "roomkey-front", "roomkey-keyimport"):
            shutil.copy(BUILD / "bin" / program, programs / program)
        (programs / "roomkeyd").rename(programs / "real")
        # The helper lies beside the program that runs, whatever its name.
        (programs / "roomkeyd").write_text(f"#!/bin/sh\nexec {shutil.which('strace')} -f -y -s 4 -e signal=none"
                                           f' -e trace={SEEN} -o {log.name} {programs}/real "$@"\n')
        (programs / "roomkeyd").chmod(0o755)
        house = make_house(programs=programs, config={"limits": {"channels": 1}})
        ledger = Ledger(house)
        wal = f"{house.state}/roomkey.db-wal"

        def add(*command):
            house.cli(*command)
            disk = Disk(house.state)
            disk.read(log.seek(0) or log.read().splitlines())
            kept = max(map(disk.kept_since, files_of(house, ledger)))
            disk.kept_since(f"{house.state}/roomkey.db")
            assert disk.synced[wal] > max(disk.written[wal], kept), f"{command}: acknowledged before its commit was synced"

        chain, key = house.certs.make("acme.localhost")
        images = BUILD / "images"
        add("image", "add", "probe:1.0.0", images / "probe-1.0.0.img")
        add("tenant", "add", "acme", "--image", "probe:1.0.0", "--host", "acme.localhost", "--cert", chain, "--key", key)
        add("tenant", "add", "own", "--image", "probe:1.0.0", "--host", "own.localhost", "--self-signed")
        chain, key = house.certs.make("acme.localhost")
        add("cert", "set", "acme", "--cert", chain, "--key", key)
        add("tenant", "set", "acme", "--idle", "50s")
        tracer = house.orchestrator.pid
        os.kill(int(Path(f"/proc/{tracer}/task/{tracer}/children").read_text().split()[0]), signal.SIGTERM)
        house.orchestrator.process.wait(DEADLINE)
