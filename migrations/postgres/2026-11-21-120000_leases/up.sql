-- Which node does the work that one of them is enough for: signing checkpoints, ending override cases. Nothing rests on
-- it but thrift: two nodes that both believe that they hold a lease do the same work twice, and the log takes it once.
--
-- `fence` grows with each new holder. `until` is the database's own clock, whatever the nodes' clocks say.
CREATE TABLE leases (
    tenant TEXT COLLATE "C" NOT NULL REFERENCES settings (tenant),
    work   TEXT COLLATE "C" NOT NULL CHECK (work <> ''),
    holder TEXT COLLATE "C" NOT NULL CHECK (holder <> ''),
    fence  BIGINT NOT NULL CHECK (fence >= 1),
    until  TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (tenant, work)
);

CREATE FUNCTION chancery_fence_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.tenant <> OLD.tenant OR NEW.work <> OLD.work OR NEW.fence < OLD.fence
        OR (NEW.holder <> OLD.holder AND NEW.fence = OLD.fence) THEN
        RAISE EXCEPTION 'the fence of a lease grows with each holder';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER leases_fence_grows BEFORE UPDATE ON leases
    FOR EACH ROW EXECUTE FUNCTION chancery_fence_grows();
CREATE TRIGGER leases_no_delete BEFORE DELETE OR TRUNCATE ON leases
    FOR EACH STATEMENT EXECUTE FUNCTION chancery_append_only();

ALTER TABLE leases ENABLE ROW LEVEL SECURITY;
ALTER TABLE leases FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON leases
    USING (tenant = current_setting('chancery.tenant', true))
    WITH CHECK (tenant = current_setting('chancery.tenant', true));
