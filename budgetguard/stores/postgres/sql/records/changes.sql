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
    DELETE FROM budgetguard.records AS r USING (
        SELECT kind, id FROM budgetguard.records WHERE ns = p_ns AND over_ms < p_before
        ORDER BY over_ms LIMIT p_most FOR UPDATE SKIP LOCKED
    ) AS o
    WHERE r.ns = p_ns AND r.kind = o.kind AND r.id = o.id;
    GET DIAGNOSTICS v_gone = ROW_COUNT;
    RETURN v_gone;
END $$;
