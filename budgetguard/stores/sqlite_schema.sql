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

-- Open holds, and the ids of those released or expired until they are forgotten. Each has two rows: one whose key is
-- its id, and one whose key is due_ms (numbers sort before text), by which it is found when it is due. As an index of
-- its own the second would be one more page to write in every commit.
CREATE TABLE holds (
    ns INTEGER NOT NULL,
    key NOT NULL,                      -- the id, or due_ms; no type, so that each keeps its own
    id NOT NULL,                       -- '', or the id
    due_ms INTEGER,                    -- when it expires; when its id is forgotten, once it has ended
    ended INTEGER,
    amount INTEGER,
    placed_ms INTEGER,
    charge INTEGER,                    -- whether it is booked when it expires
    accounts TEXT,                     -- JSON, as are tags, usage and the accounts of an entry: ASCII only
    tags TEXT,
    provider TEXT,
    model TEXT,
    PRIMARY KEY (ns, key, id)
) WITHOUT ROWID;

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
