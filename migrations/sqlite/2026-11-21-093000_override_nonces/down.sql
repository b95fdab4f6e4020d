DROP TRIGGER overrides_once;
DROP INDEX overrides_by_nonce;
ALTER TABLE overrides DROP COLUMN nonce;
CREATE TRIGGER overrides_once BEFORE INSERT ON overrides
WHEN EXISTS (SELECT 1 FROM overrides t WHERE (t.tenant = NEW.tenant AND t.log_index = NEW.log_index) OR (t.tenant = NEW.tenant AND t.record_id = NEW.record_id))
BEGIN SELECT RAISE(ABORT, 'overrides has this key already'); END;
