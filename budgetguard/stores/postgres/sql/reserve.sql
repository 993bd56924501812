-- Place a hold on all of its accounts, or on none.
--
-- p_texts: id, provider, model.
-- p_said: now (-1: the server's clock), ttl, charge (1), how many due holds to reap; and of dollars amount, least (-1:
-- the amount or nothing) and useful; the same of tokens, requests and places, unless all accounts count dollars.
-- p_rules, seven for each key of p_keys: 0 counts only, 1 soft, 2 hard; limit; share; start; end; when it is over; unit.
-- p_windows: earlier keys that count too; p_window_of: on which place of p_keys.
-- Answers "a <amount> <settled> <held> ..." admitted, with a pair for each key, its window included, and where accounts
-- count them "t<tokens>", "r<requests>" and "p1"; "e" ended; "s <now>" stale; "r <place> <settled> <held> <due>" refused, with
-- whether anything was left to reap, here or by another session that is about it.
CREATE OR REPLACE FUNCTION budgetguard.reserve(
    p_ns integer, p_texts bytea[], p_said bigint[], p_keys bytea[], p_rules bigint[], p_windows bytea[],
    p_window_of bigint[], p_term_keys bytea[], p_term_versions bigint[], p_tag_names bytea[], p_tag_values bytea[]
) RETURNS text LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    v_id CONSTANT bytea := p_texts[1];
    v_now bigint := p_said[1];
    v_amount CONSTANT bigint := p_said[5];
    v_dummy text;
    v_stale boolean := false;
    v_settled bigint;
    v_held bigint;
BEGIN
    v_dummy := pg_catalog.set_config('synchronous_commit', 'off', true);
    v_dummy := pg_catalog.pg_advisory_xact_lock(
        pg_catalog.hashtextextended(pg_catalog.encode(v_id, 'hex'), p_ns))::text;
    IF v_now < 0 THEN
        v_now := (EXTRACT(EPOCH FROM pg_catalog.clock_timestamp()) * 1000)::bigint;
    END IF;
    IF cardinality(p_term_keys) > 0 THEN
        SELECT bool_or(coalesce(there.version, 0) <> t.version) INTO v_stale
        FROM unnest(p_term_keys, p_term_versions) AS t (key, version)
        LEFT JOIN LATERAL (  -- each by its key, however many there are: a join may be planned to read all of them
            SELECT version FROM budgetguard.terms WHERE ns = p_ns AND key = t.key LIMIT 1
        ) AS there ON true;
    END IF;

    -- The common hold, straight: one account in dollars, a fixed amount, nothing due, and room.
    IF cardinality(p_keys) = 1 AND p_said[6] < 0 AND cardinality(p_said) = 7 AND cardinality(p_windows) = 0
        AND p_rules[4] <= v_now AND v_now < p_rules[5] AND NOT v_stale THEN
        UPDATE budgetguard.accounts SET held = held + v_amount
        WHERE ns = p_ns AND key = p_keys[1]
            AND CASE p_rules[1] WHEN 2 THEN settled + held + v_amount <= p_rules[2]
                                WHEN 1 THEN settled + held < p_rules[2] ELSE true END
            AND NOT EXISTS (SELECT FROM budgetguard.holds WHERE ns = p_ns AND due_ms <= v_now)
            AND NOT EXISTS (SELECT FROM budgetguard.holds WHERE ns + 0 = p_ns AND id = v_id)
            AND NOT EXISTS (SELECT FROM budgetguard.entries WHERE ns + 0 = p_ns AND id = v_id)
        RETURNING settled, held INTO v_settled, v_held;
        IF FOUND THEN
            INSERT INTO budgetguard.holds
                (ns, ended, charge, due_ms, placed_ms, amount, id, provider, model, accounts, tag_names, tag_values)
            VALUES (p_ns, false, p_said[3] = 1 AND v_amount > 0, v_now + p_said[2], v_now, v_amount, v_id, p_texts[2],
                    p_texts[3], p_keys, p_tag_names, p_tag_values);
            RETURN 'a ' || v_amount || ' ' || v_settled || ' ' || v_held;
        END IF;
    END IF;
    RETURN budgetguard.reserve_in_steps(
        p_ns, v_now, v_stale, p_texts, p_said, p_keys, p_rules, p_windows, p_window_of, p_tag_names, p_tag_values);
END $$;

-- The same of any other hold: its id is locked, the time is known, and whether its terms are old.
CREATE OR REPLACE FUNCTION budgetguard.reserve_in_steps(
    p_ns integer, p_now bigint, p_stale boolean, p_texts bytea[], p_said bigint[], p_keys bytea[], p_rules bigint[],
    p_windows bytea[], p_window_of bigint[], p_tag_names bytea[], p_tag_values bytea[]
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_id CONSTANT bytea := p_texts[1];
    v_now CONSTANT bigint := p_now;
    v_amount CONSTANT bigint := p_said[5];
    v_count CONSTANT integer := cardinality(p_keys);
    v_known boolean;
    v_due boolean;
    v_limit bigint;
    v_settled bigint;
    v_held bigint;
    v_distinct bytea[] := p_keys;
    v_found bytea[];
    v_found_settled bigint[];
    v_found_held bigint[];
    v_granted bigint[] := ARRAY[v_amount, NULL, NULL, NULL];  -- of each unit; null: no account counts it
    v_sums_settled bigint[] := '{}';                    -- of each account and its window, before this hold
    v_sums_held bigint[] := '{}';
    v_place integer;
    v_unit integer;
    v_wanted bigint;
    v_least bigint;
    v_claims bytea[];
    v_sums text := '';
    v_none CONSTANT bigint[] := '{0, 0, 0, 0}';
BEGIN
    IF v_count > 1 THEN
        SELECT array_agg(d.key ORDER BY d.place) INTO v_distinct FROM (
            SELECT k.key, min(k.place) AS place FROM unnest(p_keys) WITH ORDINALITY AS k (key, place) GROUP BY k.key
        ) AS d;
    END IF;
    -- Of a window, only the newest account can be in the making: the periods of the others are over.
    v_claims := v_distinct;
    FOR j IN 1..cardinality(p_windows) LOOP
        IF j = cardinality(p_windows) OR p_window_of[j + 1] <> p_window_of[j] THEN
            v_claims := v_claims || p_windows[j];
        END IF;
    END LOOP;
    SELECT EXISTS (SELECT FROM budgetguard.holds WHERE ns = p_ns AND due_ms <= v_now),
           EXISTS (SELECT FROM budgetguard.holds WHERE ns + 0 = p_ns AND id = v_id)
               OR EXISTS (SELECT FROM budgetguard.entries WHERE ns + 0 = p_ns AND id = v_id)
    INTO v_due, v_known;
    IF v_due THEN
        PERFORM budgetguard.reap(p_ns, v_id, v_now, p_said[4]::integer, v_claims, p_keys || p_windows);
        -- Asked before the accounts are read: what is gone by now is in them.
        v_due := EXISTS (SELECT FROM budgetguard.holds WHERE ns = p_ns AND due_ms <= v_now);
        v_known := true;
    END IF;
    IF v_known THEN
        SELECT ended, ARRAY[amount, tokens, requests, CASE WHEN budgetguard.counts(accounts, 4) THEN 1 END] INTO v_known, v_granted
        FROM budgetguard.holds WHERE ns + 0 = p_ns AND id = v_id;
        IF FOUND AND v_known THEN
            RETURN 'e';
        ELSIF FOUND THEN
            RETURN budgetguard.admitted(v_granted, ' ' || budgetguard.told(
                p_ns, p_keys || p_windows, budgetguard.items(v_count, p_window_of)));
        END IF;
        IF EXISTS (SELECT FROM budgetguard.entries WHERE ns + 0 = p_ns AND id = v_id) THEN
            RETURN 'e';
        END IF;
        v_granted := ARRAY[v_amount, NULL, NULL, NULL];
    END IF;

    FOR i IN 1..v_count LOOP
        IF v_now < p_rules[7 * i - 3] OR v_now >= p_rules[7 * i - 2] THEN
            RETURN 's ' || v_now;
        END IF;
    END LOOP;
    IF p_stale THEN
        RETURN 's ' || v_now;
    END IF;

    PERFORM budgetguard.claim(p_ns, v_claims);
    SELECT array_agg(a.key), array_agg(a.settled), array_agg(a.held) INTO v_found, v_found_settled, v_found_held
    FROM (
        SELECT key, settled, held FROM budgetguard.accounts
        WHERE ns = p_ns AND key = ANY (p_keys || p_windows) ORDER BY key FOR UPDATE
    ) AS a;

    FOR i IN 1..v_count LOOP
        v_place := array_position(v_found, p_keys[i]);
        v_settled := coalesce(v_found_settled[v_place], 0);
        v_held := coalesce(v_found_held[v_place], 0);
        FOR j IN 1..cardinality(p_windows) LOOP
            IF p_window_of[j] = i THEN
                v_place := array_position(v_found, p_windows[j]);
                v_settled := v_settled + coalesce(v_found_settled[v_place], 0);
                v_held := v_held + coalesce(v_found_held[v_place], 0);
            END IF;
        END LOOP;
        v_sums_settled[i] := v_settled;
        v_sums_held[i] := v_held;
        v_unit := p_rules[7 * i];
        v_wanted := p_said[3 * v_unit + 2];
        v_least := p_said[3 * v_unit + 3];
        v_granted[v_unit] := coalesce(v_granted[v_unit], v_wanted);
        v_limit := p_rules[7 * i - 5];
        CASE p_rules[7 * i - 6]
            WHEN 1 THEN
                IF v_settled + v_held >= v_limit THEN
                    RETURN 'r ' || i || ' ' || v_settled || ' ' || v_held || ' ' || v_due::integer;
                END IF;
            WHEN 2 THEN
                IF (CASE WHEN v_least < 0 THEN v_wanted ELSE v_least END) > v_limit - v_settled - v_held THEN
                    RETURN 'r ' || i || ' ' || v_settled || ' ' || v_held || ' ' || v_due::integer;
                END IF;
                IF v_least >= 0 THEN
                    v_granted[v_unit] := least(
                        v_granted[v_unit],
                        greatest((v_limit - v_settled) / p_rules[7 * i - 4], p_said[3 * v_unit + 4], v_least),
                        v_limit - v_settled - v_held);
                END IF;
            ELSE NULL;
        END CASE;
    END LOOP;

    IF v_distinct <@ v_found THEN
        UPDATE budgetguard.accounts SET held = held + v_granted[budgetguard.unit(key)]
        WHERE ns = p_ns AND key = ANY (v_distinct);
    ELSE
        PERFORM budgetguard.add(
            p_ns, v_distinct, budgetguard.changes(v_distinct, v_none, v_none),
            budgetguard.changes(v_distinct, v_granted, v_none),
            (SELECT array_agg(p_rules[7 * array_position(p_keys, d.key) - 1] ORDER BY d.place)
             FROM unnest(v_distinct) WITH ORDINALITY AS d (key, place)));
    END IF;
    INSERT INTO budgetguard.holds
        (ns, ended, charge, due_ms, placed_ms, amount, id, provider, model, accounts, tag_names, tag_values, tokens,
         requests)
    VALUES (p_ns, false, p_said[3] = 1 AND greatest(v_granted[1], v_granted[2], v_granted[3]) > 0, v_now + p_said[2],
            v_now, v_granted[1], v_id, p_texts[2], p_texts[3], v_distinct, p_tag_names, p_tag_values, v_granted[2],
            v_granted[3]);
    IF p_keys && p_windows THEN
        v_sums := ' ' || budgetguard.told(p_ns, p_keys || p_windows, budgetguard.items(v_count, p_window_of));
    ELSE
        FOR i IN 1..v_count LOOP
            v_sums := v_sums || ' ' || v_sums_settled[i] || ' ' || v_sums_held[i] + v_granted[p_rules[7 * i]];
        END LOOP;
    END IF;
    RETURN budgetguard.admitted(v_granted, v_sums);
END $$;

-- Which account, counted from one, each of its keys and then of the windows is a part of.
CREATE OR REPLACE FUNCTION budgetguard.items(p_count integer, p_window_of bigint[]) RETURNS bigint[]
LANGUAGE sql IMMUTABLE AS $$ SELECT ARRAY(SELECT generate_series(1, p_count)::bigint) || p_window_of $$;

-- The answer to a hold that counts: what it holds of each unit, and what its accounts have settled and held.
CREATE OR REPLACE FUNCTION budgetguard.admitted(p_granted bigint[], p_sums text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT 'a ' || p_granted[1] || coalesce(p_sums, '') || coalesce(' t' || p_granted[2], '')
        || coalesce(' r' || p_granted[3], '') || coalesce(' p' || p_granted[4], '')
$$;

-- Reap up to so many due holds, and the hold of this id if it is due: all accounts that the caller will need are
-- locked with theirs, in order. Whether anything was reaped.
CREATE OR REPLACE FUNCTION budgetguard.reap(
    p_ns integer, p_id bytea, p_now bigint, p_most integer, p_claims bytea[], p_keys bytea[]
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_rows budgetguard.holds[];
    v_own budgetguard.holds;
    v_done boolean;
BEGIN
    SELECT h.* INTO v_own FROM budgetguard.holds AS h WHERE h.ns + 0 = p_ns AND h.id = p_id FOR UPDATE;
    SELECT array_agg(d.row) INTO v_rows FROM (
        SELECT h AS row FROM budgetguard.holds AS h WHERE h.ns = p_ns AND h.due_ms <= p_now
        ORDER BY h.due_ms, h.id LIMIT p_most FOR UPDATE SKIP LOCKED
    ) AS d;
    v_rows := coalesce(v_rows, '{}');
    v_done := cardinality(v_rows) > 0;
    IF v_own.due_ms <= p_now AND NOT EXISTS (SELECT FROM unnest(v_rows) AS r WHERE r.id = p_id) THEN
        v_rows := v_rows || v_own;
    END IF;
    IF cardinality(v_rows) = 0 THEN
        RETURN false;
    END IF;
    PERFORM budgetguard.claim(p_ns, p_claims);
    PERFORM FROM budgetguard.accounts
        WHERE ns = p_ns AND key = ANY (p_keys || ARRAY(SELECT unnest(r.accounts) FROM unnest(v_rows) AS r))
        ORDER BY key FOR UPDATE;
    UPDATE budgetguard.accounts AS a SET settled = a.settled + d.settled, held = a.held - d.held
    FROM (
        SELECT k.key, sum(k.held) AS held, sum(k.settled) AS settled FROM (
            SELECT each.key, (budgetguard.amounts(r))[budgetguard.unit(each.key)] AS held,
                   (budgetguard.booked(r))[budgetguard.unit(each.key)] AS settled
            FROM unnest(v_rows) AS r CROSS JOIN LATERAL unnest(r.accounts) AS each (key) WHERE NOT r.ended
        ) AS k GROUP BY k.key
    ) AS d
    WHERE a.ns = p_ns AND a.key = d.key;
    FOR i IN 1..cardinality(v_rows) LOOP
        PERFORM budgetguard.expire(v_rows[i], p_now);
    END LOOP;
    RETURN v_done;
END $$;

-- Lock what has no row: accounts that may be made, against others that make them, and the newest account of a
-- window, against those that make it at this moment. In the order of their keys.
CREATE OR REPLACE FUNCTION budgetguard.claim(p_ns integer, p_keys bytea[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_key bytea;
BEGIN
    FOR v_key IN
        SELECT DISTINCT k.key FROM unnest(p_keys) AS k (key)
        WHERE NOT EXISTS (SELECT FROM budgetguard.accounts AS a WHERE a.ns = p_ns AND a.key = k.key)
        ORDER BY k.key
    LOOP
        PERFORM pg_catalog.pg_advisory_xact_lock(
            pg_catalog.hashtextextended(pg_catalog.encode(v_key, 'hex'), -1 - p_ns));
    END LOOP;
END $$;
