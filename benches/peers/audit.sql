-- An audit table with a hash chain that a trigger makes: what is written by hand where there is no product.
-- Each row's hash is SHA-256 over the hash before it and the row. Who holds the chain's lock appends, until it commits.
--
--   audit        the head is a row of its own that each insert locks and moves: the faster one for single rows
--   audit_many   the lock is an advisory one and the head is the last row: the faster one for many rows a statement,
--                where the other walks over all versions of its head that waiting transactions keep alive
--   audit_bulk   no trigger: a function chains the rows of one call and looks for the head once

CREATE TABLE audit (
    seq          BIGINT PRIMARY KEY,
    execution_id TEXT NOT NULL UNIQUE,
    recorded_at  TIMESTAMPTZ NOT NULL,
    payload      TEXT NOT NULL,
    previous     BYTEA NOT NULL,
    hash         BYTEA NOT NULL
);

CREATE FUNCTION row_hash(previous BYTEA, seq BIGINT, execution_id TEXT, recorded_at TIMESTAMPTZ, payload TEXT)
    RETURNS BYTEA LANGUAGE sql STABLE AS $$
    SELECT sha256(previous || convert_to(concat_ws('|', seq, execution_id, recorded_at, payload), 'UTF8'))
$$;

CREATE TABLE audit_head (
    one  BOOLEAN PRIMARY KEY DEFAULT true CHECK (one),
    size BIGINT NOT NULL,
    hash BYTEA NOT NULL
) WITH (fillfactor = 10); -- room for new versions of the row on its own page
INSERT INTO audit_head (size, hash) VALUES (0, sha256(''));

CREATE FUNCTION chain() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    SELECT size, hash INTO NEW.seq, NEW.previous FROM audit_head FOR UPDATE;
    NEW.recorded_at := clock_timestamp();
    NEW.hash := row_hash(NEW.previous, NEW.seq, NEW.execution_id, NEW.recorded_at, NEW.payload);
    UPDATE audit_head SET size = NEW.seq + 1, hash = NEW.hash;
    RETURN NEW;
END
$$;
CREATE TRIGGER chain BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION chain();

CREATE TABLE audit_many (LIKE audit INCLUDING ALL);
CREATE FUNCTION chain_many() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(1);
    -- A statement of its own, so that it sees what was committed before the lock was ours.
    SELECT seq + 1, hash INTO NEW.seq, NEW.previous FROM audit_many ORDER BY seq DESC LIMIT 1;
    IF NOT FOUND THEN
        NEW.seq := 0;
        NEW.previous := sha256('');
    END IF;
    NEW.recorded_at := clock_timestamp();
    NEW.hash := row_hash(NEW.previous, NEW.seq, NEW.execution_id, NEW.recorded_at, NEW.payload);
    RETURN NEW;
END
$$;
CREATE TRIGGER chain BEFORE INSERT ON audit_many FOR EACH ROW EXECUTE FUNCTION chain_many();

CREATE TABLE audit_bulk (LIKE audit INCLUDING ALL);
CREATE FUNCTION append(ids TEXT[], payloads TEXT[]) RETURNS BIGINT LANGUAGE plpgsql AS $$
DECLARE
    at       BIGINT := 0;
    previous BYTEA := sha256('');
    seqs     BIGINT[] := '{}';
    chain    BYTEA[];
    now      TIMESTAMPTZ;
    last     RECORD;
BEGIN
    PERFORM pg_advisory_xact_lock(2);
    SELECT seq, hash INTO last FROM audit_bulk ORDER BY seq DESC LIMIT 1;
    IF FOUND THEN
        at := last.seq + 1;
        previous := last.hash;
    END IF;
    now := clock_timestamp();
    chain := ARRAY[previous];
    FOR i IN 1 .. cardinality(ids) LOOP
        previous := row_hash(previous, at, ids[i], now, payloads[i]);
        seqs := seqs || at;
        chain := chain || previous;
        at := at + 1;
    END LOOP;
    INSERT INTO audit_bulk
        SELECT seqs[i], ids[i], now, payloads[i], chain[i], chain[i + 1] FROM generate_series(1, cardinality(ids)) AS i;
    RETURN at;
END
$$;

-- How many links of a chain do not hold.
CREATE FUNCTION broken(chain REGCLASS) RETURNS BIGINT LANGUAGE plpgsql AS $$
DECLARE
    bad BIGINT;
BEGIN
    EXECUTE format('SELECT count(*) FROM (SELECT *, lag(hash, 1, sha256('''')) OVER w AS before, '
        'row_number() OVER w - 1 AS place FROM %s WINDOW w AS (ORDER BY seq)) AS links '
        'WHERE previous <> before OR seq <> place OR hash <> row_hash(previous, seq, execution_id, recorded_at, payload)',
        chain) INTO bad;
    RETURN bad;
END
$$;
