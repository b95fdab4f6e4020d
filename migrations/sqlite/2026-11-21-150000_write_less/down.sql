DROP INDEX decisions_by_fingerprint;
CREATE INDEX decisions_by_fingerprint ON decisions (tenant, (log_index / 4096), execution_fingerprint);

DROP TRIGGER openings_once;
CREATE TRIGGER openings_once BEFORE INSERT ON openings
WHEN NEW.log_index < (SELECT size FROM log_head h WHERE h.tenant = NEW.tenant)
    AND EXISTS (SELECT 1 FROM openings t WHERE t.tenant = NEW.tenant AND t.log_index = NEW.log_index)
BEGIN SELECT RAISE(ABORT, 'openings has this key already'); END;

DROP TRIGGER log_entries_beyond_head;
CREATE TRIGGER log_entries_beyond_head BEFORE INSERT ON log_entries
WHEN NEW.log_index < (SELECT size FROM log_head WHERE tenant = NEW.tenant)
BEGIN
    SELECT RAISE(ABORT, 'log_entries takes indexes beyond the head only');
END;

PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(sql, ' DEFERRABLE INITIALLY DEFERRED', '')
WHERE type = 'table' AND name IN ('log_entries', 'decisions', 'openings');
PRAGMA writable_schema = RESET;
