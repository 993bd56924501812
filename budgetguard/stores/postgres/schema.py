"""
The tables and functions of PostgreSQL, in versions: made once, however many processes start together.

Tables are changed while others are at work on them, and nobody waits long for it. Programs that were connected before
go on with the functions that they know (`sql/before.sql`); one of an older version that connects later is refused.
"""

from __future__ import annotations

import time
from importlib.resources import files

from psycopg import errors

from ...errors import StoreError
from .link import PostgresBooks, extend

VERSION = 6
"""Of the tables and functions that this program needs."""

FUNCTIONS = (
    "books.sql",
    "reserve.sql",
    "renew.sql",
    "settle.sql",
    "release.sql",
    "load.sql",
    "prune.sql",
    "records/changes.sql",
    "before.sql",
)
TABLES = {1: "tables.sql", 4: "units.sql", 6: "records/tables.sql"}
"""What each version adds to the tables."""

SETUP_S = 20.0
"""How long the tables may take to be made, once, in seconds."""

TABLES_MS = 100
"""How long a change waits for a table, and all who come after it behind it. Then it lets them pass, and tries again."""

PAUSE_S = 0.1
"""Between two such tries."""

LOCK = 0x62756467
"""The advisory lock of those who migrate."""

HEAD = """\
CREATE SCHEMA IF NOT EXISTS budgetguard;
CREATE TABLE IF NOT EXISTS budgetguard.schema_version (version integer NOT NULL);
"""

GRANTS = """
-- For a program that runs as a user of its own:
--   GRANT USAGE ON SCHEMA budgetguard TO app;
--   GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA budgetguard TO app;
"""


def schema_sql() -> str:
    """All that an empty database needs, in one transaction, for `psql -f`."""
    tables = "\n".join([_text(name) for name in TABLES.values()])
    functions = "\n".join([_text(name) for name in FUNCTIONS])
    head = "-- What budgetguard keeps in PostgreSQL (14 or later). Run it once, in an empty database or beside yours.\n"
    return (
        f"{head}{GRANTS}\nBEGIN;\n{HEAD}\n{tables}\n{functions}\n"
        f"INSERT INTO budgetguard.schema_version (version) VALUES ({VERSION});\nCOMMIT;\n"
    )


def find_version(books: PostgresBooks) -> int:
    """The version there is; 0: none."""
    try:
        rows = books.execute("SELECT max(version) FROM budgetguard.schema_version").fetchall()
    except (errors.UndefinedTable, errors.InvalidSchemaName):
        return 0
    return rows[0][0] or 0


def need(books: PostgresBooks, name: str) -> None:
    """Bring the tables and functions up to date if this user may; raises `StoreError` if it must not go on."""
    there = find_version(books)
    if there < VERSION:
        extend(books, SETUP_S)
        try:
            migrate(books, name)
        except errors.InsufficientPrivilege as error:
            raise _older(name, there) from error
    elif there > VERSION:
        raise _newer(name, there)


def migrate(books: PostgresBooks, name: str) -> list[str]:
    """Apply what is missing, in one transaction; what was applied."""
    last_try = time.monotonic() + SETUP_S / 2
    while True:
        try:
            with books.connection.transaction():
                return _migrate(books, name)
        except (errors.LockNotAvailable, errors.DeadlockDetected):
            if time.monotonic() > last_try:
                raise
            time.sleep(PAUSE_S)


def _migrate(books: PostgresBooks, name: str) -> list[str]:
    books.execute(f"SET LOCAL lock_timeout = {round(SETUP_S * 1000)}".encode())
    books.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
    there = find_version_inside(books)
    if there > VERSION:
        raise _newer(name, there)
    if there == VERSION:
        return []
    books.execute(f"SET LOCAL lock_timeout = {TABLES_MS}".encode())
    books.execute(HEAD)
    done = []
    for version, file in TABLES.items():
        if version > there:
            books.execute(_text(file).encode())
            done.append(f"tables, version {version}")
    for file in FUNCTIONS:
        books.execute(_text(file).encode())
    done.append(f"functions, version {VERSION}")
    books.execute("DELETE FROM budgetguard.schema_version")
    books.execute(f"INSERT INTO budgetguard.schema_version (version) VALUES ({VERSION})".encode())
    return done


def find_version_inside(books: PostgresBooks) -> int:
    """`find_version` in a transaction, which an error would end."""
    there = books.execute("SELECT to_regclass('budgetguard.schema_version') IS NOT NULL").fetchall()[0][0]
    return find_version(books) if there else 0


def _older(name: str, there: int) -> StoreError:
    if not there:
        return StoreError(
            f"{name} has no tables of budgetguard, and this user may not make them: let its owner run "
            "`budgetguard migrate`, or what `budgetguard sql postgres` prints"
        )
    return StoreError(
        f"{name}: its tables have version {there}, made by an older budgetguard than this one (version {VERSION}), "
        "and this user may not bring them up to date: let its owner run `budgetguard migrate`"
    )


def _newer(name: str, there: int) -> StoreError:
    return StoreError(
        f"{name}: its tables have version {there}, made by a newer budgetguard than this one (version {VERSION}): "
        "upgrade budgetguard-llm here"
    )


def _text(name: str) -> str:
    return (files(__package__) / "sql" / name).read_text("utf-8")
