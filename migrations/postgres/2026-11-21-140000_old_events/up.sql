-- What was refused at the door need not be kept for ever: a row may go when it is ninety days old. A statement takes
-- rows away (`chancery security-events --forget-before`); nothing is changed, and nothing younger goes.
DROP TRIGGER security_events_append_only ON security_events;
CREATE TRIGGER security_events_append_only BEFORE UPDATE OR TRUNCATE ON security_events
    FOR EACH STATEMENT EXECUTE FUNCTION chancery_append_only();

CREATE FUNCTION chancery_old_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.last_at >= to_char((now() - interval '90 days') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') THEN
        RAISE EXCEPTION 'security_events is append-only for 90 days';
    END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER security_events_old BEFORE DELETE ON security_events
    FOR EACH ROW EXECUTE FUNCTION chancery_old_events();
