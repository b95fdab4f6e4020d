-- A role for servers that owns nothing: it inserts rows, moves the heads of logs and the leases, and cannot drop the
-- triggers that refuse everything else. Run it as the role that owns the tables, after `chancery db migrate`, and once
-- more after each later migration. Put the role's name in the place of `chancery_node`.
--
-- As the database's administrator, before: CREATE ROLE chancery_node LOGIN;
GRANT USAGE ON SCHEMA public TO chancery_node;
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO chancery_node;
REVOKE INSERT ON __diesel_schema_migrations FROM chancery_node;
-- The rows that move.
GRANT UPDATE ON log_head, leases TO chancery_node;
-- A trigger lets an opening go only together with its erasure.
GRANT DELETE ON openings TO chancery_node;
-- Another lets events go that are older than ninety days.
GRANT DELETE ON security_events TO chancery_node;
