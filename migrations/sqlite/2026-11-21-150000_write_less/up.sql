-- What a batch of decisions makes SQLite write, and copy while it does.
--
-- A statement that may fail midway has to be undone alone. For that SQLite keeps a copy of each page that it changes, and
-- an insert with a trigger counts as such a statement when anything in it may abort: a constraint, a foreign key that is
-- not deferred, RAISE(ABORT), a function. The log writer gives up its whole transaction when a row is refused, so for its
-- three tables that is what happens: foreign keys hold when the transaction is committed, and a refusal rolls it back.
-- The inserts say OR ROLLBACK. Nothing else is needed but that functions are not called; those of the CHECKs are left
-- out by the program's connections, and hold for all others.
--
-- A table's foreign keys can only be changed in its text. It is changed as SQLite's documentation of ALTER TABLE says for
-- what does not concern the rows; the statements below give the schema a new number.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema
SET sql = replace(sql, 'REFERENCES settings (tenant)', 'REFERENCES settings (tenant) DEFERRABLE INITIALLY DEFERRED')
WHERE type = 'table' AND name IN ('log_entries', 'decisions');
UPDATE sqlite_schema
SET sql = replace(sql, 'REFERENCES decisions (tenant, log_index)', 'REFERENCES decisions (tenant, log_index) DEFERRABLE INITIALLY DEFERRED')
WHERE type = 'table' AND name = 'openings';
PRAGMA writable_schema = RESET;

DROP TRIGGER log_entries_beyond_head;
CREATE TRIGGER log_entries_beyond_head BEFORE INSERT ON log_entries
WHEN NEW.log_index < (SELECT size FROM log_head WHERE tenant = NEW.tenant)
BEGIN
    SELECT RAISE(ROLLBACK, 'log_entries takes indexes beyond the head only');
END;

DROP TRIGGER openings_once;
CREATE TRIGGER openings_once BEFORE INSERT ON openings
WHEN NEW.log_index < (SELECT size FROM log_head h WHERE h.tenant = NEW.tenant)
    AND EXISTS (SELECT 1 FROM openings t WHERE t.tenant = NEW.tenant AND t.log_index = NEW.log_index)
BEGIN SELECT RAISE(ROLLBACK, 'openings has this key already'); END;

-- Shorter parts: fingerprints in any order make 50 decisions change some 8 pages of 8 KiB, where parts of 4,096 entries
-- made it 21. Not a part of the fingerprint alone: that is a function's value, and a function may abort.
DROP INDEX decisions_by_fingerprint;
CREATE INDEX decisions_by_fingerprint ON decisions (tenant, (log_index / 1024), execution_fingerprint);
