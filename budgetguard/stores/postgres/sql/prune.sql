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
        SELECT k.key, sum((budgetguard.amounts(e))[budgetguard.unit(k.key)]) AS cost
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
