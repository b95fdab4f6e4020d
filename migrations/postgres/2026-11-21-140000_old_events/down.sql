DROP TRIGGER security_events_old ON security_events;
DROP FUNCTION chancery_old_events;
DROP TRIGGER security_events_append_only ON security_events;
CREATE TRIGGER security_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON security_events
    FOR EACH STATEMENT EXECUTE FUNCTION chancery_append_only();
