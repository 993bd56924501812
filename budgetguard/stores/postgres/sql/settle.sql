-- End holds at their true costs and record the entries, in this order.
--
-- p_texts, five for each: id, provider, model, flags, usage.
-- p_said, thirteen for each: cost; tokens; requests; late unless it is known (1); the caller says that it is late (1);
-- estimated (1); input tokens; output tokens; how many keys are charged, how many are named beside them, how many
-- tags, how many leases and how many keys to be told it has in the arrays that follow.
-- p_told: keys whose balances are told, and p_told_of: in which item, from one on; none: p_keys, each for itself.
-- Answers "<end> ...;<settled> <held> ...": for each hold 0 settled, 1 settled late, or 2 conflict with the cost, tokens
-- and requests that stand ("2,25,520,1"); and a pair for each item, as the books stood after its settlement.
CREATE OR REPLACE FUNCTION budgetguard.settle(
    p_ns integer, p_now bigint, p_texts bytea[], p_said bigint[], p_keys bytea[], p_ends bigint[], p_told bytea[],
    p_told_of bigint[], p_tag_names bytea[], p_tag_values bytea[], p_leases bytea[]
) RETURNS text LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    v_now bigint := p_now;
    v_id CONSTANT bytea := p_texts[1];
    v_dummy text;
    v_alone CONSTANT boolean := cardinality(p_keys) = 1;
    v_none CONSTANT bigint[] := '{0, 0, 0, 0}';
    v_used CONSTANT bigint[] := p_said[1 : 3] || 0::bigint;  -- of each unit
    v_unit integer;
    v_taken bigint[];
    v_sums text;
BEGIN
    IF cardinality(p_texts) = 5 THEN
        v_dummy := pg_catalog.pg_advisory_xact_lock(
            pg_catalog.hashtextextended(pg_catalog.encode(v_id, 'hex'), p_ns))::text;
    ELSE
        PERFORM pg_catalog.pg_advisory_xact_lock(o.lock) FROM (
            SELECT DISTINCT budgetguard.id_lock(p_ns, p_texts[5 * i - 4]) AS lock
            FROM generate_series(1, cardinality(p_texts) / 5) AS i ORDER BY 1
        ) AS o;
    END IF;
    IF v_now < 0 THEN
        v_now := (EXTRACT(EPOCH FROM pg_catalog.clock_timestamp()) * 1000)::bigint;
    END IF;

    -- The common settlement, straight: of an open hold, on its accounts and perhaps some beside. (The 0 keeps the index on
    -- due_ms, which would be read whole, out of it. The accounts are changed last, as others wait for them.)
    IF cardinality(p_said) = 13 AND p_said[9] > 0 AND p_said[12] = 0
        AND (v_alone OR NOT p_keys[1 : p_said[9]] && p_keys[p_said[9] + 1 :]) THEN
        DELETE FROM budgetguard.holds
        WHERE ns + 0 = p_ns AND id = v_id AND NOT ended AND due_ms + 0 > v_now AND accounts = p_keys[1 : p_said[9]]
        RETURNING ARRAY[amount, coalesce(tokens, 0), coalesce(requests, 0), 1] INTO v_taken;
        IF FOUND THEN
            INSERT INTO budgetguard.entries
                (ns, late, expired, estimated, at_ms, cost, input, output, id, provider, model, flags, usage, accounts,
                 tag_names, tag_values, tokens, requests)
            VALUES (p_ns, p_said[5] = 1, false, p_said[6] = 1, v_now, p_said[1], p_said[7], p_said[8], v_id,
                    p_texts[2], p_texts[3], p_texts[4], p_texts[5],
                    CASE WHEN v_alone THEN p_keys ELSE p_keys[p_said[9] + 1 :] || p_keys[1 : p_said[9]] END,
                    p_tag_names, p_tag_values, p_said[2], p_said[3]);
            IF v_alone THEN
                v_unit := budgetguard.unit(p_keys[1]);
                UPDATE budgetguard.accounts SET settled = settled + v_used[v_unit], held = held - v_taken[v_unit]
                WHERE ns = p_ns AND key = p_keys[1] RETURNING settled || ' ' || held INTO v_sums;
            ELSE
                v_sums := budgetguard.added(
                    p_ns, p_keys, budgetguard.changes(p_keys, v_used, v_none),
                    budgetguard.changes(p_keys[1 : p_said[9]], v_none, v_taken)
                        || array_fill(0::bigint, ARRAY[p_said[10]::integer]),
                    p_ends);
            END IF;
            IF cardinality(p_told) > 0 THEN
                v_sums := budgetguard.told(p_ns, p_told, p_told_of);
            END IF;
            RETURN '0;' || v_sums;
        END IF;
    END IF;
    RETURN budgetguard.settle_in_steps(
        p_ns, v_now, p_texts, p_said, p_keys, p_ends, p_told, p_told_of, p_tag_names, p_tag_values, p_leases);
END $$;

-- The same of any others: their ids are locked, and the time is known.
CREATE OR REPLACE FUNCTION budgetguard.settle_in_steps(
    p_ns integer, p_now bigint, p_texts bytea[], p_said bigint[], p_keys bytea[], p_ends bigint[], p_told bytea[],
    p_told_of bigint[], p_tag_names bytea[], p_tag_values bytea[], p_leases bytea[]
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_now CONSTANT bigint := p_now;
    v_count CONSTANT integer := cardinality(p_texts) / 5;
    v_ids CONSTANT bytea[] := ARRAY(SELECT p_texts[5 * i - 4] FROM generate_series(1, v_count) AS i);
    v_answers text[] := '{}';
    v_id bytea;
    v_hold budgetguard.holds;
    v_known boolean;
    v_entry budgetguard.entries;
    v_late boolean;
    v_used bigint[];                -- of each unit, as all that follow
    v_booked bigint[];
    v_taken bigint[];
    v_none CONSTANT bigint[] := '{0, 0, 0, 0}';
    v_keys bytea[];
    v_ends bigint[];                -- of accounts that may not be there yet; null: they are
    v_more bytea[];
    v_d_keys bytea[] := '{}';       -- what is to be added to accounts
    v_d_settled bigint[] := '{}';
    v_d_held bigint[] := '{}';
    v_d_ends bigint[] := '{}';
    v_d_steps integer[] := '{}';    -- by which settlement
    v_steps integer[] := '{}';      -- after which settlement a key is told
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
    IF v_count > 1 OR cardinality(p_leases) > 0 THEN  -- in order
        PERFORM FROM budgetguard.holds WHERE ns + 0 = p_ns AND id = ANY (v_ids || p_leases) ORDER BY id FOR UPDATE;
    END IF;
    IF cardinality(p_leases) > 0 THEN
        PERFORM FROM budgetguard.entries WHERE ns + 0 = p_ns AND id = ANY (v_ids || p_leases) AND expired
            ORDER BY id FOR UPDATE;
    END IF;

    FOR i IN 1..v_count LOOP
        n := 13 * (i - 1);
        t := 5 * (i - 1);
        v_id := v_ids[i];
        v_used := p_said[n + 1 : n + 3] || 0::bigint;
        n_keys := p_said[n + 9];
        n_more := p_said[n + 10];
        n_tags := p_said[n + 11];
        n_leases := p_said[n + 12];
        v_steps := v_steps || array_fill(i, ARRAY[p_said[n + 13]::integer]);
        v_booked := v_none;
        v_taken := v_none;
        v_late := false;
        v_ends := NULL;

        SELECT * INTO v_hold FROM budgetguard.holds WHERE ns + 0 = p_ns AND id = v_id FOR UPDATE;
        v_known := FOUND;
        IF v_known AND v_hold.due_ms <= v_now THEN
            PERFORM budgetguard.expire(v_hold, v_now);
            IF NOT v_hold.ended THEN
                v_taken := budgetguard.amounts(v_hold);
                v_d_keys := v_d_keys || v_hold.accounts;
                v_d_settled := v_d_settled || budgetguard.changes(
                    v_hold.accounts, budgetguard.booked(v_hold), v_none);
                v_d_held := v_d_held || budgetguard.changes(v_hold.accounts, v_none, v_taken);
                v_d_ends := v_d_ends || array_fill(v_never, ARRAY[cardinality(v_hold.accounts)]);
                v_taken := v_none;
            END IF;
            SELECT * INTO v_hold FROM budgetguard.holds WHERE ns + 0 = p_ns AND id = v_id;
            v_known := FOUND;
        END IF;
        IF v_known AND NOT v_hold.ended THEN
            v_keys := v_hold.accounts;
            v_taken := budgetguard.amounts(v_hold);
        ELSE
            SELECT * INTO v_entry FROM budgetguard.entries WHERE ns + 0 = p_ns AND id = v_id FOR UPDATE;
            IF NOT FOUND THEN
                v_late := v_known OR p_said[n + 4] = 1;
                v_keys := p_keys[k + 1 : k + n_keys];
                v_ends := p_ends[k + 1 : k + n_keys];
            ELSIF v_entry.expired THEN
                v_late := true;
                v_keys := v_entry.accounts;
                v_booked := budgetguard.amounts(v_entry);
                DELETE FROM budgetguard.entries WHERE ns + 0 = p_ns AND id = v_id;
            ELSE
                v_answers := v_answers || CASE WHEN budgetguard.amounts(v_entry) <> v_used
                    THEN '2,' || array_to_string((budgetguard.amounts(v_entry))[1 : 3], ',') ELSE v_entry.late::integer::text END;
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
        v_d_settled := v_d_settled || budgetguard.changes(v_keys, v_used, v_booked);
        v_d_held := v_d_held || budgetguard.changes(v_keys, v_none, v_taken);
        v_d_ends := v_d_ends || coalesce(v_ends, array_fill(v_never, ARRAY[cardinality(v_keys)]));
        v_more := '{}';
        FOR j IN 1..n_more LOOP
            IF NOT p_keys[k + n_keys + j] = ANY (v_keys || v_more) THEN
                v_more := v_more || p_keys[k + n_keys + j];
                v_d_keys := v_d_keys || p_keys[k + n_keys + j];
                v_d_settled := v_d_settled || v_used[budgetguard.unit(p_keys[k + n_keys + j])];
                v_d_held := v_d_held || 0::bigint;
                v_d_ends := v_d_ends || p_ends[k + n_keys + j];
            END IF;
        END LOOP;
        INSERT INTO budgetguard.entries
            (ns, late, expired, estimated, at_ms, cost, input, output, id, provider, model, flags, usage, accounts,
             tag_names, tag_values, tokens, requests)
        VALUES (p_ns, v_late OR p_said[n + 5] = 1, false, p_said[n + 6] = 1, v_now, v_used[1], p_said[n + 7],
                p_said[n + 8], v_id, p_texts[t + 2], p_texts[t + 3], p_texts[t + 4], p_texts[t + 5], v_more || v_keys,
                p_tag_names[g + 1 : g + n_tags], p_tag_values[g + 1 : g + n_tags], v_used[2], v_used[3]);

        -- Each lease becomes smaller by what was used.
        FOR j IN 1..n_leases LOOP
            v_id := p_leases[l + j];
            SELECT * INTO v_hold FROM budgetguard.holds WHERE ns + 0 = p_ns AND id = v_id FOR UPDATE;
            v_known := FOUND;
            IF v_known AND v_hold.due_ms <= v_now THEN
                PERFORM budgetguard.expire(v_hold, v_now);
                IF NOT v_hold.ended THEN
                    v_taken := budgetguard.amounts(v_hold);
                    v_d_keys := v_d_keys || v_hold.accounts;
                    v_d_settled := v_d_settled || budgetguard.changes(
                        v_hold.accounts, budgetguard.booked(v_hold), v_none);
                    v_d_held := v_d_held || budgetguard.changes(v_hold.accounts, v_none, v_taken);
                    v_d_ends := v_d_ends || array_fill(v_never, ARRAY[cardinality(v_hold.accounts)]);
                END IF;
                v_known := false;
            END IF;
            v_keys := '{}';
            v_booked := v_none;
            v_taken := v_none;
            IF v_known AND NOT v_hold.ended THEN
                v_keys := v_hold.accounts;
                v_taken := budgetguard.drawn(budgetguard.amounts(v_hold), v_used, v_keys);
                UPDATE budgetguard.holds
                SET amount = amount - v_taken[1], tokens = tokens - v_taken[2], requests = requests - v_taken[3],
                    charge = charge AND (budgetguard.amounts(v_hold))[1 : 3] <> v_taken[1 : 3]
                WHERE ns + 0 = p_ns AND id = v_id;
            ELSIF NOT v_known THEN
                SELECT * INTO v_entry FROM budgetguard.entries WHERE ns + 0 = p_ns AND id = v_id AND expired FOR UPDATE;
                IF FOUND THEN
                    v_keys := v_entry.accounts;
                    v_booked := budgetguard.drawn(budgetguard.amounts(v_entry), v_used, v_keys);
                    UPDATE budgetguard.entries
                    SET cost = cost - v_booked[1], tokens = tokens - v_booked[2], requests = requests - v_booked[3]
                    WHERE ns + 0 = p_ns AND id = v_id;
                END IF;
            END IF;
            v_d_keys := v_d_keys || v_keys;
            v_d_settled := v_d_settled || budgetguard.changes(v_keys, v_none, v_booked);
            v_d_held := v_d_held || budgetguard.changes(v_keys, v_none, v_taken);
            v_d_ends := v_d_ends || array_fill(v_never, ARRAY[cardinality(v_keys)]);
        END LOOP;

        v_answers := v_answers || v_late::integer::text;
        v_d_steps := v_d_steps || array_fill(i, ARRAY[cardinality(v_d_keys) - cardinality(v_d_steps)]);
        k := k + n_keys + n_more;
        g := g + n_tags;
        l := l + n_leases;
    END LOOP;
    IF cardinality(v_d_keys) > 0 THEN
        PERFORM budgetguard.add(p_ns, v_d_keys, v_d_settled, v_d_held, v_d_ends);
    END IF;
    IF cardinality(p_told) = 0 THEN
        v_keys := p_keys;
    ELSE
        v_keys := p_told;
    END IF;
    RETURN array_to_string(v_answers, ' ') || ';' || coalesce(
        CASE v_count WHEN 1 THEN budgetguard.told(p_ns, v_keys, p_told_of)
        ELSE budgetguard.told_after(p_ns, v_keys, p_told_of, v_steps, v_d_keys, v_d_settled, v_d_held, v_d_steps) END, '');
END $$;

-- What a lease gives for a call: what was used, as far as there is so much, of dollars and of what its accounts count.
CREATE OR REPLACE FUNCTION budgetguard.drawn(p_there bigint[], p_used bigint[], p_keys bytea[]) RETURNS bigint[]
LANGUAGE sql IMMUTABLE AS $$
    SELECT ARRAY[least(p_there[1], p_used[1]),
                 CASE WHEN budgetguard.counts(p_keys, 2) THEN least(p_there[2], p_used[2]) ELSE 0 END,
                 CASE WHEN budgetguard.counts(p_keys, 3) THEN least(p_there[3], p_used[3]) ELSE 0 END, 0]
$$;

-- As `budgetguard.told`, of several settlements that were booked together: each item as it was after its own step, which
-- is what there is now without what the later steps have added.
CREATE OR REPLACE FUNCTION budgetguard.told_after(
    p_ns integer, p_keys bytea[], p_items bigint[], p_steps integer[], p_d_keys bytea[], p_d_settled bigint[],
    p_d_held bigint[], p_d_steps integer[]
) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN (
        WITH each AS (
            SELECT t.key, t.step, coalesce(t.item, t.place) AS item, 0::bigint AS settled, 0::bigint AS held
            FROM unnest(p_keys, p_items, p_steps) WITH ORDINALITY AS t (key, item, step, place)
            UNION ALL
            SELECT d.key, d.step, NULL, d.settled, d.held
            FROM unnest(p_d_keys, p_d_settled, p_d_held, p_d_steps) AS d (key, settled, held, step)
        ), later AS (
            SELECT key, item, sum(settled) OVER behind AS settled, sum(held) OVER behind AS held FROM each
            WINDOW behind AS (PARTITION BY key ORDER BY step DESC, item IS NULL)
        )
        SELECT string_agg(s.settled || ' ' || s.held, ' ' ORDER BY s.item) FROM (
            SELECT l.item, sum(coalesce(a.settled, 0) - l.settled) AS settled, sum(coalesce(a.held, 0) - l.held) AS held
            FROM later AS l
            LEFT JOIN LATERAL (
                SELECT settled, held FROM budgetguard.accounts WHERE ns = p_ns AND key = l.key LIMIT 1
            ) AS a ON true
            WHERE l.item IS NOT NULL GROUP BY l.item
        ) AS s);
END $$;

-- `settle` in two transactions: the books change in one that does not wait for the disk, and so lets go of its
-- accounts at once; then a mark is written that is on the disk when this returns, and all before it with it.
CREATE OR REPLACE PROCEDURE budgetguard.settle_durably(
    p_ns integer, p_now bigint, p_texts bytea[], p_said bigint[], p_keys bytea[], p_ends bigint[], p_told bytea[],
    p_told_of bigint[], p_tag_names bytea[], p_tag_values bytea[], p_leases bytea[], INOUT p_answer text
) LANGUAGE plpgsql AS $$
DECLARE
    v_was text := pg_catalog.set_config('synchronous_commit', 'off', true);
    v_mark pg_lsn;
BEGIN
    p_answer := budgetguard.settle(
        p_ns, p_now, p_texts, p_said, p_keys, p_ends, p_told, p_told_of, p_tag_names, p_tag_values, p_leases);
    COMMIT;
    v_mark := pg_catalog.pg_logical_emit_message(true, 'budgetguard', '');
END $$;
