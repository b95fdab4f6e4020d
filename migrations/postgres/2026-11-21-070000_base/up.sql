-- Chancery's tables, version 1, for PostgreSQL: those of the folder of the same name for SQLite.
--
-- Every table leads with the tenant and every unique key contains it, so that the schema distributes by tenant as it is.
-- Hashes are lowercase hex text, times are RFC 3339 text in UTC with six fraction digits (the text that was signed;
-- in the collation "C" text order is time order), and what was signed is kept with its exact bytes. Rows are inserted
-- and never changed: the triggers at the end say so, and row-level security keeps tenants apart.
--
-- The tables that every decision writes (log_entries, decisions, openings) have no foreign keys: the log writer holds
-- the head's row lock and checks as much in bulk, and `fsck` checks it again.

-- Which logs the database holds, one for each tenant.
CREATE TABLE settings (
    tenant      TEXT COLLATE "C" NOT NULL PRIMARY KEY CHECK (tenant <> ''),
    log_origin  TEXT COLLATE "C" NOT NULL,
    environment TEXT COLLATE "C" NOT NULL CHECK (environment IN ('production', 'test')),
    created_at  TEXT COLLATE "C" NOT NULL
);

-- Where the log stands. The one row that moves, and it moves forward only.
-- `frontier`: the roots of the complete subtrees of the tree, largest first, 64 hex digits each.
-- `newest_claimed_at`: the newest time that a runtime-signed entry claims.
CREATE TABLE log_head (
    tenant            TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES settings (tenant),
    size              BIGINT NOT NULL CHECK (size >= 0),
    root_hash         TEXT COLLATE "C" NOT NULL CHECK (length(root_hash) = 64),
    chain_hash        TEXT COLLATE "C" NOT NULL CHECK (length(chain_hash) = 64),
    frontier          TEXT COLLATE "C" NOT NULL CHECK (length(frontier) % 64 = 0),
    newest_claimed_at TEXT COLLATE "C"
);

-- Every record: the signed payload, its first signature (a keyring alone has more: log_signatures).
CREATE TABLE log_entries (
    tenant      TEXT COLLATE "C" NOT NULL,
    log_index   BIGINT NOT NULL CHECK (log_index >= 0),
    kind        INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 9),
    record_id   TEXT COLLATE "C" NOT NULL CHECK (length(record_id) = 64),
    leaf_hash   TEXT COLLATE "C" NOT NULL CHECK (length(leaf_hash) = 64),
    claimed_at  TEXT COLLATE "C" NOT NULL,
    recorded_at TEXT COLLATE "C" NOT NULL,
    keyid       TEXT COLLATE "C" NOT NULL,
    signature   BYTEA NOT NULL,
    payload     BYTEA NOT NULL,
    PRIMARY KEY (tenant, log_index)
);

-- The signatures of an envelope from the second on.
CREATE TABLE log_signatures (
    tenant    TEXT COLLATE "C" NOT NULL,
    log_index BIGINT NOT NULL,
    position  BIGINT NOT NULL CHECK (position >= 1),
    keyid     TEXT COLLATE "C" NOT NULL,
    signature BYTEA NOT NULL,
    PRIMARY KEY (tenant, log_index, position),
    FOREIGN KEY (tenant, log_index) REFERENCES log_entries (tenant, log_index)
);

-- Full tiles of 256 hashes (8,192 bytes), and the root over each. Partial tiles are derived: at level 0 from the
-- leaf hashes, above from the roots of the full tiles one level below.
CREATE TABLE log_tiles (
    tenant     TEXT COLLATE "C" NOT NULL REFERENCES settings (tenant),
    level      INTEGER NOT NULL CHECK (level >= 0),
    tile_index BIGINT NOT NULL CHECK (tile_index >= 0),
    root_hash  TEXT COLLATE "C" NOT NULL CHECK (length(root_hash) = 64),
    hashes     BYTEA NOT NULL CHECK (length(hashes) = 8192),
    PRIMARY KEY (tenant, level, tile_index)
);

-- What is needed to find a decision; `labels` is a JSON object. Its statement is the payload in log_entries.
CREATE TABLE decisions (
    tenant                TEXT COLLATE "C" NOT NULL,
    log_index             BIGINT NOT NULL,
    execution_id          TEXT COLLATE "C" NOT NULL,
    execution_fingerprint TEXT COLLATE "C" NOT NULL CHECK (length(execution_fingerprint) = 64),
    policy_id             TEXT COLLATE "C" NOT NULL,
    policy_version        TEXT COLLATE "C" NOT NULL,
    bundle_hash           TEXT COLLATE "C" NOT NULL CHECK (length(bundle_hash) = 64),
    outcome               TEXT COLLATE "C" NOT NULL,
    execution_state       TEXT COLLATE "C" NOT NULL CHECK (execution_state IN ('completed', 'pending_override', 'blocked')),
    executed_at           TEXT COLLATE "C" NOT NULL,
    principal             TEXT COLLATE "C" NOT NULL,
    resource              TEXT COLLATE "C" NOT NULL,
    signals_root          TEXT COLLATE "C" NOT NULL CHECK (length(signals_root) = 64),
    build_identity        TEXT COLLATE "C" CHECK (length(build_identity) = 64),
    labels                TEXT COLLATE "C",
    PRIMARY KEY (tenant, log_index),
    UNIQUE (tenant, execution_id)
);

CREATE INDEX decisions_open_cases ON decisions (tenant, execution_state, log_index)
    WHERE execution_state <> 'completed';

-- Encrypted openings: the only place with signal values. AES-256-GCM; the data key comes from the tenant's
-- opening key and the salt. A row goes only in the transaction that logs its erasure.
CREATE TABLE openings (
    tenant     TEXT COLLATE "C" NOT NULL,
    log_index  BIGINT NOT NULL,
    salt       BYTEA NOT NULL CHECK (length(salt) = 32),
    nonce      BYTEA NOT NULL CHECK (length(nonce) = 12),
    ciphertext BYTEA NOT NULL,
    partial    BOOLEAN NOT NULL,
    PRIMARY KEY (tenant, log_index)
);

-- Published bundles, whether in force or not. A version never changes its content.
CREATE TABLE bundles (
    tenant         TEXT COLLATE "C" NOT NULL REFERENCES settings (tenant),
    policy_id      TEXT COLLATE "C" NOT NULL,
    policy_version TEXT COLLATE "C" NOT NULL,
    bundle_hash    TEXT COLLATE "C" NOT NULL CHECK (length(bundle_hash) = 64),
    sum            BYTEA NOT NULL,
    signature      BYTEA NOT NULL,
    published_at   TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, policy_id, policy_version),
    UNIQUE (tenant, bundle_hash)
);

CREATE TABLE bundle_files (
    tenant      TEXT COLLATE "C" NOT NULL,
    bundle_hash TEXT COLLATE "C" NOT NULL,
    path        TEXT COLLATE "C" NOT NULL,
    content     BYTEA NOT NULL,
    PRIMARY KEY (tenant, bundle_hash, path),
    FOREIGN KEY (tenant, bundle_hash) REFERENCES bundles (tenant, bundle_hash)
);

CREATE TABLE activations (
    tenant         TEXT COLLATE "C" NOT NULL,
    log_index      BIGINT NOT NULL,
    record_id      TEXT COLLATE "C" NOT NULL CHECK (length(record_id) = 64),
    policy_id      TEXT COLLATE "C" NOT NULL,
    policy_version TEXT COLLATE "C" NOT NULL,
    bundle_hash    TEXT COLLATE "C" NOT NULL,
    previous       TEXT COLLATE "C",
    activated_at   TEXT COLLATE "C" NOT NULL,
    requested_by   TEXT COLLATE "C" NOT NULL,
    reason         TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, log_index),
    UNIQUE (tenant, record_id),
    FOREIGN KEY (tenant, log_index) REFERENCES log_entries (tenant, log_index),
    FOREIGN KEY (tenant, policy_id, policy_version) REFERENCES bundles (tenant, policy_id, policy_version),
    FOREIGN KEY (tenant, bundle_hash) REFERENCES bundles (tenant, bundle_hash)
);

CREATE TABLE keyrings (
    tenant     TEXT COLLATE "C" NOT NULL,
    version    BIGINT NOT NULL CHECK (version >= 1),
    log_index  BIGINT NOT NULL,
    record_id  TEXT COLLATE "C" NOT NULL CHECK (length(record_id) = 64),
    issued_at  TEXT COLLATE "C" NOT NULL,
    expires_at TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, version),
    UNIQUE (tenant, log_index),
    FOREIGN KEY (tenant, log_index) REFERENCES log_entries (tenant, log_index)
);

CREATE TABLE build_identities (
    tenant         TEXT COLLATE "C" NOT NULL,
    log_index      BIGINT NOT NULL,
    payload_sha256 TEXT COLLATE "C" NOT NULL CHECK (length(payload_sha256) = 64),
    binary_sha256  TEXT COLLATE "C" NOT NULL CHECK (length(binary_sha256) = 64),
    signature      BYTEA NOT NULL,
    sbom           BYTEA,
    PRIMARY KEY (tenant, log_index),
    UNIQUE (tenant, payload_sha256),
    FOREIGN KEY (tenant, log_index) REFERENCES log_entries (tenant, log_index)
);

CREATE TABLE overrides (
    tenant                TEXT COLLATE "C" NOT NULL,
    log_index             BIGINT NOT NULL,
    record_id             TEXT COLLATE "C" NOT NULL CHECK (length(record_id) = 64),
    execution_id          TEXT COLLATE "C" NOT NULL,
    execution_fingerprint TEXT COLLATE "C" NOT NULL CHECK (length(execution_fingerprint) = 64),
    approver              TEXT COLLATE "C" NOT NULL,
    role                  TEXT COLLATE "C" NOT NULL,
    resolution            TEXT COLLATE "C" NOT NULL CHECK (resolution IN ('approve', 'reject')),
    outcome               TEXT COLLATE "C",
    reason                TEXT COLLATE "C" NOT NULL,
    reason_code           TEXT COLLATE "C" NOT NULL,
    issued_at             TEXT COLLATE "C" NOT NULL,
    expires_at            TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, log_index),
    UNIQUE (tenant, record_id),
    FOREIGN KEY (tenant, log_index) REFERENCES log_entries (tenant, log_index),
    FOREIGN KEY (tenant, execution_id) REFERENCES decisions (tenant, execution_id)
);

CREATE INDEX overrides_by_execution ON overrides (tenant, execution_id);

CREATE TABLE resolutions (
    tenant                TEXT COLLATE "C" NOT NULL,
    log_index             BIGINT NOT NULL,
    execution_id          TEXT COLLATE "C" NOT NULL,
    execution_fingerprint TEXT COLLATE "C" NOT NULL CHECK (length(execution_fingerprint) = 64),
    resolution            TEXT COLLATE "C" NOT NULL CHECK (resolution IN ('approved', 'rejected', 'expired')),
    final_outcome         TEXT COLLATE "C" NOT NULL,
    resolved_at           TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, log_index),
    UNIQUE (tenant, execution_id),
    FOREIGN KEY (tenant, log_index) REFERENCES log_entries (tenant, log_index),
    FOREIGN KEY (tenant, execution_id) REFERENCES decisions (tenant, execution_id)
);

-- The three answers are 1 (pass), 0 (fail) or null (could not be checked, or not asked).
CREATE TABLE verifications (
    tenant                TEXT COLLATE "C" NOT NULL,
    log_index             BIGINT NOT NULL,
    execution_id          TEXT COLLATE "C" NOT NULL,
    execution_fingerprint TEXT COLLATE "C" NOT NULL CHECK (length(execution_fingerprint) = 64),
    verdict               TEXT COLLATE "C" NOT NULL CHECK (verdict IN ('verified', 'failed', 'incomplete')),
    signature_verified    BOOLEAN,
    runtime_verified      BOOLEAN,
    schema_compatible     BOOLEAN,
    verified_at           TEXT COLLATE "C" NOT NULL,
    verifier              TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, log_index),
    FOREIGN KEY (tenant, log_index) REFERENCES log_entries (tenant, log_index),
    FOREIGN KEY (tenant, execution_id) REFERENCES decisions (tenant, execution_id)
);

CREATE INDEX verifications_by_execution ON verifications (tenant, execution_id, log_index);

CREATE TABLE confirmations (
    tenant                TEXT COLLATE "C" NOT NULL,
    log_index             BIGINT NOT NULL,
    execution_id          TEXT COLLATE "C" NOT NULL,
    execution_fingerprint TEXT COLLATE "C" NOT NULL CHECK (length(execution_fingerprint) = 64),
    outcome               TEXT COLLATE "C" NOT NULL,
    reference             TEXT COLLATE "C" NOT NULL,
    executed_at           TEXT COLLATE "C" NOT NULL,
    confirmed_at          TEXT COLLATE "C" NOT NULL,
    confirmed_by          TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, log_index),
    UNIQUE (tenant, execution_id),
    FOREIGN KEY (tenant, log_index) REFERENCES log_entries (tenant, log_index),
    FOREIGN KEY (tenant, execution_id) REFERENCES decisions (tenant, execution_id)
);

-- `fields`: null for all of them, else a JSON list of names.
CREATE TABLE erasures (
    tenant       TEXT COLLATE "C" NOT NULL,
    log_index    BIGINT NOT NULL,
    basis        TEXT COLLATE "C" NOT NULL,
    fields       TEXT COLLATE "C",
    erased_at    TEXT COLLATE "C" NOT NULL,
    requested_by TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, log_index),
    FOREIGN KEY (tenant, log_index) REFERENCES log_entries (tenant, log_index)
);

CREATE TABLE erasure_subjects (
    tenant         TEXT COLLATE "C" NOT NULL,
    execution_id   TEXT COLLATE "C" NOT NULL,
    log_index      BIGINT NOT NULL,
    decision_index BIGINT NOT NULL,
    PRIMARY KEY (tenant, execution_id, log_index),
    FOREIGN KEY (tenant, log_index) REFERENCES erasures (tenant, log_index),
    FOREIGN KEY (tenant, execution_id) REFERENCES decisions (tenant, execution_id)
);

CREATE INDEX erasure_subjects_by_decision ON erasure_subjects (tenant, decision_index, log_index);

-- Signed tree heads, each with the cosignatures that it was published with.
CREATE TABLE checkpoints (
    tenant     TEXT COLLATE "C" NOT NULL REFERENCES settings (tenant),
    size       BIGINT NOT NULL CHECK (size >= 1),
    root_hash  TEXT COLLATE "C" NOT NULL CHECK (length(root_hash) = 64),
    note       BYTEA NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, size)
);

-- The tenant's secret keys, wrapped by the vault's.
CREATE TABLE tenant_keys (
    tenant     TEXT COLLATE "C" NOT NULL REFERENCES settings (tenant),
    purpose    TEXT COLLATE "C" NOT NULL CHECK (purpose <> ''),
    wrapped    BYTEA NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, purpose)
);

-- A case for every decision that policy refers to people, a row for every statement of an approver (one row
-- without an approver while there is none). `resolution_status` is the case's, not the single statement's.
CREATE VIEW audit_overrides WITH (security_invoker = true) AS
SELECT
    d.tenant                AS tenant,
    d.execution_id          AS execution_id,
    d.execution_fingerprint AS execution_fingerprint,
    d.policy_id             AS policy_id,
    d.policy_version        AS policy_version,
    o.approver              AS approved_by,
    o.role                  AS approver_role,
    coalesce(r.resolution, 'pending') AS resolution_status,
    o.reason                AS reason,
    encode(e.signature, 'hex') AS override_signature,
    d.executed_at::timestamptz           AS requested_at,
    r.resolved_at::timestamptz           AS resolved_at
FROM decisions d
LEFT JOIN overrides o ON o.tenant = d.tenant AND o.execution_id = d.execution_id
LEFT JOIN log_entries e ON e.tenant = o.tenant AND e.log_index = o.log_index
LEFT JOIN resolutions r ON r.tenant = d.tenant AND r.execution_id = d.execution_id
WHERE d.execution_state = 'pending_override';

CREATE VIEW audit_verifications WITH (security_invoker = true) AS
SELECT
    v.tenant                AS tenant,
    v.execution_id          AS execution_id,
    v.execution_fingerprint AS execution_fingerprint,
    CASE v.verdict WHEN 'verified' THEN true WHEN 'failed' THEN false END AS valid,
    v.signature_verified    AS signature_verified,
    v.runtime_verified      AS runtime_verified,
    v.schema_compatible     AS schema_compatible,
    v.verified_at::timestamptz           AS verified_at
FROM verifications v;

-- The newest verification of each decision is the one that is shown.
CREATE VIEW audit_decisions WITH (security_invoker = true) AS
SELECT
    d.tenant                AS tenant,
    d.execution_id          AS execution_id,
    d.execution_fingerprint AS execution_fingerprint,
    d.outcome               AS decision,
    CASE WHEN r.execution_id IS NULL THEN d.execution_state ELSE 'completed' END AS execution_state,
    d.executed_at::timestamptz           AS executed_at,
    d.policy_id             AS policy_id,
    d.policy_version        AS policy_version,
    'https://chancery.dev/decision/v1' AS schema_version,
    convert_from(e.payload, 'UTF8')::jsonb #>> '{predicate,runtime,version}' AS runtime_version,
    convert_from(e.payload, 'UTF8')::jsonb #>> '{predicate,runtime,binary}' AS runtime_hash,
    d.bundle_hash           AS bundle_hash,
    d.signals_root          AS signals_hash,
    encode(e.signature, 'hex') AS signature,
    convert_from(e.payload, 'UTF8') AS attestation,
    e.recorded_at::timestamptz           AS recorded_at,
    CASE v.verdict WHEN 'verified' THEN true WHEN 'failed' THEN false END AS verification_valid,
    v.signature_verified    AS signature_verified,
    v.runtime_verified      AS runtime_verified,
    v.schema_compatible     AS schema_compatible,
    v.verified_at::timestamptz           AS verified_at
FROM decisions d
JOIN log_entries e ON e.tenant = d.tenant AND e.log_index = d.log_index
LEFT JOIN resolutions r ON r.tenant = d.tenant AND r.execution_id = d.execution_id
LEFT JOIN verifications v ON v.tenant = d.tenant AND v.log_index = (
    SELECT max(n.log_index) FROM verifications n
    WHERE n.tenant = d.tenant AND n.execution_id = d.execution_id
);

-- Entries leave no gap: an index is taken only at or beyond the head, which moves in the same transaction.
CREATE FUNCTION chancery_beyond_head() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM added a JOIN log_head h ON h.tenant = a.tenant WHERE a.log_index < h.size) THEN
        RAISE EXCEPTION '% takes indexes beyond the head only', TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER log_entries_beyond_head AFTER INSERT ON log_entries
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION chancery_beyond_head();
CREATE TRIGGER decisions_beyond_head AFTER INSERT ON decisions
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION chancery_beyond_head();

CREATE FUNCTION chancery_head_moves_forward() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.tenant <> OLD.tenant OR NEW.size <= OLD.size THEN
        RAISE EXCEPTION 'log_head moves forward only';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER log_head_moves_forward BEFORE UPDATE ON log_head
    FOR EACH ROW EXECUTE FUNCTION chancery_head_moves_forward();

-- An erasure logged in this very transaction lies at or beyond the head, which moves at its end.
CREATE FUNCTION chancery_openings_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM erasure_subjects s JOIN log_head h ON h.tenant = s.tenant
        WHERE s.tenant = OLD.tenant AND s.decision_index = OLD.log_index AND s.log_index >= h.size
    ) THEN
        RAISE EXCEPTION 'openings goes only with an erasure that is logged in the same transaction';
    END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER openings_delete BEFORE DELETE ON openings
    FOR EACH ROW EXECUTE FUNCTION chancery_openings_delete();

-- Nothing is ever changed.
CREATE FUNCTION chancery_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END $$;
CREATE TRIGGER log_head_no_delete BEFORE DELETE OR TRUNCATE ON log_head
    FOR EACH STATEMENT EXECUTE FUNCTION chancery_append_only();
CREATE TRIGGER openings_no_update BEFORE UPDATE OR TRUNCATE ON openings
    FOR EACH STATEMENT EXECUTE FUNCTION chancery_append_only();

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['settings', 'log_entries', 'log_signatures', 'log_tiles', 'decisions', 'bundles', 'bundle_files', 'activations', 'keyrings', 'build_identities', 'overrides', 'resolutions', 'verifications', 'confirmations', 'erasures', 'erasure_subjects', 'checkpoints', 'tenant_keys'] LOOP
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE UPDATE OR DELETE OR TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION chancery_append_only()',
            name || '_append_only', name);
    END LOOP;
    -- A connection sees the rows of the tenant that it names, the owner's connections too.
    FOREACH name IN ARRAY ARRAY['settings', 'log_head', 'log_entries', 'log_signatures', 'log_tiles', 'decisions', 'openings', 'bundles', 'bundle_files', 'activations', 'keyrings', 'build_identities', 'overrides', 'resolutions', 'verifications', 'confirmations', 'erasures', 'erasure_subjects', 'checkpoints', 'tenant_keys'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY own_tenant ON %I USING (tenant = current_setting(''chancery.tenant'', true)) WITH CHECK (tenant = current_setting(''chancery.tenant'', true))',
            name);
    END LOOP;
END $$;
