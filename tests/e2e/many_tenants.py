"""A house with very many tenants: some onboarded as an admin does, the others put into its registry as copies of one of them."""

import sqlite3
from contextlib import closing

DOMAIN = "many.localhost"


def name(i):
    return f"t{i:06}"


def host(i):
    return f"{name(i)}.{DOMAIN}"


class Onboarding:
    """By the admin API; all have one certificate, of a wildcard."""

    def __init__(self, house):
        self.house = house
        house.add_images("probe:1.0.0")
        chain, key = map(str, house.certs.make(f"*.{DOMAIN}"))
        self.wish = {"image": "probe:1.0.0", "cert_file": chain, "key_file": key, "idle_ms": 1000}

    def add(self, i):
        self.house.api("/v1/tenants", {"name": name(i), "hosts": [host(i)], **self.wish})


def copy(house, first, last):
    """Tenants `first` to below `last`, like the newest there is: what onboarding leaves in the registry, less its event.

    While no roomkeyd runs.
    """
    with closing(sqlite3.connect(house.state / "roomkey.db")) as db, db:
        db.execute("PRAGMA foreign_keys = ON")
        (like,) = db.execute("SELECT max(id) FROM tenant").fetchone()

        def columns(table):
            return [row[1] for row in db.execute(f"PRAGMA table_info({table})") if row[1] not in ("id", "name", "tenant")]

        tenant, certificate = ", ".join(columns("tenant")), ", ".join(columns("certificate"))
        for i in range(first, last):
            new = db.execute(f"INSERT INTO tenant (name, {tenant}) SELECT ?, {tenant} FROM tenant WHERE id = ?",
                             (name(i), like)).lastrowid
            db.execute("INSERT INTO hostname (name, tenant) VALUES (?, ?)", (host(i), new))
            db.execute(f"INSERT INTO certificate (tenant, {certificate}) SELECT ?, {certificate} FROM certificate WHERE tenant = ?",
                       (new, like))
