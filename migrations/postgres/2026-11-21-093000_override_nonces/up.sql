-- A nonce is used once in a log. Until now no program could log an override, so no row goes without one.
ALTER TABLE overrides ADD COLUMN nonce TEXT COLLATE "C" CHECK (length(nonce) = 32);

CREATE UNIQUE INDEX overrides_by_nonce ON overrides (tenant, nonce);
