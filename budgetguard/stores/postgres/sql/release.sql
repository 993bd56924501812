-- Give a hold back; an id that is not known is remembered, and the charge of an expired hold taken back.
CREATE OR REPLACE FUNCTION budgetguard.release(p_ns integer, p_now bigint, p_id bytea) RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    v_now bigint := p_now;
    v_dummy text;
    v_hold budgetguard.holds;
    v_entry budgetguard.entries;
    v_keys bytea[];
    v_settled bigint[] := '{0, 0, 0, 0}';
    v_held bigint[] := '{0, 0, 0, 0}';
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
            PERFORM budgetguard.take(p_ns, v_hold.accounts, v_settled, budgetguard.amounts(v_hold));
            RETURN;
        END IF;
        -- What was charged for it is taken back at once.
        v_keys := v_hold.accounts;
        v_held := budgetguard.amounts(v_hold);
    ELSIF FOUND THEN
        IF v_hold.ended THEN
            UPDATE budgetguard.holds SET placed_ms = 0 WHERE ns + 0 = p_ns AND id = p_id AND placed_ms <> 0;
            RETURN;
        END IF;
        v_keys := v_hold.accounts;
        v_held := budgetguard.amounts(v_hold);
    ELSE
        SELECT * INTO v_entry FROM budgetguard.entries WHERE ns + 0 = p_ns AND id = p_id FOR UPDATE;
        IF FOUND THEN
            IF NOT v_entry.expired THEN
                RETURN;
            END IF;
            v_keys := v_entry.accounts;
            v_settled := budgetguard.amounts(v_entry);
            DELETE FROM budgetguard.entries WHERE ns + 0 = p_ns AND id = p_id;
        END IF;
    END IF;
    PERFORM budgetguard.forget_at(p_ns, p_id, v_now + keep_ended);
    IF cardinality(v_keys) > 0 THEN
        PERFORM budgetguard.take(p_ns, v_keys, v_settled, v_held);
    END IF;
END $$;

-- Take so much of each unit off several accounts, in the order of their keys.
CREATE OR REPLACE FUNCTION budgetguard.take(p_ns integer, p_keys bytea[], p_settled bigint[], p_held bigint[])
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF cardinality(p_keys) > 1 THEN
        PERFORM FROM budgetguard.accounts WHERE ns = p_ns AND key = ANY (p_keys) ORDER BY key FOR UPDATE;
    END IF;
    UPDATE budgetguard.accounts
    SET settled = settled - p_settled[budgetguard.unit(key)], held = held - p_held[budgetguard.unit(key)]
    WHERE ns = p_ns AND key = ANY (p_keys);
END $$;
