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

-- What the account with this key counts: 1 dollars, 2 tokens, 3 requests, 4 calls in flight.
CREATE OR REPLACE FUNCTION budgetguard.unit(p_key bytea) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN p_key LIKE '%#tokens'::bytea THEN 2 WHEN p_key LIKE '%#requests'::bytea THEN 3
                WHEN p_key LIKE '%#parallel'::bytea THEN 4 ELSE 1 END
$$;

-- Whether one of these accounts counts a unit.
CREATE OR REPLACE FUNCTION budgetguard.counts(p_keys bytea[], p_unit integer) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN EXISTS (SELECT FROM unnest(p_keys) AS k (key) WHERE budgetguard.unit(k.key) = p_unit);
END $$;

-- What is held, or booked, of each unit: a call in flight is one of these, and one that has ended is none.
CREATE OR REPLACE FUNCTION budgetguard.amounts(p_hold budgetguard.holds) RETURNS bigint[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ARRAY[p_hold.amount, coalesce(p_hold.tokens, 0), coalesce(p_hold.requests, 0), 1]
$$;
CREATE OR REPLACE FUNCTION budgetguard.amounts(p_entry budgetguard.entries) RETURNS bigint[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT ARRAY[p_entry.cost, p_entry.tokens, p_entry.requests, 0] $$;

-- What is booked of a hold when it expires.
CREATE OR REPLACE FUNCTION budgetguard.booked(p_hold budgetguard.holds) RETURNS bigint[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN p_hold.charge
        THEN ARRAY[p_hold.amount, coalesce(p_hold.tokens, 0), coalesce(p_hold.requests, 0), 0]
        ELSE '{0, 0, 0, 0}' END
$$;

-- What is to be added to each of these accounts: in its unit, so much and less so much.
CREATE OR REPLACE FUNCTION budgetguard.changes(p_keys bytea[], p_more bigint[], p_less bigint[]) RETURNS bigint[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    v_changes bigint[] := '{}';
    v_unit integer;
BEGIN
    FOR i IN 1..cardinality(p_keys) LOOP
        v_unit := budgetguard.unit(p_keys[i]);
        v_changes[i] := p_more[v_unit] - p_less[v_unit];
    END LOOP;
    RETURN v_changes;
END $$;

-- What accounts have settled and held: "<settled> <held> ...", one pair for each item that is asked, whose keys are
-- added up. Without p_items each key is one.
CREATE OR REPLACE FUNCTION budgetguard.told(p_ns integer, p_keys bytea[], p_items bigint[]) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    RETURN (
        SELECT string_agg(s.settled || ' ' || s.held, ' ' ORDER BY s.item) FROM (
            SELECT coalesce(t.item, t.place) AS item,
                   coalesce(sum(a.settled), 0) AS settled, coalesce(sum(a.held), 0) AS held
            FROM unnest(p_keys, p_items) WITH ORDINALITY AS t (key, item, place)
            LEFT JOIN LATERAL (
                SELECT settled, held FROM budgetguard.accounts WHERE ns = p_ns AND key = t.key LIMIT 1
            ) AS a ON true
            GROUP BY 1
        ) AS s);
END $$;

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

-- The same, of keys that differ; what `budgetguard.told` says of them then.
CREATE OR REPLACE FUNCTION budgetguard.added(
    p_ns integer, p_keys bytea[], p_settled bigint[], p_held bigint[], p_ends bigint[]
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_sums text;
BEGIN
    WITH added AS (
        INSERT INTO budgetguard.accounts AS a (ns, key, settled, held, end_ms)
        SELECT p_ns, d.key, d.settled, d.held, nullif(d.end_ms, 9223372036854775807)
        FROM unnest(p_keys, p_settled, p_held, p_ends) AS d (key, settled, held, end_ms) ORDER BY d.key
        ON CONFLICT (ns, key) DO UPDATE SET settled = a.settled + excluded.settled, held = a.held + excluded.held
        RETURNING a.key, a.settled, a.held
    )
    SELECT string_agg(a.settled || ' ' || a.held, ' ' ORDER BY k.place) INTO v_sums
    FROM unnest(p_keys) WITH ORDINALITY AS k (key, place) JOIN added AS a ON a.key = k.key;
    RETURN v_sums;
END $$;

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
             tag_names, tag_values, tokens, requests)
        VALUES (p_row.ns, false, true, false, p_row.due_ms, p_row.amount, 0, 0, p_row.id, p_row.provider, p_row.model,
                '', '{}', p_row.accounts, p_row.tag_names, p_row.tag_values, coalesce(p_row.tokens, 0),
                coalesce(p_row.requests, 1));
    ELSIF NOT p_row.ended AND p_row.due_ms + keep_ended > p_now THEN
        UPDATE budgetguard.holds SET ended = true, charge = false, due_ms = p_row.due_ms + keep_ended, amount = 0,
            provider = '', model = '', accounts = '{}', tag_names = '{}', tag_values = '{}', tokens = NULL,
            requests = NULL
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
        amount = 0, provider = '', model = '', accounts = '{}', tag_names = '{}', tag_values = '{}', tokens = NULL,
        requests = NULL
$$;

-- The next version of some terms, or nothing if the version there is not the expected one (-1: any).
CREATE OR REPLACE FUNCTION budgetguard.put_terms(p_ns integer, p_key bytea, p_body bytea, p_expected bigint)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_version bigint;
BEGIN
    PERFORM pg_catalog.pg_advisory_xact_lock(
        pg_catalog.hashtextextended(pg_catalog.encode(p_key, 'hex'), -1000000000 - p_ns));
    SELECT version INTO v_version FROM budgetguard.terms WHERE ns = p_ns AND key = p_key;
    v_version := coalesce(v_version, 0);
    IF p_expected >= 0 AND p_expected <> v_version THEN
        RETURN NULL;
    END IF;
    INSERT INTO budgetguard.terms (ns, key, version, body) VALUES (p_ns, p_key, 1, p_body)
    ON CONFLICT (ns, key) DO UPDATE SET version = v_version + 1, body = excluded.body;
    RETURN v_version + 1;
END $$;
