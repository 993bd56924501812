-- Rows of other books, as they are: for copies and restores.
--
-- p_versions, two for each key of terms: version, whether there is a body (1). p_texts and p_said, as `budgetguard.settle` has them.
-- p_times, two for each entry: at_ms, whether it was booked by an expired hold (1).
CREATE OR REPLACE FUNCTION budgetguard.load(
    p_ns integer, p_now bigint, p_term_keys bytea[], p_versions bigint[], p_bodies bytea[], p_accounts bytea[],
    p_ends bigint[], p_pruned bigint[], p_texts bytea[], p_said bigint[], p_times bigint[],
    p_keys bytea[], p_tag_names bytea[], p_tag_values bytea[]
) RETURNS void LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    v_ids CONSTANT bytea[] := ARRAY(
        SELECT p_texts[5 * i - 4] FROM generate_series(1, cardinality(p_texts) / 5) AS i);
    v_now CONSTANT bigint := budgetguard.now_ms(p_now);
    v_never CONSTANT bigint := 9223372036854775807;
    v_id bytea;
    v_hold budgetguard.holds;
    v_entry budgetguard.entries;
    v_keys bytea[];
    v_amounts bigint[];             -- of each unit
    v_none CONSTANT bigint[] := '{0, 0, 0, 0}';
    v_d_keys bytea[] := '{}';       -- what is to be added to accounts
    v_d_settled bigint[] := '{}';
    v_d_held bigint[] := '{}';
    n integer;
    k integer := 0;
    g integer := 0;
    n_keys integer;
    n_tags integer;
BEGIN
    PERFORM pg_catalog.pg_advisory_xact_lock(o.lock) FROM (
        SELECT DISTINCT budgetguard.id_lock(p_ns, i.id) AS lock FROM unnest(v_ids) AS i (id) ORDER BY 1
    ) AS o;
    INSERT INTO budgetguard.terms AS t (ns, key, version, body)
        SELECT DISTINCT ON (p_term_keys[i]) p_ns, p_term_keys[i], p_versions[2 * i - 1],
               CASE WHEN p_versions[2 * i] = 1 THEN p_bodies[i] END
        FROM generate_subscripts(p_term_keys, 1) AS i ORDER BY p_term_keys[i], p_versions[2 * i - 1] DESC, i
        ON CONFLICT (ns, key) DO UPDATE SET version = excluded.version, body = excluded.body
        WHERE t.version < excluded.version;

    FOR i IN 1..cardinality(v_ids) LOOP
        v_id := v_ids[i];
        n := 13 * (i - 1);
        n_keys := p_said[n + 10];
        n_tags := p_said[n + 11];
        v_keys := p_keys[k + 1 : k + n_keys];
        k := k + n_keys;
        g := g + n_tags;

        -- What is due has happened.
        SELECT * INTO v_hold FROM budgetguard.holds WHERE ns + 0 = p_ns AND id = v_id FOR UPDATE;
        IF FOUND AND v_hold.due_ms <= v_now THEN
            PERFORM budgetguard.expire(v_hold, v_now);
            IF NOT v_hold.ended THEN
                v_amounts := budgetguard.amounts(v_hold);
                v_d_keys := v_d_keys || v_hold.accounts;
                v_d_settled := v_d_settled || budgetguard.changes(
                    v_hold.accounts, budgetguard.booked(v_hold), v_none);
                v_d_held := v_d_held || budgetguard.changes(v_hold.accounts, v_none, v_amounts);
            END IF;
        ELSIF FOUND AND NOT v_hold.ended THEN
            v_d_keys := v_d_keys || v_hold.accounts;
            v_d_settled := v_d_settled || budgetguard.changes(v_hold.accounts, v_none, v_none);
            v_d_held := v_d_held || budgetguard.changes(v_hold.accounts, v_none, budgetguard.amounts(v_hold));
        END IF;

        SELECT * INTO v_entry FROM budgetguard.entries WHERE ns + 0 = p_ns AND id = v_id FOR UPDATE;
        IF FOUND THEN
            CONTINUE WHEN NOT v_entry.expired;
            DELETE FROM budgetguard.entries WHERE ns + 0 = p_ns AND id = v_id;
            v_d_keys := v_d_keys || v_entry.accounts;
            v_d_settled := v_d_settled || budgetguard.changes(v_entry.accounts, v_none, budgetguard.amounts(v_entry));
            v_d_held := v_d_held || budgetguard.changes(v_entry.accounts, v_none, v_none);
        END IF;
        DELETE FROM budgetguard.holds WHERE ns + 0 = p_ns AND id = v_id;
        INSERT INTO budgetguard.entries
            (ns, late, expired, estimated, at_ms, cost, input, output, id, provider, model, flags, usage, accounts,
             tag_names, tag_values, tokens, requests)
        VALUES (p_ns, p_said[n + 5] = 1, p_times[2 * i] = 1, p_said[n + 6] = 1, p_times[2 * i - 1], p_said[n + 1],
                p_said[n + 7], p_said[n + 8], v_id, p_texts[5 * i - 3], p_texts[5 * i - 2], p_texts[5 * i - 1],
                p_texts[5 * i], v_keys, p_tag_names[g - n_tags + 1 : g], p_tag_values[g - n_tags + 1 : g],
                p_said[n + 2], p_said[n + 3]);
        v_d_keys := v_d_keys || v_keys;
        v_d_settled := v_d_settled || budgetguard.changes(v_keys, p_said[n + 1 : n + 3] || 0::bigint, v_none);
        v_d_held := v_d_held || budgetguard.changes(v_keys, v_none, v_none);
    END LOOP;

    PERFORM budgetguard.add(p_ns, v_d_keys, v_d_settled, v_d_held,
                            array_fill(v_never, ARRAY[cardinality(v_d_keys)]));
    INSERT INTO budgetguard.accounts AS a (ns, key, settled, pruned, end_ms)
        SELECT DISTINCT ON (c.key) p_ns, c.key, c.pruned, c.pruned, nullif(c.end_ms, v_never)
        FROM unnest(p_accounts, p_ends, p_pruned) WITH ORDINALITY AS c (key, end_ms, pruned, place)
        ORDER BY c.key, c.place DESC
        ON CONFLICT (ns, key) DO UPDATE SET settled = a.settled + excluded.pruned - a.pruned,
            pruned = excluded.pruned, end_ms = excluded.end_ms;
END $$;
