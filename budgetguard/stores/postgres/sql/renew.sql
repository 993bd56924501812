-- Have holds whose calls live count for their ttl from now: those that expired are placed again, whatever the limit.
--
-- p_said, five for each id: amount, ttl, charge (1), how many keys and how many tags it has in the arrays that follow.
-- p_texts, two for each: provider, model. Answers 1 for each that counts, 0 for one that has ended.
CREATE OR REPLACE FUNCTION budgetguard.renew(
    p_ns integer, p_now bigint, p_ids bytea[], p_said bigint[], p_texts bytea[], p_keys bytea[], p_ends bigint[],
    p_tag_names bytea[], p_tag_values bytea[]
) RETURNS bigint[] LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    v_now bigint := p_now;
    v_answers bigint[] := '{}';
    v_dummy text;
    v_id bytea;
    v_hold budgetguard.holds;
    v_entry budgetguard.entries;
    v_due bigint;
    v_amount bigint;
    v_settled bigint;
    v_keys bytea[];
    v_ends bigint[];
    v_d_keys bytea[] := '{}';       -- what is to be added to accounts
    v_d_settled bigint[] := '{}';
    v_d_held bigint[] := '{}';
    v_d_ends bigint[] := '{}';
    v_never CONSTANT bigint := 9223372036854775807;
    n integer;
    k integer := 0;
    g integer := 0;
    n_keys integer;
    n_tags integer;
BEGIN
    v_dummy := pg_catalog.set_config('synchronous_commit', 'off', true);
    PERFORM pg_catalog.pg_advisory_xact_lock(o.lock) FROM (
        SELECT DISTINCT budgetguard.id_lock(p_ns, i.id) AS lock FROM unnest(p_ids) AS i (id) ORDER BY 1
    ) AS o;
    IF v_now < 0 THEN
        v_now := (EXTRACT(EPOCH FROM pg_catalog.clock_timestamp()) * 1000)::bigint;
    END IF;
    PERFORM FROM budgetguard.holds WHERE ns + 0 = p_ns AND id = ANY (p_ids) ORDER BY id FOR UPDATE;

    FOR i IN 1..cardinality(p_ids) LOOP
        n := 5 * (i - 1);
        v_id := p_ids[i];
        v_amount := p_said[n + 1];
        v_due := v_now + p_said[n + 2];
        n_keys := p_said[n + 4];
        n_tags := p_said[n + 5];
        v_keys := p_keys[k + 1 : k + n_keys];
        v_ends := p_ends[k + 1 : k + n_keys];
        v_settled := 0;
        k := k + n_keys;
        g := g + n_tags;
        SELECT * INTO v_hold FROM budgetguard.holds WHERE ns + 0 = p_ns AND id = v_id;
        IF FOUND AND NOT v_hold.ended THEN
            UPDATE budgetguard.holds SET due_ms = v_due WHERE ns + 0 = p_ns AND id = v_id AND due_ms < v_due;
            v_answers := v_answers || 1::bigint;
            CONTINUE;
        END IF;
        IF FOUND AND v_hold.placed_ms = 0 AND v_hold.due_ms > v_now THEN
            v_answers := v_answers || 0::bigint;
            CONTINUE;
        END IF;
        SELECT * INTO v_entry FROM budgetguard.entries WHERE ns + 0 = p_ns AND id = v_id FOR UPDATE;
        IF FOUND THEN
            IF NOT v_entry.expired THEN
                v_answers := v_answers || 0::bigint;
                CONTINUE;
            END IF;
            DELETE FROM budgetguard.entries WHERE ns + 0 = p_ns AND id = v_id;
            v_keys := v_entry.accounts;
            v_ends := array_fill(v_never, ARRAY[cardinality(v_keys)]);
            v_amount := v_entry.cost;
            v_settled := -v_entry.cost;
        END IF;
        DELETE FROM budgetguard.holds WHERE ns + 0 = p_ns AND id = v_id;
        INSERT INTO budgetguard.holds
            (ns, ended, charge, due_ms, placed_ms, amount, id, provider, model, accounts, tag_names, tag_values)
        VALUES (p_ns, false, p_said[n + 3] = 1 AND v_amount > 0, v_due, v_now, v_amount, v_id, p_texts[2 * i - 1],
                p_texts[2 * i], v_keys, p_tag_names[g - n_tags + 1 : g], p_tag_values[g - n_tags + 1 : g]);
        v_d_keys := v_d_keys || v_keys;
        v_d_settled := v_d_settled || array_fill(v_settled, ARRAY[cardinality(v_keys)]);
        v_d_held := v_d_held || array_fill(v_amount, ARRAY[cardinality(v_keys)]);
        v_d_ends := v_d_ends || v_ends;
        v_answers := v_answers || 1::bigint;
    END LOOP;
    IF cardinality(v_d_keys) > 0 THEN
        PERFORM budgetguard.add(p_ns, v_d_keys, v_d_settled, v_d_held, v_d_ends);
    END IF;
    RETURN v_answers;
END $$;
