-- The tables of a budgetguard file. Amounts are nano-dollars, times milliseconds since the epoch.
-- application_id and user_version are set with them, in the same transaction.

CREATE TABLE namespaces (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

CREATE TABLE accounts (
    ns INTEGER NOT NULL,
    key TEXT NOT NULL,
    settled INTEGER NOT NULL DEFAULT 0,
    held INTEGER NOT NULL DEFAULT 0,
    pruned INTEGER NOT NULL DEFAULT 0, -- the part of settled whose entries were deleted
    end_ms INTEGER,                    -- of its period; NULL: it has no end
    PRIMARY KEY (ns, key)
) WITHOUT ROWID;

-- Open holds, and the ids of those released or expired until they are forgotten.
CREATE TABLE holds (
    ns INTEGER NOT NULL,
    id TEXT NOT NULL,
    due_ms INTEGER NOT NULL,           -- when it expires; when its id is forgotten, once it has ended
    ended INTEGER NOT NULL DEFAULT 0,
    amount INTEGER NOT NULL DEFAULT 0,
    placed_ms INTEGER NOT NULL DEFAULT 0,
    charge INTEGER NOT NULL DEFAULT 0, -- whether it is booked when it expires
    accounts TEXT NOT NULL DEFAULT '[]', -- JSON, as are tags, usage and the accounts of an entry: ASCII only
    tags TEXT NOT NULL DEFAULT '{}',
    provider TEXT NOT NULL DEFAULT '',
    model TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (ns, id)
) WITHOUT ROWID;

CREATE INDEX holds_due ON holds (ns, due_ms, id);

-- Hold ids sort by time, so rows are appended.
CREATE TABLE entries (
    ns INTEGER NOT NULL,
    id TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    flags TEXT NOT NULL,               -- in order, between spaces: ' capped estimated '
    accounts TEXT NOT NULL,
    tags TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    usage TEXT NOT NULL,
    PRIMARY KEY (ns, id)
) WITHOUT ROWID;

CREATE INDEX entries_at ON entries (ns, at_ms, id);

CREATE TABLE terms (
    ns INTEGER NOT NULL,
    key TEXT NOT NULL,
    version INTEGER NOT NULL,
    body TEXT,                         -- NULL: removed
    PRIMARY KEY (ns, key)
) WITHOUT ROWID;
