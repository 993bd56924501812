-- What programs of version 3 ask: they were connected when the tables were brought up to date, and go on, in dollars.
-- One that starts now is told that it is too old.

CREATE OR REPLACE FUNCTION budgetguard.reserve(
    p_ns integer, p_id bytea, p_said bigint[], p_keys bytea[], p_rules bigint[], p_windows bytea[],
    p_window_of bigint[], p_term_keys bytea[], p_term_versions bigint[], p_tag_names bytea[], p_tag_values bytea[],
    p_provider bytea, p_model bytea
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_rules bigint[] := '{}';
BEGIN
    FOR i IN 1..cardinality(p_keys) LOOP
        v_rules := v_rules || p_rules[6 * i - 5 : 6 * i] || 1::bigint;
    END LOOP;
    RETURN budgetguard.reserve(
        p_ns, ARRAY[p_id, p_provider, p_model],
        ARRAY[p_said[1], p_said[5], p_said[6], p_said[7], p_said[2], p_said[3], p_said[4]], p_keys, v_rules, p_windows,
        p_window_of, p_term_keys, p_term_versions, p_tag_names, p_tag_values);
END $$;

-- Ids before the other texts of each.
CREATE OR REPLACE FUNCTION budgetguard.with_ids(p_ids bytea[], p_texts bytea[]) RETURNS bytea[]
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_each CONSTANT integer := cardinality(p_texts) / greatest(cardinality(p_ids), 1);
    v_texts bytea[] := '{}';
BEGIN
    FOR i IN 1..cardinality(p_ids) LOOP
        v_texts := v_texts || p_ids[i] || p_texts[v_each * (i - 1) + 1 : v_each * i];
    END LOOP;
    RETURN v_texts;
END $$;

-- The numbers of settlements: no tokens, one request, and each key told.
CREATE OR REPLACE FUNCTION budgetguard.with_usual(p_said bigint[]) RETURNS bigint[] LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_said bigint[] := '{}';
BEGIN
    FOR n IN 0..cardinality(p_said) - 1 BY 10 LOOP
        v_said := v_said || p_said[n + 1] || '{0, 1}'::bigint[] || p_said[n + 2 : n + 10]
            || p_said[n + 7] + p_said[n + 8];
    END LOOP;
    RETURN v_said;
END $$;

CREATE OR REPLACE PROCEDURE budgetguard.settle_durably(
    p_ns integer, p_now bigint, p_ids bytea[], p_said bigint[], p_texts bytea[], p_keys bytea[], p_ends bigint[],
    p_tag_names bytea[], p_tag_values bytea[], p_leases bytea[], INOUT p_answers bigint[]
) LANGUAGE plpgsql AS $$
DECLARE
    v_was text := pg_catalog.set_config('synchronous_commit', 'off', true);
    v_mark pg_lsn;
    v_ends text[];
BEGIN
    v_ends := string_to_array(split_part(budgetguard.settle(
        p_ns, p_now, budgetguard.with_ids(p_ids, p_texts), budgetguard.with_usual(p_said), p_keys, p_ends, '{}', '{}',
        p_tag_names, p_tag_values, p_leases), ';', 1), ' ');
    p_answers := '{}';
    FOR i IN 1..cardinality(p_ids) LOOP
        p_answers := p_answers || split_part(v_ends[i], ',', 1)::bigint
            || coalesce(nullif(split_part(v_ends[i], ',', 2), '')::bigint, p_said[10 * i - 9]);
    END LOOP;
    COMMIT;
    v_mark := pg_catalog.pg_logical_emit_message(true, 'budgetguard', '');
END $$;

CREATE OR REPLACE FUNCTION budgetguard.renew(
    p_ns integer, p_now bigint, p_ids bytea[], p_said bigint[], p_texts bytea[], p_keys bytea[], p_ends bigint[],
    p_tag_names bytea[], p_tag_values bytea[]
) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    v_said bigint[] := '{}';
BEGIN
    FOR n IN 0..cardinality(p_said) - 1 BY 5 LOOP
        v_said := v_said || p_said[n + 1] || '{-1, -1}'::bigint[] || p_said[n + 2 : n + 5];
    END LOOP;
    RETURN budgetguard.renew(
        p_ns, p_now, budgetguard.with_ids(p_ids, p_texts), v_said, p_keys, p_ends, p_tag_names, p_tag_values);
END $$;

CREATE OR REPLACE FUNCTION budgetguard.load(
    p_ns integer, p_now bigint, p_term_keys bytea[], p_versions bigint[], p_bodies bytea[], p_accounts bytea[],
    p_ends bigint[], p_pruned bigint[], p_ids bytea[], p_said bigint[], p_times bigint[], p_texts bytea[],
    p_keys bytea[], p_tag_names bytea[], p_tag_values bytea[]
) RETURNS void LANGUAGE sql AS $$
    SELECT budgetguard.load(
        p_ns, p_now, p_term_keys, p_versions, p_bodies, p_accounts, p_ends, p_pruned,
        budgetguard.with_ids(p_ids, p_texts), budgetguard.with_usual(p_said), p_times, p_keys, p_tag_names, p_tag_values)
$$;
