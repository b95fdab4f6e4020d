-- A nonce is used once in a log. Until now no program could log an override, so no row goes without one.
ALTER TABLE overrides ADD COLUMN nonce TEXT CHECK (length(nonce) = 32);

CREATE UNIQUE INDEX overrides_by_nonce ON overrides (tenant, nonce);

-- SQLite's INSERT OR REPLACE deletes without asking the other triggers, so the new key is refused here, too.
DROP TRIGGER overrides_once;
CREATE TRIGGER overrides_once BEFORE INSERT ON overrides
WHEN EXISTS (SELECT 1 FROM overrides t WHERE (t.tenant = NEW.tenant AND t.log_index = NEW.log_index) OR (t.tenant = NEW.tenant AND t.record_id = NEW.record_id) OR (t.tenant = NEW.tenant AND t.nonce = NEW.nonce))
BEGIN SELECT RAISE(ABORT, 'overrides has this key already'); END;
