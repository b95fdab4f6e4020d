-- API keys: who may call. The secret is nowhere; `hash` is a keyed hash over it and over the columns that say what
-- the key may do, so that a changed row is no key any more. `roles` are names with a space between them.
CREATE TABLE api_keys (
    tenant     TEXT NOT NULL REFERENCES settings (tenant),
    key_id     TEXT NOT NULL CHECK (length(key_id) = 16),
    principal  TEXT NOT NULL CHECK (principal <> ''),
    roles      TEXT NOT NULL CHECK (roles <> ''),
    hash       TEXT NOT NULL CHECK (length(hash) = 64),
    label      TEXT,
    created_at TEXT NOT NULL,
    created_by TEXT NOT NULL,
    not_before TEXT,
    expires_at TEXT NOT NULL,
    PRIMARY KEY (tenant, key_id)
) STRICT;

CREATE INDEX api_keys_by_end ON api_keys (tenant, expires_at);

-- A key may be revoked again, to an earlier time; the earliest one holds. `number` counts from 1 for each key.
CREATE TABLE api_key_revocations (
    tenant       TEXT NOT NULL,
    key_id       TEXT NOT NULL,
    number       INTEGER NOT NULL CHECK (number >= 1),
    revoked_at   TEXT NOT NULL,
    effective_at TEXT NOT NULL,
    revoked_by   TEXT NOT NULL,
    PRIMARY KEY (tenant, key_id, number),
    FOREIGN KEY (tenant, key_id) REFERENCES api_keys (tenant, key_id)
) STRICT;

-- What was refused at the door: a row for all that was alike within a minute. The order of ids is the order of time.
CREATE TABLE security_events (
    tenant    TEXT NOT NULL REFERENCES settings (tenant),
    event_id  TEXT NOT NULL CHECK (length(event_id) = 32),
    kind      TEXT NOT NULL CHECK (kind IN ('credential', 'tenant', 'role', 'signature', 'dropped')),
    code      TEXT NOT NULL,
    route     TEXT NOT NULL,
    principal TEXT,
    key_id    TEXT,
    address   TEXT,
    first_at  TEXT NOT NULL,
    last_at   TEXT NOT NULL,
    times     INTEGER NOT NULL CHECK (times >= 1),
    PRIMARY KEY (tenant, event_id)
) STRICT;

CREATE TRIGGER api_keys_no_update BEFORE UPDATE ON api_keys BEGIN SELECT RAISE(ABORT, 'api_keys is append-only'); END;
CREATE TRIGGER api_keys_no_delete BEFORE DELETE ON api_keys BEGIN SELECT RAISE(ABORT, 'api_keys is append-only'); END;
CREATE TRIGGER api_key_revocations_no_update BEFORE UPDATE ON api_key_revocations BEGIN SELECT RAISE(ABORT, 'api_key_revocations is append-only'); END;
CREATE TRIGGER api_key_revocations_no_delete BEFORE DELETE ON api_key_revocations BEGIN SELECT RAISE(ABORT, 'api_key_revocations is append-only'); END;
CREATE TRIGGER security_events_no_update BEFORE UPDATE ON security_events BEGIN SELECT RAISE(ABORT, 'security_events is append-only'); END;
CREATE TRIGGER security_events_no_delete BEFORE DELETE ON security_events BEGIN SELECT RAISE(ABORT, 'security_events is append-only'); END;

CREATE TRIGGER api_keys_once BEFORE INSERT ON api_keys
WHEN EXISTS (SELECT 1 FROM api_keys t WHERE t.tenant = NEW.tenant AND t.key_id = NEW.key_id)
BEGIN SELECT RAISE(ABORT, 'api_keys has this key already'); END;
CREATE TRIGGER api_key_revocations_once BEFORE INSERT ON api_key_revocations
WHEN EXISTS (SELECT 1 FROM api_key_revocations t WHERE t.tenant = NEW.tenant AND t.key_id = NEW.key_id AND t.number = NEW.number)
BEGIN SELECT RAISE(ABORT, 'api_key_revocations has this key already'); END;
CREATE TRIGGER security_events_once BEFORE INSERT ON security_events
WHEN EXISTS (SELECT 1 FROM security_events t WHERE t.tenant = NEW.tenant AND t.event_id = NEW.event_id)
BEGIN SELECT RAISE(ABORT, 'security_events has this key already'); END;
