-- What an approver is shown of a resource, and what executions on the same inputs have in common, is found by these.
-- Times need no index: decisions stand in the log in the order of theirs, give or take a minute.
CREATE INDEX decisions_by_resource ON decisions (tenant, resource, log_index);

-- Not by parts, as in SQLite: what is logged of an index here is the row and not the page, and row-level security keeps
-- the planner from looking for an expression.
CREATE INDEX decisions_by_fingerprint ON decisions (tenant, execution_fingerprint, log_index);

-- Who answered what: the new columns stand behind those that auditors' queries know.
CREATE OR REPLACE VIEW audit_overrides WITH (security_invoker = true) AS
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
    r.resolved_at::timestamptz           AS resolved_at,
    o.resolution            AS answer,
    o.outcome               AS answer_outcome,
    o.reason_code           AS reason_code,
    e.keyid                 AS key_id,
    o.issued_at::timestamptz             AS answered_at,
    o.log_index             AS log_index,
    r.final_outcome         AS final_outcome
FROM decisions d
LEFT JOIN overrides o ON o.tenant = d.tenant AND o.execution_id = d.execution_id
LEFT JOIN log_entries e ON e.tenant = o.tenant AND e.log_index = o.log_index
LEFT JOIN resolutions r ON r.tenant = d.tenant AND r.execution_id = d.execution_id
WHERE d.execution_state = 'pending_override';
