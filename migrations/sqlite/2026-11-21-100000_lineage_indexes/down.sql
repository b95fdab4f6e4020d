DROP VIEW audit_overrides;
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
DROP INDEX decisions_by_fingerprint;
DROP INDEX decisions_by_resource;
