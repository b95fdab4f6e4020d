-- Chancery's tables, version 1.
--
-- Every table leads with the tenant and every unique key contains it. Hashes are lowercase hex text, times are
-- RFC 3339 text in UTC with six fraction digits (so that text order is time order), and what was signed is kept
-- as a blob with its exact bytes. Rows are inserted and never changed: the triggers at the end say so.

-- Which log this file holds. One row: a SQLite file has one tenant.
CREATE TABLE settings (
    tenant      TEXT NOT NULL PRIMARY KEY CHECK (tenant <> ''),
    log_origin  TEXT NOT NULL,
    environment TEXT NOT NULL CHECK (environment IN ('production', 'test')),
    created_at  TEXT NOT NULL
) STRICT;

CREATE TRIGGER settings_one_row BEFORE INSERT ON settings
WHEN EXISTS (SELECT 1 FROM settings)
BEGIN
    SELECT RAISE(ABORT, 'settings holds one row: a file has one tenant');
END;

-- Where the log stands. The one row that moves, and it moves forward only.
-- `frontier`: the roots of the complete subtrees of the tree, largest first, 64 hex digits each.
-- `newest_claimed_at`: the newest time that a runtime-signed entry claims.
CREATE TABLE log_head (
    tenant            TEXT    NOT NULL PRIMARY KEY REFERENCES settings (tenant),
    size              INTEGER NOT NULL CHECK (size >= 0),
    root_hash         TEXT    NOT NULL CHECK (length(root_hash) = 64),
    chain_hash        TEXT    NOT NULL CHECK (length(chain_hash) = 64),
    frontier          TEXT    NOT NULL CHECK (length(frontier) % 64 = 0),
    newest_claimed_at TEXT
) STRICT, WITHOUT ROWID;

CREATE TRIGGER log_head_moves_forward BEFORE UPDATE ON log_head
WHEN NEW.tenant <> OLD.tenant OR NEW.size <= OLD.size
BEGIN
    SELECT RAISE(ABORT, 'log_head moves forward only');
END;

-- Every record: the signed payload, its first signature (a keyring alone has more: log_signatures).
CREATE TABLE log_entries (
    tenant      TEXT    NOT NULL REFERENCES settings (tenant),
    log_index   INTEGER NOT NULL CHECK (log_index >= 0),
    kind        INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 9),
    record_id   TEXT    NOT NULL CHECK (length(record_id) = 64),
    leaf_hash   TEXT    NOT NULL CHECK (length(leaf_hash) = 64),
    claimed_at  TEXT    NOT NULL,
    recorded_at TEXT    NOT NULL,
    keyid       TEXT    NOT NULL,
    signature   BLOB    NOT NULL,
    payload     BLOB    NOT NULL,
    PRIMARY KEY (tenant, log_index)
) STRICT;

-- The signatures of an envelope from the second on.
CREATE TABLE log_signatures (
    tenant    TEXT    NOT NULL,
    log_index INTEGER NOT NULL,
    position  INTEGER NOT NULL CHECK (position >= 1),
    keyid     TEXT    NOT NULL,
    signature BLOB    NOT NULL,
    PRIMARY KEY (tenant, log_index, position),
    FOREIGN KEY (tenant, log_index) REFERENCES log_entries (tenant, log_index)
) STRICT, WITHOUT ROWID;

-- Full tiles of 256 hashes (8,192 bytes), and the root over each. Partial tiles are derived: at level 0 from the
-- leaf hashes, above from the roots of the full tiles one level below.
CREATE TABLE log_tiles (
    tenant     TEXT    NOT NULL REFERENCES settings (tenant),
    level      INTEGER NOT NULL CHECK (level >= 0),
    tile_index INTEGER NOT NULL CHECK (tile_index >= 0),
    root_hash  TEXT    NOT NULL CHECK (length(root_hash) = 64),
    hashes     BLOB    NOT NULL CHECK (length(hashes) = 8192),
    PRIMARY KEY (tenant, level, tile_index)
) STRICT;

-- What is needed to find a decision; `labels` is a JSON object. Its statement is the payload in log_entries.
CREATE TABLE decisions (
    tenant                TEXT    NOT NULL REFERENCES settings (tenant),
    log_index             INTEGER NOT NULL,
    execution_id          TEXT    NOT NULL,
    execution_fingerprint TEXT    NOT NULL CHECK (length(execution_fingerprint) = 64),
    policy_id             TEXT    NOT NULL,
    policy_version        TEXT    NOT NULL,
    bundle_hash           TEXT    NOT NULL CHECK (length(bundle_hash) = 64),
    outcome               TEXT    NOT NULL,
    execution_state       TEXT    NOT NULL CHECK (execution_state IN ('completed', 'pending_override', 'blocked')),
    executed_at           TEXT    NOT NULL,
    principal             TEXT    NOT NULL,
    resource              TEXT    NOT NULL,
    signals_root          TEXT    NOT NULL CHECK (length(signals_root) = 64),
    build_identity        TEXT    CHECK (length(build_identity) = 64),
    labels                TEXT,
    PRIMARY KEY (tenant, log_index),
    UNIQUE (execution_id, tenant) -- in this order it serves auditors' queries by execution id, too
) STRICT, WITHOUT ROWID;

CREATE INDEX decisions_open_cases ON decisions (tenant, execution_state, log_index)
    WHERE execution_state <> 'completed';

-- Encrypted openings: the only place with signal values. AES-256-GCM; the data key comes from the tenant's
-- opening key and the salt. A row goes only in the transaction that logs its erasure.
CREATE TABLE openings (
    tenant     TEXT    NOT NULL,
    log_index  INTEGER NOT NULL,
    salt       BLOB    NOT NULL CHECK (length(salt) = 32),
    nonce      BLOB    NOT NULL CHECK (length(nonce) = 12),
    ciphertext BLOB    NOT NULL,
    partial    INTEGER NOT NULL CHECK (partial IN (0, 1)),
    PRIMARY KEY (tenant, log_index),
    FOREIGN KEY (tenant, log_index) REFERENCES decisions (tenant, log_index)
) STRICT, WITHOUT ROWID;

-- Published bundles, whether in force or not. A version never changes its content.
CREATE TABLE bundles (
    tenant         TEXT NOT NULL REFERENCES settings (tenant),
    policy_id      TEXT NOT NULL,
    policy_version TEXT NOT NULL,
    bundle_hash    TEXT NOT NULL CHECK (length(bundle_hash) = 64),
    sum            BLOB NOT NULL,
    signature      BLOB NOT NULL,
    published_at   TEXT NOT NULL,
    PRIMARY KEY (tenant, policy_id, policy_version),
    UNIQUE (tenant, bundle_hash)
) STRICT;

CREATE TABLE bundle_files (
    tenant      TEXT NOT NULL,
    bundle_hash TEXT NOT NULL,
    path        TEXT NOT NULL,
    content     BLOB NOT NULL,
    PRIMARY KEY (tenant, bundle_hash, path),
    FOREIGN KEY (tenant, bundle_hash) REFERENCES bundles (tenant, bundle_hash)
) STRICT;

CREATE TABLE activations (
    tenant         TEXT    NOT NULL,
    log_index      INTEGER NOT NULL,
    record_id      TEXT    NOT NULL CHECK (length(record_id) = 64),
    policy_id      TEXT    NOT NULL,
    policy_version TEXT    NOT NULL,
    bundle_hash    TEXT    NOT NULL,
    previous       TEXT,
    activated_at   TEXT    NOT NULL,
    requested_by   TEXT    NOT NULL,
    reason         TEXT    NOT NULL,
    PRIMARY KEY (tenant, log_index),
    UNIQUE (tenant, record_id),
    FOREIGN KEY (tenant, log_index) REFERENCES log_entries (tenant, log_index),
    FOREIGN KEY (tenant, policy_id, policy_version) REFERENCES bundles (tenant, policy_id, policy_version),
    FOREIGN KEY (tenant, bundle_hash) REFERENCES bundles (tenant, bundle_hash)
) STRICT, WITHOUT ROWID;

CREATE TABLE keyrings (
    tenant     TEXT    NOT NULL,
    version    INTEGER NOT NULL CHECK (version >= 1),
    log_index  INTEGER NOT NULL,
    record_id  TEXT    NOT NULL CHECK (length(record_id) = 64),
    issued_at  TEXT    NOT NULL,
    expires_at TEXT    NOT NULL,
    PRIMARY KEY (tenant, version),
    UNIQUE (tenant, log_index),
    FOREIGN KEY (tenant, log_index) REFERENCES log_entries (tenant, log_index)
) STRICT;

CREATE TABLE build_identities (
    tenant         TEXT    NOT NULL,
    log_index      INTEGER NOT NULL,
    payload_sha256 TEXT    NOT NULL CHECK (length(payload_sha256) = 64),
    binary_sha256  TEXT    NOT NULL CHECK (length(binary_sha256) = 64),
    signature      BLOB    NOT NULL,
    sbom           BLOB,
    PRIMARY KEY (tenant, log_index),
    UNIQUE (tenant, payload_sha256),
    FOREIGN KEY (tenant, log_index) REFERENCES log_entries (tenant, log_index)
) STRICT;

CREATE TABLE overrides (
    tenant                TEXT    NOT NULL,
    log_index             INTEGER NOT NULL,
    record_id             TEXT    NOT NULL CHECK (length(record_id) = 64),
    execution_id          TEXT    NOT NULL,
    execution_fingerprint TEXT    NOT NULL CHECK (length(execution_fingerprint) = 64),
    approver              TEXT    NOT NULL,
    role                  TEXT    NOT NULL,
    resolution            TEXT    NOT NULL CHECK (resolution IN ('approve', 'reject')),
    outcome               TEXT,
    reason                TEXT    NOT NULL,
    reason_code           TEXT    NOT NULL,
    issued_at             TEXT    NOT NULL,
    expires_at            TEXT    NOT NULL,
    PRIMARY KEY (tenant, log_index),
    UNIQUE (tenant, record_id),
    FOREIGN KEY (tenant, log_index) REFERENCES log_entries (tenant, log_index),
    FOREIGN KEY (tenant, execution_id) REFERENCES decisions (tenant, execution_id)
) STRICT;

CREATE INDEX overrides_by_execution ON overrides (tenant, execution_id);

CREATE TABLE resolutions (
    tenant                TEXT    NOT NULL,
    log_index             INTEGER NOT NULL,
    execution_id          TEXT    NOT NULL,
    execution_fingerprint TEXT    NOT NULL CHECK (length(execution_fingerprint) = 64),
    resolution            TEXT    NOT NULL CHECK (resolution IN ('approved', 'rejected', 'expired')),
    final_outcome         TEXT    NOT NULL,
    resolved_at           TEXT    NOT NULL,
    PRIMARY KEY (tenant, log_index),
    UNIQUE (tenant, execution_id),
    FOREIGN KEY (tenant, log_index) REFERENCES log_entries (tenant, log_index),
    FOREIGN KEY (tenant, execution_id) REFERENCES decisions (tenant, execution_id)
) STRICT;

-- The three answers are 1 (pass), 0 (fail) or null (could not be checked, or not asked).
CREATE TABLE verifications (
    tenant                TEXT    NOT NULL,
    log_index             INTEGER NOT NULL,
    execution_id          TEXT    NOT NULL,
    execution_fingerprint TEXT    NOT NULL CHECK (length(execution_fingerprint) = 64),
    verdict               TEXT    NOT NULL CHECK (verdict IN ('verified', 'failed', 'incomplete')),
    signature_verified    INTEGER CHECK (signature_verified IN (0, 1)),
    runtime_verified      INTEGER CHECK (runtime_verified IN (0, 1)),
    schema_compatible     INTEGER CHECK (schema_compatible IN (0, 1)),
    verified_at           TEXT    NOT NULL,
    verifier              TEXT    NOT NULL,
    PRIMARY KEY (tenant, log_index),
    FOREIGN KEY (tenant, log_index) REFERENCES log_entries (tenant, log_index),
    FOREIGN KEY (tenant, execution_id) REFERENCES decisions (tenant, execution_id)
) STRICT;

CREATE INDEX verifications_by_execution ON verifications (tenant, execution_id, log_index);

CREATE TABLE confirmations (
    tenant                TEXT    NOT NULL,
    log_index             INTEGER NOT NULL,
    execution_id          TEXT    NOT NULL,
    execution_fingerprint TEXT    NOT NULL CHECK (length(execution_fingerprint) = 64),
    outcome               TEXT    NOT NULL,
    reference             TEXT    NOT NULL,
    executed_at           TEXT    NOT NULL,
    confirmed_at          TEXT    NOT NULL,
    confirmed_by          TEXT    NOT NULL,
    PRIMARY KEY (tenant, log_index),
    UNIQUE (tenant, execution_id),
    FOREIGN KEY (tenant, log_index) REFERENCES log_entries (tenant, log_index),
    FOREIGN KEY (tenant, execution_id) REFERENCES decisions (tenant, execution_id)
) STRICT;

-- `fields`: null for all of them, else a JSON list of names.
CREATE TABLE erasures (
    tenant       TEXT    NOT NULL,
    log_index    INTEGER NOT NULL,
    basis        TEXT    NOT NULL,
    fields       TEXT,
    erased_at    TEXT    NOT NULL,
    requested_by TEXT    NOT NULL,
    PRIMARY KEY (tenant, log_index),
    FOREIGN KEY (tenant, log_index) REFERENCES log_entries (tenant, log_index)
) STRICT;

CREATE TABLE erasure_subjects (
    tenant         TEXT    NOT NULL,
    execution_id   TEXT    NOT NULL,
    log_index      INTEGER NOT NULL,
    decision_index INTEGER NOT NULL,
    PRIMARY KEY (tenant, execution_id, log_index),
    FOREIGN KEY (tenant, log_index) REFERENCES erasures (tenant, log_index),
    FOREIGN KEY (tenant, execution_id) REFERENCES decisions (tenant, execution_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX erasure_subjects_by_decision ON erasure_subjects (tenant, decision_index, log_index);

-- Signed tree heads, each with the cosignatures that it was published with.
CREATE TABLE checkpoints (
    tenant     TEXT    NOT NULL REFERENCES settings (tenant),
    size       INTEGER NOT NULL CHECK (size >= 1),
    root_hash  TEXT    NOT NULL CHECK (length(root_hash) = 64),
    note       BLOB    NOT NULL,
    created_at TEXT    NOT NULL,
    PRIMARY KEY (tenant, size)
) STRICT;

-- The tenant's secret keys, wrapped by the vault's.
CREATE TABLE tenant_keys (
    tenant     TEXT NOT NULL REFERENCES settings (tenant),
    purpose    TEXT NOT NULL CHECK (purpose <> ''),
    wrapped    BLOB NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (tenant, purpose)
) STRICT;

-- A case for every decision that policy refers to people, a row for every statement of an approver (one row
-- without an approver while there is none). `resolution_status` is the case's, not the single statement's.
CREATE VIEW audit_overrides AS
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
    lower(hex(e.signature)) AS override_signature,
    d.executed_at           AS requested_at,
    r.resolved_at           AS resolved_at
FROM decisions d
LEFT JOIN overrides o ON o.tenant = d.tenant AND o.execution_id = d.execution_id
LEFT JOIN log_entries e ON e.tenant = o.tenant AND e.log_index = o.log_index
LEFT JOIN resolutions r ON r.tenant = d.tenant AND r.execution_id = d.execution_id
WHERE d.execution_state = 'pending_override';

CREATE VIEW audit_verifications AS
SELECT
    v.tenant                AS tenant,
    v.execution_id          AS execution_id,
    v.execution_fingerprint AS execution_fingerprint,
    CASE v.verdict WHEN 'verified' THEN 1 WHEN 'failed' THEN 0 END AS valid,
    v.signature_verified    AS signature_verified,
    v.runtime_verified      AS runtime_verified,
    v.schema_compatible     AS schema_compatible,
    v.verified_at           AS verified_at
FROM verifications v;

-- The newest verification of each decision is the one that is shown.
CREATE VIEW audit_decisions AS
SELECT
    d.tenant                AS tenant,
    d.execution_id          AS execution_id,
    d.execution_fingerprint AS execution_fingerprint,
    d.outcome               AS decision,
    CASE WHEN r.execution_id IS NULL THEN d.execution_state ELSE 'completed' END AS execution_state,
    d.executed_at           AS executed_at,
    d.policy_id             AS policy_id,
    d.policy_version        AS policy_version,
    'https://chancery.dev/decision/v1' AS schema_version,
    json_extract(CAST(e.payload AS TEXT), '$.predicate.runtime.version') AS runtime_version,
    json_extract(CAST(e.payload AS TEXT), '$.predicate.runtime.binary')  AS runtime_hash,
    d.bundle_hash           AS bundle_hash,
    d.signals_root          AS signals_hash,
    lower(hex(e.signature)) AS signature,
    CAST(e.payload AS TEXT) AS attestation,
    e.recorded_at           AS recorded_at,
    CASE v.verdict WHEN 'verified' THEN 1 WHEN 'failed' THEN 0 END AS verification_valid,
    v.signature_verified    AS signature_verified,
    v.runtime_verified      AS runtime_verified,
    v.schema_compatible     AS schema_compatible,
    v.verified_at           AS verified_at
FROM decisions d
JOIN log_entries e ON e.tenant = d.tenant AND e.log_index = d.log_index
LEFT JOIN resolutions r ON r.tenant = d.tenant AND r.execution_id = d.execution_id
LEFT JOIN verifications v ON v.tenant = d.tenant AND v.log_index = (
    SELECT max(n.log_index) FROM verifications n
    WHERE n.tenant = d.tenant AND n.execution_id = d.execution_id
);

-- Entries leave no gap: an index is taken only at or beyond the head, which moves in the same transaction.
CREATE TRIGGER log_entries_beyond_head BEFORE INSERT ON log_entries
WHEN NEW.log_index < (SELECT size FROM log_head WHERE tenant = NEW.tenant)
BEGIN
    SELECT RAISE(ABORT, 'log_entries takes indexes beyond the head only');
END;

-- The same for decisions, and an execution id is taken once. Such a row is passed over, so that the writer sees by
-- the number of rows whether the id was free, without a look-up of its own. One trigger, since it runs for each.
CREATE TRIGGER decisions_once BEFORE INSERT ON decisions
WHEN NEW.log_index < (SELECT size FROM log_head WHERE tenant = NEW.tenant)
    OR EXISTS (SELECT 1 FROM decisions WHERE tenant = NEW.tenant AND execution_id = NEW.execution_id)
BEGIN
    SELECT RAISE(IGNORE);
END;

-- An erasure logged in this very transaction lies at or beyond the head, which moves at its end.
CREATE TRIGGER openings_delete BEFORE DELETE ON openings
WHEN NOT EXISTS (
    SELECT 1 FROM erasure_subjects s JOIN log_head h ON h.tenant = s.tenant
    WHERE s.tenant = OLD.tenant AND s.decision_index = OLD.log_index AND s.log_index >= h.size
)
BEGIN
    SELECT RAISE(ABORT, 'openings goes only with an erasure that is logged in the same transaction');
END;

-- Nothing is ever changed.
CREATE TRIGGER settings_no_update BEFORE UPDATE ON settings BEGIN SELECT RAISE(ABORT, 'settings is append-only'); END;
CREATE TRIGGER settings_no_delete BEFORE DELETE ON settings BEGIN SELECT RAISE(ABORT, 'settings is append-only'); END;
CREATE TRIGGER log_head_no_delete BEFORE DELETE ON log_head BEGIN SELECT RAISE(ABORT, 'log_head is append-only'); END;
CREATE TRIGGER log_entries_no_update BEFORE UPDATE ON log_entries BEGIN SELECT RAISE(ABORT, 'log_entries is append-only'); END;
CREATE TRIGGER log_entries_no_delete BEFORE DELETE ON log_entries BEGIN SELECT RAISE(ABORT, 'log_entries is append-only'); END;
CREATE TRIGGER log_signatures_no_update BEFORE UPDATE ON log_signatures BEGIN SELECT RAISE(ABORT, 'log_signatures is append-only'); END;
CREATE TRIGGER log_signatures_no_delete BEFORE DELETE ON log_signatures BEGIN SELECT RAISE(ABORT, 'log_signatures is append-only'); END;
CREATE TRIGGER log_tiles_no_update BEFORE UPDATE ON log_tiles BEGIN SELECT RAISE(ABORT, 'log_tiles is append-only'); END;
CREATE TRIGGER log_tiles_no_delete BEFORE DELETE ON log_tiles BEGIN SELECT RAISE(ABORT, 'log_tiles is append-only'); END;
CREATE TRIGGER decisions_no_update BEFORE UPDATE ON decisions BEGIN SELECT RAISE(ABORT, 'decisions is append-only'); END;
CREATE TRIGGER decisions_no_delete BEFORE DELETE ON decisions BEGIN SELECT RAISE(ABORT, 'decisions is append-only'); END;
CREATE TRIGGER openings_no_update BEFORE UPDATE ON openings BEGIN SELECT RAISE(ABORT, 'openings is append-only'); END;
CREATE TRIGGER bundles_no_update BEFORE UPDATE ON bundles BEGIN SELECT RAISE(ABORT, 'bundles is append-only'); END;
CREATE TRIGGER bundles_no_delete BEFORE DELETE ON bundles BEGIN SELECT RAISE(ABORT, 'bundles is append-only'); END;
CREATE TRIGGER bundle_files_no_update BEFORE UPDATE ON bundle_files BEGIN SELECT RAISE(ABORT, 'bundle_files is append-only'); END;
CREATE TRIGGER bundle_files_no_delete BEFORE DELETE ON bundle_files BEGIN SELECT RAISE(ABORT, 'bundle_files is append-only'); END;
CREATE TRIGGER activations_no_update BEFORE UPDATE ON activations BEGIN SELECT RAISE(ABORT, 'activations is append-only'); END;
CREATE TRIGGER activations_no_delete BEFORE DELETE ON activations BEGIN SELECT RAISE(ABORT, 'activations is append-only'); END;
CREATE TRIGGER keyrings_no_update BEFORE UPDATE ON keyrings BEGIN SELECT RAISE(ABORT, 'keyrings is append-only'); END;
CREATE TRIGGER keyrings_no_delete BEFORE DELETE ON keyrings BEGIN SELECT RAISE(ABORT, 'keyrings is append-only'); END;
CREATE TRIGGER build_identities_no_update BEFORE UPDATE ON build_identities BEGIN SELECT RAISE(ABORT, 'build_identities is append-only'); END;
CREATE TRIGGER build_identities_no_delete BEFORE DELETE ON build_identities BEGIN SELECT RAISE(ABORT, 'build_identities is append-only'); END;
CREATE TRIGGER overrides_no_update BEFORE UPDATE ON overrides BEGIN SELECT RAISE(ABORT, 'overrides is append-only'); END;
CREATE TRIGGER overrides_no_delete BEFORE DELETE ON overrides BEGIN SELECT RAISE(ABORT, 'overrides is append-only'); END;
CREATE TRIGGER resolutions_no_update BEFORE UPDATE ON resolutions BEGIN SELECT RAISE(ABORT, 'resolutions is append-only'); END;
CREATE TRIGGER resolutions_no_delete BEFORE DELETE ON resolutions BEGIN SELECT RAISE(ABORT, 'resolutions is append-only'); END;
CREATE TRIGGER verifications_no_update BEFORE UPDATE ON verifications BEGIN SELECT RAISE(ABORT, 'verifications is append-only'); END;
CREATE TRIGGER verifications_no_delete BEFORE DELETE ON verifications BEGIN SELECT RAISE(ABORT, 'verifications is append-only'); END;
CREATE TRIGGER confirmations_no_update BEFORE UPDATE ON confirmations BEGIN SELECT RAISE(ABORT, 'confirmations is append-only'); END;
CREATE TRIGGER confirmations_no_delete BEFORE DELETE ON confirmations BEGIN SELECT RAISE(ABORT, 'confirmations is append-only'); END;
CREATE TRIGGER erasures_no_update BEFORE UPDATE ON erasures BEGIN SELECT RAISE(ABORT, 'erasures is append-only'); END;
CREATE TRIGGER erasures_no_delete BEFORE DELETE ON erasures BEGIN SELECT RAISE(ABORT, 'erasures is append-only'); END;
CREATE TRIGGER erasure_subjects_no_update BEFORE UPDATE ON erasure_subjects BEGIN SELECT RAISE(ABORT, 'erasure_subjects is append-only'); END;
CREATE TRIGGER erasure_subjects_no_delete BEFORE DELETE ON erasure_subjects BEGIN SELECT RAISE(ABORT, 'erasure_subjects is append-only'); END;
CREATE TRIGGER checkpoints_no_update BEFORE UPDATE ON checkpoints BEGIN SELECT RAISE(ABORT, 'checkpoints is append-only'); END;
CREATE TRIGGER checkpoints_no_delete BEFORE DELETE ON checkpoints BEGIN SELECT RAISE(ABORT, 'checkpoints is append-only'); END;
CREATE TRIGGER tenant_keys_no_update BEFORE UPDATE ON tenant_keys BEGIN SELECT RAISE(ABORT, 'tenant_keys is append-only'); END;
CREATE TRIGGER tenant_keys_no_delete BEFORE DELETE ON tenant_keys BEGIN SELECT RAISE(ABORT, 'tenant_keys is append-only'); END;

-- SQLite's INSERT OR REPLACE deletes without asking the triggers above, so a key that is taken is refused first.
CREATE TRIGGER log_head_once BEFORE INSERT ON log_head
WHEN EXISTS (SELECT 1 FROM log_head t WHERE (t.tenant = NEW.tenant))
BEGIN SELECT RAISE(ABORT, 'log_head has this key already'); END;
CREATE TRIGGER log_signatures_once BEFORE INSERT ON log_signatures
WHEN EXISTS (SELECT 1 FROM log_signatures t WHERE (t.tenant = NEW.tenant AND t.log_index = NEW.log_index AND t.position = NEW.position))
BEGIN SELECT RAISE(ABORT, 'log_signatures has this key already'); END;
CREATE TRIGGER log_tiles_once BEFORE INSERT ON log_tiles
WHEN EXISTS (SELECT 1 FROM log_tiles t WHERE (t.tenant = NEW.tenant AND t.level = NEW.level AND t.tile_index = NEW.tile_index))
BEGIN SELECT RAISE(ABORT, 'log_tiles has this key already'); END;
CREATE TRIGGER openings_once BEFORE INSERT ON openings
WHEN NEW.log_index < (SELECT size FROM log_head h WHERE h.tenant = NEW.tenant)
    AND EXISTS (SELECT 1 FROM openings t WHERE t.tenant = NEW.tenant AND t.log_index = NEW.log_index)
BEGIN SELECT RAISE(ABORT, 'openings has this key already'); END;
CREATE TRIGGER bundles_once BEFORE INSERT ON bundles
WHEN EXISTS (SELECT 1 FROM bundles t WHERE (t.tenant = NEW.tenant AND t.policy_id = NEW.policy_id AND t.policy_version = NEW.policy_version) OR (t.tenant = NEW.tenant AND t.bundle_hash = NEW.bundle_hash))
BEGIN SELECT RAISE(ABORT, 'bundles has this key already'); END;
CREATE TRIGGER bundle_files_once BEFORE INSERT ON bundle_files
WHEN EXISTS (SELECT 1 FROM bundle_files t WHERE (t.tenant = NEW.tenant AND t.bundle_hash = NEW.bundle_hash AND t.path = NEW.path))
BEGIN SELECT RAISE(ABORT, 'bundle_files has this key already'); END;
CREATE TRIGGER activations_once BEFORE INSERT ON activations
WHEN EXISTS (SELECT 1 FROM activations t WHERE (t.tenant = NEW.tenant AND t.log_index = NEW.log_index) OR (t.tenant = NEW.tenant AND t.record_id = NEW.record_id))
BEGIN SELECT RAISE(ABORT, 'activations has this key already'); END;
CREATE TRIGGER keyrings_once BEFORE INSERT ON keyrings
WHEN EXISTS (SELECT 1 FROM keyrings t WHERE (t.tenant = NEW.tenant AND t.version = NEW.version) OR (t.tenant = NEW.tenant AND t.log_index = NEW.log_index))
BEGIN SELECT RAISE(ABORT, 'keyrings has this key already'); END;
CREATE TRIGGER build_identities_once BEFORE INSERT ON build_identities
WHEN EXISTS (SELECT 1 FROM build_identities t WHERE (t.tenant = NEW.tenant AND t.log_index = NEW.log_index) OR (t.tenant = NEW.tenant AND t.payload_sha256 = NEW.payload_sha256))
BEGIN SELECT RAISE(ABORT, 'build_identities has this key already'); END;
CREATE TRIGGER overrides_once BEFORE INSERT ON overrides
WHEN EXISTS (SELECT 1 FROM overrides t WHERE (t.tenant = NEW.tenant AND t.log_index = NEW.log_index) OR (t.tenant = NEW.tenant AND t.record_id = NEW.record_id))
BEGIN SELECT RAISE(ABORT, 'overrides has this key already'); END;
CREATE TRIGGER resolutions_once BEFORE INSERT ON resolutions
WHEN EXISTS (SELECT 1 FROM resolutions t WHERE (t.tenant = NEW.tenant AND t.log_index = NEW.log_index) OR (t.tenant = NEW.tenant AND t.execution_id = NEW.execution_id))
BEGIN SELECT RAISE(ABORT, 'resolutions has this key already'); END;
CREATE TRIGGER verifications_once BEFORE INSERT ON verifications
WHEN EXISTS (SELECT 1 FROM verifications t WHERE (t.tenant = NEW.tenant AND t.log_index = NEW.log_index))
BEGIN SELECT RAISE(ABORT, 'verifications has this key already'); END;
CREATE TRIGGER confirmations_once BEFORE INSERT ON confirmations
WHEN EXISTS (SELECT 1 FROM confirmations t WHERE (t.tenant = NEW.tenant AND t.log_index = NEW.log_index) OR (t.tenant = NEW.tenant AND t.execution_id = NEW.execution_id))
BEGIN SELECT RAISE(ABORT, 'confirmations has this key already'); END;
CREATE TRIGGER erasures_once BEFORE INSERT ON erasures
WHEN EXISTS (SELECT 1 FROM erasures t WHERE (t.tenant = NEW.tenant AND t.log_index = NEW.log_index))
BEGIN SELECT RAISE(ABORT, 'erasures has this key already'); END;
CREATE TRIGGER erasure_subjects_once BEFORE INSERT ON erasure_subjects
WHEN EXISTS (SELECT 1 FROM erasure_subjects t WHERE (t.tenant = NEW.tenant AND t.execution_id = NEW.execution_id AND t.log_index = NEW.log_index))
BEGIN SELECT RAISE(ABORT, 'erasure_subjects has this key already'); END;
CREATE TRIGGER checkpoints_once BEFORE INSERT ON checkpoints
WHEN EXISTS (SELECT 1 FROM checkpoints t WHERE (t.tenant = NEW.tenant AND t.size = NEW.size))
BEGIN SELECT RAISE(ABORT, 'checkpoints has this key already'); END;
CREATE TRIGGER tenant_keys_once BEFORE INSERT ON tenant_keys
WHEN EXISTS (SELECT 1 FROM tenant_keys t WHERE (t.tenant = NEW.tenant AND t.purpose = NEW.purpose))
BEGIN SELECT RAISE(ABORT, 'tenant_keys has this key already'); END;
