-- End holds at their true costs and record the entries, in this order.
--
-- p_said, ten for each id: cost; late unless it is known (1); the caller says that it is late (1); estimated (1);
-- input tokens; output tokens; how many keys are charged, how many are named beside them, how many tags, how many
-- leases it has in the arrays that follow. p_texts, four for each: provider, model, flags, usage.
-- Answers two for each: 0 settled, 1 settled late, 2 conflict; the cost that stands.
CREATE OR REPLACE FUNCTION budgetguard.settle(
    p_ns integer, p_now bigint, p_ids bytea[], p_said bigint[], p_texts bytea[], p_keys bytea[], p_ends bigint[],
    p_tag_names bytea[], p_tag_values bytea[], p_leases bytea[]
) RETURNS bigint[] LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    v_now bigint := p_now;
    v_answers bigint[] := '{}';
    v_dummy text;
    v_id bytea;
    v_lease bytea;
    v_hold budgetguard.holds;
    v_known boolean;
    v_entry budgetguard.entries;
    v_late boolean;
    v_cost bigint;
    v_settled bigint;
    v_taken bigint;
    v_drawn bigint;
    v_keys bytea[];
    v_ends bigint[];                -- of accounts that may not be there yet; null: they are
    v_more bytea[];
    v_d_keys bytea[] := '{}';       -- what is to be added to accounts
    v_d_settled bigint[] := '{}';
    v_d_held bigint[] := '{}';
    v_d_ends bigint[] := '{}';
    v_never CONSTANT bigint := 9223372036854775807;
    n integer;                      -- where the numbers of an id begin, and its texts, keys, tags and leases
    t integer;
    k integer := 0;
    g integer := 0;
    l integer := 0;
    n_keys integer;
    n_more integer;
    n_tags integer;
    n_leases integer;
BEGIN
    IF cardinality(p_ids) = 1 THEN
        v_dummy := pg_catalog.pg_advisory_xact_lock(
            pg_catalog.hashtextextended(pg_catalog.encode(p_ids[1], 'hex'), p_ns))::text;
    ELSE
        PERFORM pg_catalog.pg_advisory_xact_lock(o.lock) FROM (
            SELECT DISTINCT budgetguard.id_lock(p_ns, i.id) AS lock FROM unnest(p_ids) AS i (id) ORDER BY 1
        ) AS o;
    END IF;
    IF v_now < 0 THEN
        v_now := (EXTRACT(EPOCH FROM pg_catalog.clock_timestamp()) * 1000)::bigint;
    END IF;

    -- The common settlement, in one statement: of an open hold on one account. (The 0 keeps the index on due_ms, which
    -- would be read whole, out of it.)
    IF cardinality(p_ids) = 1 AND p_said[7] = 1 AND p_said[8] = 0 AND p_said[10] = 0 THEN
        WITH open AS (
            DELETE FROM budgetguard.holds
            WHERE ns + 0 = p_ns AND id = p_ids[1] AND NOT ended AND due_ms + 0 > v_now AND accounts = p_keys
            RETURNING amount
        ), booked AS (
            UPDATE budgetguard.accounts AS a SET settled = a.settled + p_said[1], held = a.held - open.amount
            FROM open WHERE a.ns = p_ns AND a.key = p_keys[1]
        )
        INSERT INTO budgetguard.entries
            (ns, late, expired, estimated, at_ms, cost, input, output, id, provider, model, flags, usage, accounts,
             tag_names, tag_values)
        SELECT p_ns, p_said[3] = 1, false, p_said[4] = 1, v_now, p_said[1], p_said[5], p_said[6], p_ids[1],
               p_texts[1], p_texts[2], p_texts[3], p_texts[4], p_keys, p_tag_names, p_tag_values
        FROM open;
        IF FOUND THEN
            RETURN ARRAY[0, p_said[1]];
        END IF;
    END IF;

    PERFORM FROM budgetguard.holds WHERE ns + 0 = p_ns AND id = ANY (p_ids || p_leases) ORDER BY id FOR UPDATE;
    IF cardinality(p_leases) > 0 THEN
        PERFORM FROM budgetguard.entries WHERE ns + 0 = p_ns AND id = ANY (p_ids || p_leases) AND expired
            ORDER BY id FOR UPDATE;
    END IF;

    FOR i IN 1..cardinality(p_ids) LOOP
        n := 10 * (i - 1);
        t := 4 * (i - 1);
        v_id := p_ids[i];
        v_cost := p_said[n + 1];
        n_keys := p_said[n + 7];
        n_more := p_said[n + 8];
        n_tags := p_said[n + 9];
        n_leases := p_said[n + 10];
        v_settled := v_cost;
        v_taken := 0;
        v_late := false;
        v_ends := NULL;

        SELECT * INTO v_hold FROM budgetguard.holds WHERE ns + 0 = p_ns AND id = v_id FOR UPDATE;
        v_known := FOUND;
        IF v_known AND v_hold.due_ms <= v_now THEN
            PERFORM budgetguard.expire(v_hold, v_now);
            IF NOT v_hold.ended THEN
                v_d_keys := v_d_keys || v_hold.accounts;
                FOR j IN 1..cardinality(v_hold.accounts) LOOP
                    v_d_settled := v_d_settled || CASE WHEN v_hold.charge THEN v_hold.amount ELSE 0 END;
                    v_d_held := v_d_held || -v_hold.amount;
                    v_d_ends := v_d_ends || v_never;
                END LOOP;
            END IF;
            SELECT * INTO v_hold FROM budgetguard.holds WHERE ns + 0 = p_ns AND id = v_id;
            v_known := FOUND;
        END IF;
        IF v_known AND NOT v_hold.ended THEN
            v_keys := v_hold.accounts;
            v_taken := v_hold.amount;
        ELSE
            SELECT * INTO v_entry FROM budgetguard.entries WHERE ns + 0 = p_ns AND id = v_id FOR UPDATE;
            IF NOT FOUND THEN
                v_late := v_known OR p_said[n + 2] = 1;
                v_keys := p_keys[k + 1 : k + n_keys];
                v_ends := p_ends[k + 1 : k + n_keys];
            ELSIF v_entry.expired THEN
                v_late := true;
                v_keys := v_entry.accounts;
                v_settled := v_cost - v_entry.cost;
                DELETE FROM budgetguard.entries WHERE ns + 0 = p_ns AND id = v_id;
            ELSE
                v_answers := v_answers || CASE
                    WHEN v_entry.cost <> v_cost THEN 2::bigint WHEN v_entry.late THEN 1 ELSE 0 END || v_entry.cost;
                k := k + n_keys + n_more;
                g := g + n_tags;
                l := l + n_leases;
                CONTINUE;
            END IF;
        END IF;
        IF v_known THEN
            DELETE FROM budgetguard.holds WHERE ns + 0 = p_ns AND id = v_id;
        END IF;

        v_d_keys := v_d_keys || v_keys;
        FOR j IN 1..cardinality(v_keys) LOOP
            v_d_settled := v_d_settled || v_settled;
            v_d_held := v_d_held || -v_taken;
            v_d_ends := v_d_ends || coalesce(v_ends[j], v_never);
        END LOOP;
        v_more := '{}';
        FOR j IN 1..n_more LOOP
            IF NOT p_keys[k + n_keys + j] = ANY (v_keys || v_more) THEN
                v_more := v_more || p_keys[k + n_keys + j];
                v_d_keys := v_d_keys || p_keys[k + n_keys + j];
                v_d_settled := v_d_settled || v_cost;
                v_d_held := v_d_held || 0::bigint;
                v_d_ends := v_d_ends || p_ends[k + n_keys + j];
            END IF;
        END LOOP;
        INSERT INTO budgetguard.entries
            (ns, late, expired, estimated, at_ms, cost, input, output, id, provider, model, flags, usage, accounts,
             tag_names, tag_values)
        VALUES (p_ns, v_late OR p_said[n + 3] = 1, false, p_said[n + 4] = 1, v_now, v_cost, p_said[n + 5],
                p_said[n + 6], v_id, p_texts[t + 1], p_texts[t + 2], p_texts[t + 3], p_texts[t + 4], v_more || v_keys,
                p_tag_names[g + 1 : g + n_tags], p_tag_values[g + 1 : g + n_tags]);

        -- Each lease becomes smaller by the cost.
        FOR j IN 1..n_leases LOOP
            v_lease := p_leases[l + j];
            SELECT * INTO v_hold FROM budgetguard.holds WHERE ns + 0 = p_ns AND id = v_lease FOR UPDATE;
            v_known := FOUND;
            IF v_known AND v_hold.due_ms <= v_now THEN
                PERFORM budgetguard.expire(v_hold, v_now);
                IF NOT v_hold.ended THEN
                    v_d_keys := v_d_keys || v_hold.accounts;
                    FOR m IN 1..cardinality(v_hold.accounts) LOOP
                        v_d_settled := v_d_settled || CASE WHEN v_hold.charge THEN v_hold.amount ELSE 0 END;
                        v_d_held := v_d_held || -v_hold.amount;
                        v_d_ends := v_d_ends || v_never;
                    END LOOP;
                END IF;
                v_known := false;
            END IF;
            v_keys := '{}';
            v_settled := 0;
            v_taken := 0;
            IF v_known AND NOT v_hold.ended THEN
                v_keys := v_hold.accounts;
                v_taken := least(v_cost, v_hold.amount);
                UPDATE budgetguard.holds SET amount = amount - v_taken, charge = charge AND amount > v_taken
                    WHERE ns + 0 = p_ns AND id = v_lease;
            ELSIF NOT v_known THEN
                SELECT * INTO v_entry FROM budgetguard.entries WHERE ns + 0 = p_ns AND id = v_lease AND expired FOR UPDATE;
                IF FOUND THEN
                    v_keys := v_entry.accounts;
                    v_settled := least(v_cost, v_entry.cost);
                    UPDATE budgetguard.entries SET cost = cost - v_settled WHERE ns + 0 = p_ns AND id = v_lease;
                END IF;
            END IF;
            v_d_keys := v_d_keys || v_keys;
            FOR m IN 1..cardinality(v_keys) LOOP
                v_d_settled := v_d_settled || -v_settled;
                v_d_held := v_d_held || -v_taken;
                v_d_ends := v_d_ends || v_never;
            END LOOP;
        END LOOP;

        v_answers := v_answers || v_late::integer::bigint || v_cost;
        k := k + n_keys + n_more;
        g := g + n_tags;
        l := l + n_leases;
    END LOOP;
    IF cardinality(v_d_keys) > 0 THEN
        PERFORM budgetguard.add(p_ns, v_d_keys, v_d_settled, v_d_held, v_d_ends);
    END IF;
    RETURN v_answers;
END $$;

-- Give a hold back; an id that is not known is remembered, and the charge of an expired hold taken back.
CREATE OR REPLACE FUNCTION budgetguard.release(p_ns integer, p_now bigint, p_id bytea) RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    v_now bigint := p_now;
    v_dummy text;
    v_hold budgetguard.holds;
    v_entry budgetguard.entries;
    v_keys bytea[];
    v_settled bigint := 0;
    v_held bigint := 0;
    keep_ended CONSTANT bigint := 86400000;
BEGIN
    v_dummy := pg_catalog.set_config('synchronous_commit', 'off', true);
    v_dummy := pg_catalog.pg_advisory_xact_lock(
        pg_catalog.hashtextextended(pg_catalog.encode(p_id, 'hex'), p_ns))::text;
    IF v_now < 0 THEN
        v_now := (EXTRACT(EPOCH FROM pg_catalog.clock_timestamp()) * 1000)::bigint;
    END IF;
    SELECT * INTO v_hold FROM budgetguard.holds WHERE ns + 0 = p_ns AND id = p_id FOR UPDATE;
    IF FOUND AND v_hold.due_ms <= v_now THEN
        IF v_hold.ended THEN  -- it is forgotten, and so ends anew
            v_hold.accounts := '{}';
        ELSIF NOT v_hold.charge AND v_hold.due_ms + keep_ended > v_now THEN
            PERFORM budgetguard.expire(v_hold, v_now);
            UPDATE budgetguard.holds SET placed_ms = 0 WHERE ns + 0 = p_ns AND id = p_id;
            PERFORM budgetguard.change(p_ns, v_hold.accounts, 0, -v_hold.amount);
            RETURN;
        END IF;
        -- What was charged for it is taken back at once.
        v_keys := v_hold.accounts;
        v_held := -v_hold.amount;
    ELSIF FOUND THEN
        IF v_hold.ended THEN
            UPDATE budgetguard.holds SET placed_ms = 0 WHERE ns + 0 = p_ns AND id = p_id AND placed_ms <> 0;
            RETURN;
        END IF;
        v_keys := v_hold.accounts;
        v_held := -v_hold.amount;
    ELSE
        SELECT * INTO v_entry FROM budgetguard.entries WHERE ns + 0 = p_ns AND id = p_id FOR UPDATE;
        IF FOUND THEN
            IF NOT v_entry.expired THEN
                RETURN;
            END IF;
            v_keys := v_entry.accounts;
            v_settled := -v_entry.cost;
            DELETE FROM budgetguard.entries WHERE ns + 0 = p_ns AND id = p_id;
        END IF;
    END IF;
    PERFORM budgetguard.forget_at(p_ns, p_id, v_now + keep_ended);
    IF cardinality(v_keys) > 0 THEN
        PERFORM budgetguard.change(p_ns, v_keys, v_settled, v_held);
    END IF;
END $$;

-- Add the same to several accounts, in the order of their keys.
CREATE OR REPLACE FUNCTION budgetguard.change(p_ns integer, p_keys bytea[], p_settled bigint, p_held bigint)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF cardinality(p_keys) > 1 THEN
        PERFORM FROM budgetguard.accounts WHERE ns = p_ns AND key = ANY (p_keys) ORDER BY key FOR UPDATE;
    END IF;
    UPDATE budgetguard.accounts SET settled = settled + p_settled, held = held + p_held
    WHERE ns = p_ns AND key = ANY (p_keys);
END $$;

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

-- Delete some entries before a time, and once fewer than that are left the accounts that ended; how many entries.
CREATE OR REPLACE FUNCTION budgetguard.prune(p_ns integer, p_before bigint, p_most integer) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    v_ids bytea[];
BEGIN
    SELECT array_agg(o.id) INTO v_ids FROM (
        SELECT id FROM budgetguard.entries WHERE ns = p_ns AND at_ms < p_before
        ORDER BY at_ms, id LIMIT p_most FOR UPDATE SKIP LOCKED
    ) AS o;
    PERFORM FROM budgetguard.accounts WHERE ns = p_ns AND key IN (
        SELECT unnest(e.accounts) FROM budgetguard.entries AS e WHERE e.ns + 0 = p_ns AND e.id = ANY (v_ids)
    ) ORDER BY key FOR UPDATE;
    UPDATE budgetguard.accounts AS a SET pruned = a.pruned + s.cost
    FROM (
        SELECT k.key, sum(e.cost) AS cost
        FROM budgetguard.entries AS e CROSS JOIN LATERAL unnest(e.accounts) AS k (key)
        WHERE e.ns + 0 = p_ns AND e.id = ANY (v_ids) GROUP BY k.key
    ) AS s
    WHERE a.ns = p_ns AND a.key = s.key;
    DELETE FROM budgetguard.entries WHERE ns + 0 = p_ns AND id = ANY (v_ids);
    IF coalesce(cardinality(v_ids), 0) < p_most THEN
        DELETE FROM budgetguard.accounts
        WHERE ns = p_ns AND end_ms <= p_before AND settled = pruned AND held = 0
            AND key NOT IN (SELECT unnest(h.accounts) FROM budgetguard.holds AS h WHERE h.ns = p_ns AND NOT h.ended);
    END IF;
    RETURN coalesce(cardinality(v_ids), 0);
END $$;

-- `settle` in two transactions: the books change in one that does not wait for the disk, and so lets go of its
-- accounts at once; then a mark is written that is on the disk when this returns, and all before it with it.
CREATE OR REPLACE PROCEDURE budgetguard.settle_durably(
    p_ns integer, p_now bigint, p_ids bytea[], p_said bigint[], p_texts bytea[], p_keys bytea[], p_ends bigint[],
    p_tag_names bytea[], p_tag_values bytea[], p_leases bytea[], INOUT p_answers bigint[]
) LANGUAGE plpgsql AS $$
DECLARE
    v_was text := pg_catalog.set_config('synchronous_commit', 'off', true);
    v_mark pg_lsn;
BEGIN
    p_answers := budgetguard.settle(
        p_ns, p_now, p_ids, p_said, p_texts, p_keys, p_ends, p_tag_names, p_tag_values, p_leases);
    COMMIT;
    v_mark := pg_catalog.pg_logical_emit_message(true, 'budgetguard', '');
END $$;
