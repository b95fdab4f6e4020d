-- API keys: who may call. The secret is nowhere; `hash` is a keyed hash over it and over the columns that say what
-- the key may do, so that a changed row is no key any more. `roles` are names with a space between them.
CREATE TABLE api_keys (
    tenant     TEXT COLLATE "C" NOT NULL REFERENCES settings (tenant),
    key_id     TEXT COLLATE "C" NOT NULL CHECK (length(key_id) = 16),
    principal  TEXT COLLATE "C" NOT NULL CHECK (principal <> ''),
    roles      TEXT COLLATE "C" NOT NULL CHECK (roles <> ''),
    hash       TEXT COLLATE "C" NOT NULL CHECK (length(hash) = 64),
    label      TEXT COLLATE "C",
    created_at TEXT COLLATE "C" NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL,
    not_before TEXT COLLATE "C",
    expires_at TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, key_id)
);

CREATE INDEX api_keys_by_end ON api_keys (tenant, expires_at);

-- A key may be revoked again, to an earlier time; the earliest one holds. `number` counts from 1 for each key.
CREATE TABLE api_key_revocations (
    tenant       TEXT COLLATE "C" NOT NULL,
    key_id       TEXT COLLATE "C" NOT NULL,
    number       BIGINT NOT NULL CHECK (number >= 1),
    revoked_at   TEXT COLLATE "C" NOT NULL,
    effective_at TEXT COLLATE "C" NOT NULL,
    revoked_by   TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, key_id, number),
    FOREIGN KEY (tenant, key_id) REFERENCES api_keys (tenant, key_id)
);

-- What was refused at the door: a row for all that was alike within a minute. The order of ids is the order of time.
CREATE TABLE security_events (
    tenant    TEXT COLLATE "C" NOT NULL REFERENCES settings (tenant),
    event_id  TEXT COLLATE "C" NOT NULL CHECK (length(event_id) = 32),
    kind      TEXT COLLATE "C" NOT NULL CHECK (kind IN ('credential', 'tenant', 'role', 'signature', 'dropped')),
    code      TEXT COLLATE "C" NOT NULL,
    route     TEXT COLLATE "C" NOT NULL,
    principal TEXT COLLATE "C",
    key_id    TEXT COLLATE "C",
    address   TEXT COLLATE "C",
    first_at  TEXT COLLATE "C" NOT NULL,
    last_at   TEXT COLLATE "C" NOT NULL,
    times     BIGINT NOT NULL CHECK (times >= 1),
    PRIMARY KEY (tenant, event_id)
);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['api_keys', 'api_key_revocations', 'security_events'] LOOP
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE UPDATE OR DELETE OR TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION chancery_append_only()',
            name || '_append_only', name);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY own_tenant ON %I USING (tenant = current_setting(''chancery.tenant'', true)) WITH CHECK (tenant = current_setting(''chancery.tenant'', true))',
            name);
    END LOOP;
END $$;
