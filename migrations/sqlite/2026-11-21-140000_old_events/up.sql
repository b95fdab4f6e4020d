-- What was refused at the door need not be kept for ever: a row may go when it is ninety days old. A statement takes
-- rows away (`chancery security-events --forget-before`); nothing is changed, and nothing younger goes.
DROP TRIGGER security_events_no_delete;
CREATE TRIGGER security_events_no_delete BEFORE DELETE ON security_events
WHEN OLD.last_at >= strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', '-90 days')
BEGIN SELECT RAISE(ABORT, 'security_events is append-only for 90 days'); END;
