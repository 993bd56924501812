-- Have holds whose calls live count for their ttl from now: those that expired are placed again, whatever the limit.
--
-- p_texts, three for each: id, provider, model.
-- p_said, seven for each: amount; tokens and requests (-1: no account of it counts them); ttl; charge (1); how many keys
-- and how many tags it has in the arrays that follow. Answers 1 for each that counts, 0 for one that has ended.
CREATE OR REPLACE FUNCTION budgetguard.renew(
    p_ns integer, p_now bigint, p_texts bytea[], p_said bigint[], p_keys bytea[], p_ends bigint[],
    p_tag_names bytea[], p_tag_values bytea[]
) RETURNS bigint[] LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    v_now bigint := p_now;
    v_ids CONSTANT bytea[] := ARRAY(
        SELECT p_texts[3 * i - 2] FROM generate_series(1, cardinality(p_texts) / 3) AS i);
    v_answers bigint[] := '{}';
    v_dummy text;
    v_id bytea;
    v_hold budgetguard.holds;
    v_entry budgetguard.entries;
    v_due bigint;
    v_amounts bigint[];             -- of each unit; null: no account counts it
    v_booked bigint[];
    v_none CONSTANT bigint[] := '{0, 0, 0, 0}';
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
        SELECT DISTINCT budgetguard.id_lock(p_ns, i.id) AS lock FROM unnest(v_ids) AS i (id) ORDER BY 1
    ) AS o;
    IF v_now < 0 THEN
        v_now := (EXTRACT(EPOCH FROM pg_catalog.clock_timestamp()) * 1000)::bigint;
    END IF;
    PERFORM FROM budgetguard.holds WHERE ns + 0 = p_ns AND id = ANY (v_ids) ORDER BY id FOR UPDATE;

    FOR i IN 1..cardinality(v_ids) LOOP
        n := 7 * (i - 1);
        v_id := v_ids[i];
        v_amounts := ARRAY[p_said[n + 1], nullif(p_said[n + 2], -1), nullif(p_said[n + 3], -1), 1];
        v_due := v_now + p_said[n + 4];
        n_keys := p_said[n + 6];
        n_tags := p_said[n + 7];
        v_keys := p_keys[k + 1 : k + n_keys];
        v_ends := p_ends[k + 1 : k + n_keys];
        v_booked := v_none;
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
            v_booked := budgetguard.amounts(v_entry);
            v_amounts := ARRAY[v_entry.cost, CASE WHEN budgetguard.counts(v_keys, 2) THEN v_entry.tokens END,
                               CASE WHEN budgetguard.counts(v_keys, 3) THEN v_entry.requests END, 1];
        END IF;
        DELETE FROM budgetguard.holds WHERE ns + 0 = p_ns AND id = v_id;
        INSERT INTO budgetguard.holds
            (ns, ended, charge, due_ms, placed_ms, amount, id, provider, model, accounts, tag_names, tag_values, tokens,
             requests)
        VALUES (p_ns, false, p_said[n + 5] = 1 AND greatest(v_amounts[1], v_amounts[2], v_amounts[3]) > 0, v_due, v_now,
                v_amounts[1], v_id, p_texts[3 * i - 1], p_texts[3 * i], v_keys, p_tag_names[g - n_tags + 1 : g],
                p_tag_values[g - n_tags + 1 : g], v_amounts[2], v_amounts[3]);
        v_d_keys := v_d_keys || v_keys;
        v_d_settled := v_d_settled || budgetguard.changes(v_keys, v_none, v_booked);
        v_d_held := v_d_held || budgetguard.changes(v_keys, v_amounts, v_none);
        v_d_ends := v_d_ends || v_ends;
        v_answers := v_answers || 1::bigint;
    END LOOP;
    IF cardinality(v_d_keys) > 0 THEN
        PERFORM budgetguard.add(p_ns, v_d_keys, v_d_settled, v_d_held, v_d_ends);
    END IF;
    RETURN v_answers;
END $$;
