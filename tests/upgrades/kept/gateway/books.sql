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
INSERT INTO "entries" VALUES(1,1795985715506,'01a229173057000000008037040b4714',1650,'','["team//2026-11","models/ann/2026-11/gpt-4o-mini","free/ann/2026-11-29","users/ann/2026-11"]','{"team":"search-eu","user":"ann"}','','gpt-4o-mini','{"input_tokens":7,"output_tokens":1}',0,1);
INSERT INTO "entries" VALUES(1,1795985715520,'01a229173134000000038037040b4714',1650,'','["models/ann/2026-11/gpt-4o-mini","free/ann/2026-11-29","users/ann/2026-11"]','{"user":"ann"}','','gpt-4o-mini','{"input_tokens":7,"output_tokens":1}',0,1);
INSERT INTO "entries" VALUES(1,1795985715537,'01a229173144000000048037040b4714',1650,'','["free/cy/2026-11-29"]','{"user":"cy"}','','gpt-4o-mini','{"input_tokens":7,"output_tokens":1}',0,1);
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
INSERT INTO "holds" VALUES(1,'01a229173057000000008037040b4714','',NULL,1795985715506,1,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "holds" VALUES(1,'01a2291730f7000000018037040b4714','',1796072116648,NULL,1,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "holds" VALUES(1,'01a229173134000000038037040b4714','',NULL,1795985715520,1,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "holds" VALUES(1,'01a229173144000000048037040b4714','',NULL,1795985715537,1,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "holds" VALUES(1,'01a2291735c2000000078037040b4714','',1795986616711,NULL,0,106800,1795985716711,1,'["team//2026-11"]','{"lease":"vm:2435"}','','',NULL,NULL);
INSERT INTO "holds" VALUES(1,'eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee','',1795986316649,NULL,0,40,1795985716649,0,'["by hand"]','{"user":"dee"}','','gpt-4o-mini',NULL,NULL);
INSERT INTO "holds" VALUES(1,X'000001A229205D69','eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "holds" VALUES(1,X'000001A22924F187','01a2291735c2000000078037040b4714',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "holds" VALUES(1,X'000001A22E3D91A8','01a2291730f7000000018037040b4714',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
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
INSERT INTO "terms" VALUES(1,'users/ann',1,'{"user": "ann", "limit": 1250000000, "period": "monthly", "timezone": "UTC", "enforce": "hard", "on_expire": "release", "in_flight": 50, "created": 1795985714.9900947, "updated": 1795985714.9900947, "epoch": 0}');
INSERT INTO "terms" VALUES(1,'users/bob',1,'{"user": "bob", "limit": 10, "period": "forever", "timezone": "UTC", "enforce": "hard", "on_expire": "release", "in_flight": 50, "created": 1795985715.1288981, "updated": 1795985715.1288981, "epoch": 0}');
PRAGMA application_id=1650945124;
PRAGMA user_version=2;
