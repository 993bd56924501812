-- Version 6: what is kept beside the books. `over_ms` is when a record may be pruned.

CREATE TABLE IF NOT EXISTS budgetguard.records (
    ns integer NOT NULL,
    at_ms bigint NOT NULL,
    until_ms bigint,
    over_ms bigint NOT NULL,
    kind bytea NOT NULL,
    id bytea NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (ns, kind, id)
);

CREATE INDEX IF NOT EXISTS records_over ON budgetguard.records (ns, over_ms);

-- Whoever was let in before is let in here: a program that runs as a user of its own goes on.
DO $$
DECLARE
    v_grant record;
BEGIN
    FOR v_grant IN
        SELECT a.grantee, a.privilege_type FROM pg_catalog.pg_class AS c, pg_catalog.aclexplode(c.relacl) AS a
        WHERE c.oid = 'budgetguard.entries'::regclass AND a.grantee <> c.relowner
    LOOP
        EXECUTE pg_catalog.format(
            'GRANT %s ON budgetguard.records TO %s', v_grant.privilege_type,
            CASE v_grant.grantee WHEN 0 THEN 'PUBLIC' ELSE v_grant.grantee::regrole::text END);
    END LOOP;
END $$;
