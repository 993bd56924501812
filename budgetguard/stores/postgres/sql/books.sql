-- What happens to the books. Each function is one transaction of its caller, at READ COMMITTED: every statement sees
-- what was committed before it began.
--
-- The order of locks, for all: the advisory lock of the hold's id (it may have no row yet); rows of holds and entries,
-- by id; advisory locks of accounts that have no row yet, by key; rows of accounts, by key. Reaping takes rows of
-- holds that nobody has locked, and never waits for one.
--
-- A plan is made once for a session, and perhaps while a table is all but empty, when every index looks alike. So each
-- statement leaves one index to choose: `ns + 0` keeps those by time out of a search by id.

CREATE OR REPLACE FUNCTION budgetguard.id_lock(p_ns integer, p_id bytea) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT pg_catalog.hashtextextended(pg_catalog.encode(p_id, 'hex'), p_ns) $$;

CREATE OR REPLACE FUNCTION budgetguard.now_ms(p_now bigint) RETURNS bigint
LANGUAGE sql VOLATILE AS $$
    SELECT CASE WHEN p_now >= 0 THEN p_now
                ELSE (EXTRACT(EPOCH FROM pg_catalog.clock_timestamp()) * 1000)::bigint END
$$;

-- Add to accounts, in the order of their keys; those that are not there are made, with the
-- end that is said first.
CREATE OR REPLACE FUNCTION budgetguard.add(
    p_ns integer, p_keys bytea[], p_settled bigint[], p_held bigint[], p_ends bigint[]
) RETURNS void LANGUAGE sql AS $$
    INSERT INTO budgetguard.accounts AS a (ns, key, settled, held, end_ms)
    SELECT p_ns, d.key, sum(d.settled), sum(d.held),
           nullif((array_agg(d.end_ms ORDER BY d.place))[1], 9223372036854775807)
    FROM unnest(p_keys, p_settled, p_held, p_ends) WITH ORDINALITY AS d (key, settled, held, end_ms, place)
    GROUP BY d.key ORDER BY d.key
    ON CONFLICT (ns, key) DO UPDATE SET settled = a.settled + excluded.settled, held = a.held + excluded.held
$$;

-- What is left of a hold whose time is over: an entry if it is charged, its id if it is not. Its row is locked; its
-- accounts are the caller's business.
CREATE OR REPLACE FUNCTION budgetguard.expire(p_row budgetguard.holds, p_now bigint) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    keep_ended CONSTANT bigint := 86400000;
BEGIN
    IF NOT p_row.ended AND p_row.charge THEN
        DELETE FROM budgetguard.holds WHERE ns + 0 = p_row.ns AND id = p_row.id;
        INSERT INTO budgetguard.entries
            (ns, late, expired, estimated, at_ms, cost, input, output, id, provider, model, flags, usage, accounts,
             tag_names, tag_values)
        VALUES (p_row.ns, false, true, false, p_row.due_ms, p_row.amount, 0, 0, p_row.id, p_row.provider, p_row.model,
                '', '{}', p_row.accounts, p_row.tag_names, p_row.tag_values);
    ELSIF NOT p_row.ended AND p_row.due_ms + keep_ended > p_now THEN
        UPDATE budgetguard.holds SET ended = true, charge = false, due_ms = p_row.due_ms + keep_ended, amount = 0,
            provider = '', model = '', accounts = '{}', tag_names = '{}', tag_values = '{}'
        WHERE ns + 0 = p_row.ns AND id = p_row.id;
    ELSE
        DELETE FROM budgetguard.holds WHERE ns + 0 = p_row.ns AND id = p_row.id;
    END IF;
END $$;

-- Remember that an id was released. (One that expired keeps `placed_ms`, and so may be placed again: see `renew`.)
CREATE OR REPLACE FUNCTION budgetguard.forget_at(p_ns integer, p_id bytea, p_when bigint) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO budgetguard.holds
        (ns, ended, charge, due_ms, placed_ms, amount, id, provider, model, accounts, tag_names, tag_values)
    VALUES (p_ns, true, false, p_when, 0, 0, p_id, '', '', '{}', '{}', '{}')
    ON CONFLICT (id, ns) DO UPDATE SET ended = true, charge = false, due_ms = excluded.due_ms, placed_ms = 0,
        amount = 0, provider = '', model = '', accounts = '{}', tag_names = '{}', tag_values = '{}'
$$;
