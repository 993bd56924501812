-- Place a hold on all of its accounts, or on none.
--
-- p_said: now (-1: the server's clock), amount, least (-1: the amount or nothing), useful, ttl, charge (1), how many
-- due holds to reap.
-- p_rules, six for each key of p_keys: 0 counts only, 1 soft, 2 hard; limit; share; start; end; when it is over.
-- p_windows: earlier keys that count too; p_window_of: on which place of p_keys.
-- Answers "a <amount>" admitted, "e" ended, "s <now>" stale, "r <place> <settled> <held> <due>" refused, with whether
-- anything was left to reap, here or by another session that is about it.
CREATE OR REPLACE FUNCTION budgetguard.reserve(
    p_ns integer, p_id bytea, p_said bigint[], p_keys bytea[], p_rules bigint[], p_windows bytea[],
    p_window_of bigint[], p_term_keys bytea[], p_term_versions bigint[], p_tag_names bytea[], p_tag_values bytea[],
    p_provider bytea, p_model bytea
) RETURNS text LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    v_lock bigint := pg_catalog.hashtextextended(pg_catalog.encode(p_id, 'hex'), p_ns);
    v_now bigint := p_said[1];
    v_amount bigint := p_said[2];
    v_least CONSTANT bigint := p_said[3];
    v_useful CONSTANT bigint := p_said[4];
    v_count CONSTANT integer := cardinality(p_keys);
    v_off text;
    v_dummy text;
    v_known boolean;
    v_stale boolean;
    v_due boolean;
    v_missing integer;
    v_limit bigint;
    v_share bigint;
    v_settled bigint;
    v_held bigint;
    v_granted bigint;
    v_distinct bytea[] := p_keys;
    v_found bytea[];
    v_found_settled bigint[];
    v_found_held bigint[];
    v_place integer;
    v_of integer;
    v_claims bytea[];
BEGIN
    v_off := pg_catalog.set_config('synchronous_commit', 'off', true);
    v_dummy := pg_catalog.pg_advisory_xact_lock(v_lock)::text;
    IF v_now < 0 THEN
        v_now := (EXTRACT(EPOCH FROM pg_catalog.clock_timestamp()) * 1000)::bigint;
    END IF;

    -- The common hold, in one statement: one account, a fixed amount, nothing due, and room.
    IF v_count = 1 AND v_least < 0 AND cardinality(p_windows) = 0 AND p_rules[4] <= v_now AND v_now < p_rules[5] THEN
        WITH taken AS (
            UPDATE budgetguard.accounts SET held = held + v_amount
            WHERE ns = p_ns AND key = p_keys[1]
                AND CASE p_rules[1] WHEN 2 THEN settled + held + v_amount <= p_rules[2]
                                    WHEN 1 THEN settled + held < p_rules[2] ELSE true END
                AND NOT EXISTS (SELECT FROM budgetguard.holds WHERE ns = p_ns AND due_ms <= v_now)
                AND NOT EXISTS (SELECT FROM budgetguard.holds WHERE ns + 0 = p_ns AND id = p_id)
                AND NOT EXISTS (SELECT FROM budgetguard.entries WHERE ns + 0 = p_ns AND id = p_id)
                AND (cardinality(p_term_keys) = 0 OR NOT EXISTS (
                    SELECT FROM unnest(p_term_keys, p_term_versions) AS t (key, version)
                    LEFT JOIN budgetguard.terms AS there ON there.ns = p_ns AND there.key = t.key
                    WHERE coalesce(there.version, 0) <> t.version))
            RETURNING 1
        )
        INSERT INTO budgetguard.holds
            (ns, ended, charge, due_ms, placed_ms, amount, id, provider, model, accounts, tag_names, tag_values)
        SELECT p_ns, false, p_said[6] = 1 AND v_amount > 0, v_now + p_said[5], v_now, v_amount, p_id, p_provider,
               p_model, p_keys, p_tag_names, p_tag_values
        FROM taken;
        IF FOUND THEN
            RETURN 'a ' || v_amount;
        END IF;
    END IF;

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
           EXISTS (SELECT FROM budgetguard.holds WHERE ns + 0 = p_ns AND id = p_id)
               OR EXISTS (SELECT FROM budgetguard.entries WHERE ns + 0 = p_ns AND id = p_id)
    INTO v_due, v_known;
    IF v_due THEN
        PERFORM budgetguard.reap(p_ns, p_id, v_now, p_said[7]::integer, v_claims, p_keys || p_windows);
        -- Asked before the accounts are read: what is gone by now is in them.
        v_due := EXISTS (SELECT FROM budgetguard.holds WHERE ns = p_ns AND due_ms <= v_now);
        v_known := true;
    END IF;
    IF v_known THEN
        SELECT ended, amount INTO v_known, v_granted FROM budgetguard.holds WHERE ns + 0 = p_ns AND id = p_id;
        IF FOUND THEN
            RETURN CASE WHEN v_known THEN 'e' ELSE 'a ' || v_granted END;
        END IF;
        IF EXISTS (SELECT FROM budgetguard.entries WHERE ns + 0 = p_ns AND id = p_id) THEN
            RETURN 'e';
        END IF;
    END IF;

    FOR i IN 1..v_count LOOP
        IF v_now < p_rules[6 * i - 2] OR v_now >= p_rules[6 * i - 1] THEN
            RETURN 's ' || v_now;
        END IF;
    END LOOP;
    IF cardinality(p_term_keys) > 0 THEN
        SELECT bool_or(coalesce(there.version, 0) <> t.version) INTO v_stale
        FROM unnest(p_term_keys, p_term_versions) AS t (key, version)
        LEFT JOIN budgetguard.terms AS there ON there.ns = p_ns AND there.key = t.key;
        IF v_stale THEN
            RETURN 's ' || v_now;
        END IF;
    END IF;

    PERFORM budgetguard.claim(p_ns, v_claims);
    SELECT array_agg(a.key), array_agg(a.settled), array_agg(a.held) INTO v_found, v_found_settled, v_found_held
    FROM (
        SELECT key, settled, held FROM budgetguard.accounts
        WHERE ns = p_ns AND key = ANY (p_keys || p_windows) ORDER BY key FOR UPDATE
    ) AS a;

    v_granted := v_amount;
    FOR i IN 1..v_count LOOP
        v_place := array_position(v_found, p_keys[i]);
        v_settled := coalesce(v_found_settled[v_place], 0);
        v_held := coalesce(v_found_held[v_place], 0);
        FOR j IN 1..cardinality(p_windows) LOOP
            IF p_window_of[j] = i THEN
                v_of := array_position(v_found, p_windows[j]);
                v_settled := v_settled + coalesce(v_found_settled[v_of], 0);
                v_held := v_held + coalesce(v_found_held[v_of], 0);
            END IF;
        END LOOP;
        v_limit := p_rules[6 * i - 4];
        v_share := p_rules[6 * i - 3];
        CASE p_rules[6 * i - 5]
            WHEN 1 THEN
                IF v_settled + v_held >= v_limit THEN
                    RETURN 'r ' || i || ' ' || v_settled || ' ' || v_held || ' ' || v_due::integer;
                END IF;
            WHEN 2 THEN
                IF (CASE WHEN v_least < 0 THEN v_amount ELSE v_least END) > v_limit - v_settled - v_held THEN
                    RETURN 'r ' || i || ' ' || v_settled || ' ' || v_held || ' ' || v_due::integer;
                END IF;
                IF v_least >= 0 THEN
                    v_granted := least(v_granted, greatest((v_limit - v_settled) / v_share, v_useful, v_least),
                                       v_limit - v_settled - v_held);
                END IF;
            ELSE NULL;
        END CASE;
    END LOOP;

    IF (SELECT count(*) FROM unnest(v_distinct) AS d (key) WHERE d.key = ANY (v_found)) = cardinality(v_distinct) THEN
        UPDATE budgetguard.accounts SET held = held + v_granted WHERE ns = p_ns AND key = ANY (v_distinct);
    ELSE
        PERFORM budgetguard.add(
            p_ns, v_distinct, array_fill(0::bigint, ARRAY[cardinality(v_distinct)]),
            array_fill(v_granted, ARRAY[cardinality(v_distinct)]),
            (SELECT array_agg(p_rules[6 * array_position(p_keys, d.key)] ORDER BY d.place)
             FROM unnest(v_distinct) WITH ORDINALITY AS d (key, place)));
    END IF;
    INSERT INTO budgetguard.holds
        (ns, ended, charge, due_ms, placed_ms, amount, id, provider, model, accounts, tag_names, tag_values)
    VALUES (p_ns, false, p_said[6] = 1 AND v_granted > 0, v_now + p_said[5], v_now, v_granted, p_id, p_provider,
            p_model, v_distinct, p_tag_names, p_tag_values);
    RETURN 'a ' || v_granted;
END $$;

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
        SELECT k.key, sum(r.amount) AS held, sum(CASE WHEN r.charge THEN r.amount ELSE 0 END) AS settled
        FROM unnest(v_rows) AS r CROSS JOIN LATERAL unnest(r.accounts) AS k (key)
        WHERE NOT r.ended GROUP BY k.key
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
