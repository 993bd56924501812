PRAGMA page_size=2048;
CREATE TABLE accounts (
    ns INTEGER NOT NULL,
    key TEXT NOT NULL,
    settled INTEGER NOT NULL DEFAULT 0,
    held INTEGER NOT NULL DEFAULT 0,
    pruned INTEGER NOT NULL DEFAULT 0, -- the part of settled whose entries were deleted
    end_ms INTEGER,                    -- of its period; NULL: it has no end
    PRIMARY KEY (ns, key)
) WITHOUT ROWID;
INSERT INTO "accounts" VALUES(1,'by hand',0,40,0,NULL);
INSERT INTO "accounts" VALUES(1,'free/ann/2026-11-29',3300,0,0,1795996800000);
INSERT INTO "accounts" VALUES(1,'free/cy/2026-11-29',1650,0,0,1795996800000);
INSERT INTO "accounts" VALUES(1,'models/ann/2026-11/gpt-4o-mini',3300,0,0,1796083200000);
INSERT INTO "accounts" VALUES(1,'team//2026-11',1650,106800,0,1796083200000);
INSERT INTO "accounts" VALUES(1,'users/ann/2026-11',3300,0,0,1796083200000);
CREATE TABLE entries (
    ns INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    id TEXT NOT NULL,
    cost INTEGER NOT NULL,
    flags TEXT NOT NULL,               -- in order, between spaces: ' capped estimated '
    accounts TEXT NOT NULL,
    tags TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    usage TEXT NOT NULL,
    PRIMARY KEY (ns, at_ms, id)
) WITHOUT ROWID;
INSERT INTO "entries" VALUES(1,1795985709666,'01a22917198c00000000b3d8ab3de2e7',1650,'','["team//2026-11","models/ann/2026-11/gpt-4o-mini","free/ann/2026-11-29","users/ann/2026-11"]','{"team":"search-eu","user":"ann"}','','gpt-4o-mini','{"input_tokens":7,"output_tokens":1}');
INSERT INTO "entries" VALUES(1,1795985709692,'01a229171a7800000003b3d8ab3de2e7',1650,'','["models/ann/2026-11/gpt-4o-mini","free/ann/2026-11-29","users/ann/2026-11"]','{"user":"ann"}','','gpt-4o-mini','{"input_tokens":7,"output_tokens":1}');
INSERT INTO "entries" VALUES(1,1795985709717,'01a229171a8c00000004b3d8ab3de2e7',1650,'','["free/cy/2026-11-29"]','{"user":"cy"}','','gpt-4o-mini','{"input_tokens":7,"output_tokens":1}');
CREATE TABLE holds (
    ns INTEGER NOT NULL,
    key NOT NULL,                      -- the id; or due_ms in eight bytes, the highest first
    id NOT NULL,                       -- '', or the id
    due_ms INTEGER,                    -- when it expires; when its id is forgotten; NULL once it has an entry
    at_ms INTEGER,                     -- of its entry
    ended INTEGER,                     -- 0: open; 1: released, or it has an entry; 2: it expired
    amount INTEGER,
    placed_ms INTEGER,
    charge INTEGER,                    -- whether it is booked when it expires
    accounts TEXT,                     -- JSON, as are tags, usage and the accounts of an entry: ASCII only
    tags TEXT,
    provider TEXT,
    model TEXT,
    PRIMARY KEY (ns, key, id)
) WITHOUT ROWID;
INSERT INTO "holds" VALUES(1,'01a22917198c00000000b3d8ab3de2e7','',NULL,1795985709666,1,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "holds" VALUES(1,'01a229171a1b00000001b3d8ab3de2e7','',1796072110783,NULL,1,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "holds" VALUES(1,'01a229171a7800000003b3d8ab3de2e7','',NULL,1795985709692,1,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "holds" VALUES(1,'01a229171a8c00000004b3d8ab3de2e7','',NULL,1795985709717,1,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "holds" VALUES(1,'01a229171ed100000007b3d8ab3de2e7','',1795986610839,NULL,0,106800,1795985710839,1,'["team//2026-11"]','{"lease":"vm:2319"}','','');
INSERT INTO "holds" VALUES(1,'eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee','',1795986310784,NULL,0,40,1795985710784,0,'["by hand"]','{"user":"dee"}','','gpt-4o-mini');
INSERT INTO "holds" VALUES(1,X'000001A229204680','eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "holds" VALUES(1,X'000001A22924DA97','01a229171ed100000007b3d8ab3de2e7',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "holds" VALUES(1,X'000001A22E3D7ABF','01a229171a1b00000001b3d8ab3de2e7',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE namespaces (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);
INSERT INTO "namespaces" VALUES(1,'shop');
CREATE TABLE terms (
    ns INTEGER NOT NULL,
    key TEXT NOT NULL,
    version INTEGER NOT NULL,
    body TEXT,                         -- NULL: removed
    PRIMARY KEY (ns, key)
) WITHOUT ROWID;
INSERT INTO "terms" VALUES(1,'users/ann',1,'{"user": "ann", "limit": 1250000000, "period": "monthly", "timezone": "UTC", "enforce": "hard", "on_expire": "release", "in_flight": 50, "created": 1795985709.2109494, "updated": 1795985709.2109494, "epoch": 0}');
INSERT INTO "terms" VALUES(1,'users/bob',1,'{"user": "bob", "limit": 10, "period": "forever", "timezone": "UTC", "enforce": "hard", "on_expire": "release", "in_flight": 50, "created": 1795985709.300818, "updated": 1795985709.300818, "epoch": 0}');
PRAGMA application_id=1650945124;
PRAGMA user_version=1;
