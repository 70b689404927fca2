"""What a house has written down, and whether all the places that say so agree: registry, files, machines."""

import hashlib
import os
import re
import sqlite3
import ssl
import subprocess
from pathlib import Path

from house import until

KEPT = ("roomkey.db", "roomkey.db-wal", "roomkey.db-shm", "roomkeyd.lock", "images", "certs", "keys", "logs")


class Ledger:
    def __init__(self, house):
        self.house = house
        self.known = set()  # files whose content was looked at; their names say what it is, and never change

    def rows(self, sql):
        with sqlite3.connect(f"file:{self.house.state}/roomkey.db?mode=ro", uri=True) as db:
            found = db.execute(sql).fetchall()
        db.close()
        return found

    def wishes(self):
        """All that admins asked for; what roomkeyd notes by itself (generations, events, times) is not in it."""
        tenants = self.rows(
            "SELECT t.name, t.suspended, i.name || ':' || i.version, t.memory, t.idle_ms, t.max_connections, t.wake_timeout_ms,"
            " (SELECT group_concat(name) FROM (SELECT name FROM hostname h WHERE h.tenant = t.id ORDER BY name)),"
            " (SELECT group_concat(x) FROM (SELECT kind || fingerprint || key_id AS x FROM certificate c WHERE c.tenant = t.id ORDER BY kind))"
            " FROM tenant t JOIN image i ON i.id = t.image ORDER BY t.name")
        return {"tenants": {t[0]: t[1:] for t in tenants},
                "images": dict(self.rows("SELECT name || ':' || version, sha256 FROM image"))}

    def check(self, strays=True):
        """Fails when two places do not agree.  Needs a roomkeyd that runs, and no command under way.
        strays: also when there are files that nobody needs."""
        self.check_registry()
        self.check_images(strays)
        self.check_keys(strays)
        strays = sorted(set(os.listdir(self.house.state)) - set(KEPT))
        assert not strays, f"in the state folder: {strays}"
        until(self.machines_agree, lambda: f"rows and machines agree: {self.machines()}")

    def check_registry(self):
        assert self.rows("PRAGMA integrity_check") == [("ok",)]
        assert self.rows("PRAGMA foreign_key_check") == []
        broken = {
            "a tenant without a host name": "SELECT name FROM tenant WHERE id NOT IN (SELECT tenant FROM hostname)",
            "a tenant without a certificate": "SELECT name FROM tenant WHERE id NOT IN (SELECT tenant FROM certificate)",
            "a generation that was not given": "SELECT n.id FROM instance n JOIN tenant t ON t.id = n.tenant WHERE n.generation > t.generation",
            "a revision that was not given": "SELECT name FROM tenant WHERE revision > (SELECT last FROM route_revision)",
            "a revision of two tenants": "SELECT revision FROM tenant GROUP BY revision HAVING count(*) > 1",
            "more ended instances than are kept": "SELECT tenant FROM instance WHERE state = 'ended' GROUP BY tenant HAVING count(*) > 5",
            "a living instance without its image": "SELECT id FROM instance WHERE state <> 'ended' AND image IS NULL",
        }
        for what, sql in broken.items():
            assert self.rows(sql) == [], what

    def check_images(self, strays):
        folder = self.house.state / "images" / "sha256"
        rows = dict(self.rows("SELECT sha256, size FROM image"))
        there = set(os.listdir(folder))
        assert there >= set(rows) if not strays else there == set(rows), f"images: stray {there - set(rows)}, missing {set(rows) - there}"
        for name in set(rows) - self.known:
            data = (folder / name).read_bytes()
            assert len(data) == rows[name] and hashlib.sha256(data).hexdigest() == name, f"image {name}"
            self.known.add(name)

    def check_keys(self, strays):
        rows = self.rows("SELECT fingerprint, key_id FROM certificate")
        for folder, names in (("certs", {f for f, _ in rows}), ("keys", {k for _, k in rows})):
            there = {name.removesuffix(".pem") for name in os.listdir(self.house.state / folder)}
            assert there >= names if not strays else there == names, f"{folder}: stray {there - names}, missing {names - there}"
        for cert, key in rows:
            if cert in self.known:
                continue
            chain = (self.house.state / "certs" / f"{cert}.pem").read_text()
            leaf = ssl.PEM_cert_to_DER_cert(chain[:chain.index("-----END") + len("-----END CERTIFICATE-----")])
            assert hashlib.sha256(leaf).hexdigest() == cert
            path = self.house.state / "keys" / f"{key}.pem"
            public = subprocess.run(["openssl", "pkey", "-in", path, "-pubout", "-outform", "DER"], capture_output=True, check=True)
            assert hashlib.sha256(public.stdout).hexdigest() == key
            assert path.stat().st_mode & 0o777 == 0o600
            self.known.add(cert)

    def machines(self):
        """(what the rows say runs, what runs, what roomkeyd says that it has)"""
        handles = [h for h, in self.rows("SELECT handle FROM instance WHERE state <> 'ended'")]
        said = [int(re.match(r"(?:pid|domid)=(\d+)", h).group(1)) if h else 0 for h in handles]
        return sorted(said), self.house.machines.running(), sorted(i["id"] for i in self.house.instances())

    def machines_agree(self):
        said, running, _ = self.machines()
        return said == running and len(self.house.instances()) == len(running) and not self.strays()

    def strays(self):
        """Processes of this house that are no instance and no program that we started."""
        ours = {d.pid for d in self.house.daemons}
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                exe = os.readlink(f"/proc/{pid}/exe")
                parent = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
            except (OSError, IndexError):
                continue
            if os.path.basename(exe) == "roomkeyd" and int(pid) not in ours and parent not in ours and bytes(self.house.dir) in line:
                found.append((int(pid), exe))
        return found
