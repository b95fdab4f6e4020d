-- A role for auditors: it reads one tenant's rows and writes nothing. Run it as the database's administrator, on the
-- primary; replicas have it from there. Put the tenant and the role's name in the place of `acme` and `auditor_acme`.
--
-- A tenant in `chancery.tenant` is what a connection asks for; whoever has SQL can ask for another. The restrictive
-- policies are what the role may have.
CREATE ROLE auditor_acme LOGIN;
ALTER ROLE auditor_acme SET default_transaction_read_only = on;
ALTER ROLE auditor_acme SET chancery.tenant = 'acme';
GRANT USAGE ON SCHEMA public TO auditor_acme;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO auditor_acme;
-- Wrapped keys and hashes of credentials are nothing that an audit needs.
REVOKE SELECT ON tenant_keys, api_keys FROM auditor_acme;

DO $$
DECLARE
    name text;
BEGIN
    FOR name IN
        SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relrowsecurity
    LOOP
        EXECUTE format(
            'CREATE POLICY auditor_acme ON %I AS RESTRICTIVE TO auditor_acme USING (tenant = ''acme'')', name);
    END LOOP;
END $$;
