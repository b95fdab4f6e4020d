DROP INDEX overrides_by_nonce;
ALTER TABLE overrides DROP COLUMN nonce;
