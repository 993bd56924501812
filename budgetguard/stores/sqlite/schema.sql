-- The tables of a budgetguard file. Dollars are nano-dollars, times milliseconds since the epoch. Every account counts
-- in its own unit, which the end of its key says: "#tokens", "#requests", or else dollars; under "#parallel" every open hold is one,
-- and no entry.
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

-- Every hold by its id: open ones, those that have an entry, and those released or expired until they are forgotten.
-- One that is due some day has a second row whose key is that time, by which it is found then. Ids sort by time, and
-- these keys (blobs) behind all ids, so that both rows, and those of other calls in flight, are on the last page: as
-- an index of its own, each would be one more page to write in every commit.
CREATE TABLE holds (
    ns INTEGER NOT NULL,
    key NOT NULL,                      -- the id; or due_ms in eight bytes, the highest first
    id NOT NULL,                       -- '', or the id
    due_ms INTEGER,                    -- when it expires; when its id is forgotten; NULL once it has an entry
    at_ms INTEGER,                     -- of its entry
    ended INTEGER,                     -- 0: open; 1: released, or it has an entry; 2: it expired
    dollars INTEGER,
    placed_ms INTEGER,
    charge INTEGER,                    -- whether it is booked when it expires
    accounts TEXT,                     -- JSON, as are tags, usage and the accounts of an entry: ASCII only
    tags TEXT,
    provider TEXT,
    model TEXT,
    tokens INTEGER,                    -- NULL: none of its accounts counts these
    requests INTEGER,
    PRIMARY KEY (ns, key, id)
) WITHOUT ROWID;

-- Rows are appended; each has its row in holds, which makes it the only one of its id.
CREATE TABLE entries (
    ns INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    id TEXT NOT NULL,
    dollars INTEGER NOT NULL,
    flags TEXT NOT NULL,               -- in order, between spaces: ' capped estimated '
    accounts TEXT NOT NULL,
    tags TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    usage TEXT NOT NULL,
    tokens INTEGER NOT NULL DEFAULT 0,
    requests INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (ns, at_ms, id)
) WITHOUT ROWID;

CREATE TABLE terms (
    ns INTEGER NOT NULL,
    key TEXT NOT NULL,
    version INTEGER NOT NULL,
    body TEXT,                         -- NULL: removed
    PRIMARY KEY (ns, key)
) WITHOUT ROWID;

-- What is kept beside the books: who was refused, who changed what. Opaque texts.
CREATE TABLE records (
    ns INTEGER NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    until_ms INTEGER,
    over_ms INTEGER NOT NULL,          -- the later of the two: it is not pruned before
    body TEXT NOT NULL,
    PRIMARY KEY (ns, kind, id)
) WITHOUT ROWID;

CREATE INDEX records_over ON records (ns, over_ms);
