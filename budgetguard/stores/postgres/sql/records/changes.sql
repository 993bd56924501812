-- Write records down; whether each is new. They are written in the order of their names, so that nobody waits in a circle.
--
-- p_texts, three for each: kind, id, body. p_times, three for each: at_ms, until_ms (-1: none), over_ms.
CREATE OR REPLACE FUNCTION budgetguard.note(p_ns integer, p_texts bytea[], p_times bigint[], p_replace boolean)
RETURNS boolean[] LANGUAGE plpgsql AS $$
DECLARE
    v_new boolean[] := array_fill(false, ARRAY[cardinality(p_texts) / 3]);
    i integer;
BEGIN
    FOR i IN
        SELECT n FROM generate_series(1, cardinality(p_texts) / 3) AS n ORDER BY p_texts[3 * n - 2], p_texts[3 * n - 1], n
    LOOP
        INSERT INTO budgetguard.records (ns, kind, id, body, at_ms, until_ms, over_ms)
        VALUES (p_ns, p_texts[3 * i - 2], p_texts[3 * i - 1], p_texts[3 * i], p_times[3 * i - 2],
                nullif(p_times[3 * i - 1], -1), p_times[3 * i])
        ON CONFLICT (ns, kind, id) DO NOTHING;
        v_new[i] := FOUND;
        IF p_replace AND NOT v_new[i] THEN
            INSERT INTO budgetguard.records (ns, kind, id, body, at_ms, until_ms, over_ms)
            VALUES (p_ns, p_texts[3 * i - 2], p_texts[3 * i - 1], p_texts[3 * i], p_times[3 * i - 2],
                    nullif(p_times[3 * i - 1], -1), p_times[3 * i])
            ON CONFLICT (ns, kind, id) DO UPDATE SET body = excluded.body, at_ms = excluded.at_ms,
                until_ms = excluded.until_ms, over_ms = excluded.over_ms;
        END IF;
    END LOOP;
    RETURN v_new;
END $$;

-- Delete some of the records that were over before a time; how many.
CREATE OR REPLACE FUNCTION budgetguard.prune_records(p_ns integer, p_before bigint, p_most integer) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    v_gone integer;
BEGIN
    DELETE FROM budgetguard.records WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM budgetguard.records WHERE ns = p_ns AND over_ms < p_before
        ORDER BY over_ms LIMIT p_most FOR UPDATE SKIP LOCKED
    ));
    GET DIAGNOSTICS v_gone = ROW_COUNT;
    RETURN v_gone;
END $$;

-- Some of the records of a kind whose ids are in [p_first, p_end), in their order. The index has that order: to sort would be
-- to read all of them, which seems cheap to a plan that was made when there were few.
CREATE OR REPLACE FUNCTION budgetguard.noted(
    p_ns integer, p_kind bytea, p_first bytea, p_end bytea, p_most integer, p_newest boolean
) RETURNS TABLE (id bytea, body bytea, at_ms bigint, until_ms bigint)
LANGUAGE plpgsql STABLE SET enable_sort = off SET enable_bitmapscan = off SET enable_seqscan = off AS $$
BEGIN
    IF p_newest THEN
        RETURN QUERY SELECT r.id, r.body, r.at_ms, r.until_ms FROM budgetguard.records AS r
            WHERE r.ns = p_ns AND r.kind = p_kind AND r.id >= p_first AND r.id < p_end ORDER BY r.id DESC LIMIT p_most;
    ELSE
        RETURN QUERY SELECT r.id, r.body, r.at_ms, r.until_ms FROM budgetguard.records AS r
            WHERE r.ns = p_ns AND r.kind = p_kind AND r.id >= p_first AND r.id < p_end ORDER BY r.id LIMIT p_most;
    END IF;
END $$;
