"""
The tables of a SQLite file, in versions: made by the first write, or brought up to date by it.

Reading changes nothing: a file of the version before is read through views that show it as if it were up to date.

An upgrade must leave nothing that a program of the version before, which has the file open, would go on to book by its
own rules: it looked at the version when it opened the file. So what holds amounts has another name in each version, and
such a program fails, opens the file again and says that it is too old for it.
"""

from __future__ import annotations

import sqlite3
from importlib.resources import files

from ...errors import StoreError

APPLICATION_ID = 0x62676C64
""" "bgld" in a file's header: a budgetguard ledger."""

VERSION = 3
"""Of `schema.sql`; in the file it is `user_version`."""

UPGRADES = {
    2: (  # no row is written: what a column has by default is not stored
        "ALTER TABLE holds RENAME COLUMN amount TO dollars",
        "ALTER TABLE holds ADD COLUMN tokens INTEGER",
        "ALTER TABLE holds ADD COLUMN requests INTEGER",
        "ALTER TABLE entries RENAME COLUMN cost TO dollars",
        "ALTER TABLE entries ADD COLUMN tokens INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE entries ADD COLUMN requests INTEGER NOT NULL DEFAULT 1",
    ),
    3: (  # nothing is booked otherwise, so a program of the version before, which has the file open, may go on
        "CREATE TABLE records (ns INTEGER NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL, at_ms INTEGER NOT NULL, "
        "until_ms INTEGER, over_ms INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (ns, kind, id)) WITHOUT ROWID",
        "CREATE INDEX records_over ON records (ns, over_ms)",
    ),
}
"""How a file comes to each version from the one before."""

_NO_RECORDS = (
    "CREATE TEMP VIEW records AS SELECT 0 AS ns, '' AS kind, '' AS id, 0 AS at_ms, NULL AS until_ms, '' AS body WHERE 0"
)

READ_AS_NEW = {
    1: (
        "CREATE TEMP VIEW holds AS SELECT ns, key, id, due_ms, at_ms, ended, amount AS dollars, NULL AS tokens, "
        "NULL AS requests, placed_ms, charge, accounts, tags, provider, model FROM main.holds",
        "CREATE TEMP VIEW entries AS SELECT ns, at_ms, id, cost AS dollars, 0 AS tokens, 1 AS requests, flags, "
        "accounts, tags, provider, model, usage FROM main.entries",
        _NO_RECORDS,
    ),
    2: (_NO_RECORDS,),
}
"""For each version before, the views of a connection that reads."""


def find_version(connection: sqlite3.Connection, path: str) -> int:
    """The version of a file's tables; 0: it is empty. Raises `StoreError` for a file that we must not touch."""
    connection.execute("BEGIN")  # one look: another process may be making the tables at this moment
    try:
        application = _number(connection, "PRAGMA application_id")
        version = version_now(connection)
        tables = _number(connection, "SELECT count(*) FROM sqlite_master")
    finally:
        connection.execute("ROLLBACK")
    if application == APPLICATION_ID:
        if version > VERSION:
            raise StoreError(
                f"store {path} was made by a newer version of budgetguard (schema {version}; this version "
                f"knows {VERSION}): upgrade budgetguard, or use another file"
            )
        return version
    if application or version or tables:
        raise StoreError(f"store {path} is a database of another program: use another file")
    return 0


def version_now(connection: sqlite3.Connection) -> int:
    """The version of tables that are ours."""
    return _number(connection, "PRAGMA user_version")


def make(connection: sqlite3.Connection) -> None:
    """Make the tables in an empty file."""
    schema = (files(__package__) / "schema.sql").read_text("utf-8")
    known_by = f"PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={VERSION};"
    connection.executescript(f"BEGIN IMMEDIATE; {schema} {known_by} COMMIT;")


def upgrade(connection: sqlite3.Connection) -> None:
    """Bring the tables up to date, all at once or not at all; another process may just have done so."""
    connection.execute("BEGIN IMMEDIATE")
    for version in range(version_now(connection) + 1, VERSION + 1):
        for statement in UPGRADES[version]:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={version}")
    connection.execute("COMMIT")


def read_as_new(connection: sqlite3.Connection, version: int) -> None:
    """Have a connection read tables of this version as if they were up to date."""
    for statement in READ_AS_NEW.get(version, ()):
        connection.execute(statement)


def _number(connection: sqlite3.Connection, sql: str) -> int:
    return int(connection.execute(sql).fetchone()[0])
