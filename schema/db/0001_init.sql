-- Roomkey's registry, version 1. Times are milliseconds UTC since 1970; hashes are SHA-256 in
-- lower-case hex. AUTOINCREMENT where an id must never name two things in turn: it is told to
-- workers, written to logs, and asked for after a restart.

CREATE TABLE image (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT    NOT NULL CHECK (length(name) BETWEEN 1 AND 63),
    version    TEXT    NOT NULL CHECK (length(version) BETWEEN 1 AND 63),
    alpn       TEXT    NOT NULL,
    sha256     TEXT    NOT NULL UNIQUE CHECK (length(sha256) = 64),
    abi        INTEGER NOT NULL,
    memory_kib INTEGER NOT NULL CHECK (memory_kib > 0),
    size       INTEGER NOT NULL CHECK (size > 0),
    added_at   INTEGER NOT NULL,
    UNIQUE (name, version)
) STRICT;

CREATE TABLE tenant (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    name             TEXT    NOT NULL UNIQUE
                             CHECK (length(name) BETWEEN 1 AND 63 AND name NOT GLOB '*[^a-z0-9-]*'),
    suspended        INTEGER NOT NULL DEFAULT 0 CHECK (suspended IN (0, 1)),
    image            INTEGER NOT NULL REFERENCES image, -- what the next start runs
    last_good        INTEGER REFERENCES image,          -- the last one that was ready
    failed_ref       TEXT    NOT NULL DEFAULT '',       -- for display: its image may be gone
    failed_why       TEXT    NOT NULL DEFAULT '',
    failed_at        INTEGER NOT NULL DEFAULT 0,
    memory           INTEGER NOT NULL CHECK (memory >= 0), -- bytes, 0: what the image asks for
    idle_ms          INTEGER NOT NULL CHECK (idle_ms > 0),
    max_connections  INTEGER NOT NULL CHECK (max_connections >= 0), -- 0: no limit
    wake_timeout_ms  INTEGER NOT NULL CHECK (wake_timeout_ms > 0),
    upgrade          TEXT    NOT NULL DEFAULT 'none' CHECK (upgrade IN ('none', 'waiting', 'draining')),
    upgrade_deadline INTEGER NOT NULL DEFAULT 0, -- 0: waits for ever
    generation       INTEGER NOT NULL DEFAULT 0, -- the last one given
    revision         INTEGER NOT NULL,           -- of the route, from route_revision
    created_at       INTEGER NOT NULL
) STRICT;
CREATE INDEX tenant_image ON tenant (image);
CREATE INDEX tenant_last_good ON tenant (last_good);
CREATE INDEX tenant_upgrading ON tenant (id) WHERE upgrade <> 'none';

-- One counter for all tenants: a host name that moves from one tenant to another never meets a
-- revision that a worker has cached for the first.
CREATE TABLE route_revision (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    last INTEGER NOT NULL
) STRICT;
INSERT INTO route_revision VALUES (1, 0);

-- Lower case, no trailing dot; '*.example' stands for one label.
CREATE TABLE hostname (
    name   TEXT    PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 253 AND name = lower(name)),
    tenant INTEGER NOT NULL REFERENCES tenant ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX hostname_tenant ON hostname (tenant);

-- One EC and one RSA certificate of a tenant at most. The files are named by fingerprint and
-- key_id; two rows may share either.
CREATE TABLE certificate (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant      INTEGER NOT NULL REFERENCES tenant ON DELETE CASCADE,
    kind        TEXT    NOT NULL CHECK (kind IN ('EC', 'RSA')),
    key_type    TEXT    NOT NULL, -- 'EC P-256', 'RSA 2048', …
    fingerprint TEXT    NOT NULL CHECK (length(fingerprint) = 64), -- of the leaf
    key_id      TEXT    NOT NULL CHECK (length(key_id) = 64),      -- of the SubjectPublicKeyInfo
    subject     TEXT    NOT NULL,
    names       TEXT    NOT NULL, -- comma-separated
    self_signed INTEGER NOT NULL CHECK (self_signed IN (0, 1)),
    not_before  INTEGER NOT NULL,
    not_after   INTEGER NOT NULL,
    added_at    INTEGER NOT NULL,
    UNIQUE (tenant, kind)
) STRICT;
CREATE INDEX certificate_fingerprint ON certificate (fingerprint);
CREATE INDEX certificate_key_id ON certificate (key_id);

-- The living ones, and the last few of each tenant that have ended. An image that was removed
-- leaves its name here.
CREATE TABLE instance (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant     INTEGER NOT NULL REFERENCES tenant ON DELETE CASCADE,
    image      INTEGER REFERENCES image ON DELETE SET NULL,
    image_ref  TEXT    NOT NULL,
    generation INTEGER NOT NULL,
    ground     TEXT    NOT NULL,
    state      TEXT    NOT NULL
                       CHECK (state IN ('starting', 'ready', 'draining', 'stopping', 'ended')),
    handle     TEXT    NOT NULL DEFAULT '', -- how its backend finds it again
    started_at INTEGER NOT NULL,
    ready_at   INTEGER NOT NULL DEFAULT 0,
    ended_at   INTEGER NOT NULL DEFAULT 0,
    why        TEXT    NOT NULL DEFAULT '',
    UNIQUE (tenant, generation),
    CHECK ((state = 'ended') = (ended_at <> 0))
) STRICT;
CREATE INDEX instance_alive ON instance (id) WHERE state <> 'ended';
CREATE INDEX instance_image ON instance (image);

-- The newest ones. By the tenant's name, not its row: what happened outlives the tenant.
CREATE TABLE event (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    at     INTEGER NOT NULL,
    tenant TEXT    NOT NULL, -- '' for none
    kind   TEXT    NOT NULL,
    text   TEXT    NOT NULL
) STRICT;
CREATE INDEX event_tenant ON event (tenant, id);
