-- Version 4: accounts count dollars, tokens or requests, as the end of their keys says. A hold has null where no account
-- of it counts a unit. An entry tells what its call used: nothing said is no tokens, and one request.

ALTER TABLE budgetguard.holds
    ADD COLUMN IF NOT EXISTS tokens bigint,
    ADD COLUMN IF NOT EXISTS requests bigint;

ALTER TABLE budgetguard.entries
    ADD COLUMN IF NOT EXISTS tokens bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS requests bigint NOT NULL DEFAULT 1;
