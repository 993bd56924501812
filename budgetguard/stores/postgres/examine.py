"""What an operator should know about a PostgreSQL server before its budgets are relied on."""

from __future__ import annotations

import time

from .link import PostgresBooks

OLDEST = 14
"""The oldest version that is tested for."""

SKEW_S = 2.0
"""A clock of this process that differs by more is worth a word, in seconds."""

MOST_DEAD = 200_000
"""Rows that were deleted and not yet vacuumed: every reserve reads some of them."""

SETTINGS = {
    "fsync": "a power cut or a crash of the machine can destroy the whole database",
    "full_page_writes": "a power cut can leave torn pages, and so wrong books",
    "synchronous_commit": "the last settlements before a crash can be lost",
}
"""Settings that must not be off, and what happens if they are."""


def examine(books: PostgresBooks, pool_size: int) -> list[str]:
    """Warnings, each with what to do; none if all is well."""
    begin = time.time()
    row = books.execute(
        "SELECT current_setting('server_version_num')::integer, current_setting('max_connections')::integer, "
        "extract(epoch FROM clock_timestamp())::double precision, pg_is_in_recovery()"
    ).fetchall()[0]
    version, most, clock, standby = row
    off_s = clock - (begin + time.time()) / 2
    found = []
    if version < OLDEST * 10_000:
        found.append(f"the server is PostgreSQL {version // 10_000}: upgrade it to {OLDEST} or later")
    if standby:
        found.append("the server is a standby, and so read only: give the URL of the primary")
    for name, danger in SETTINGS.items():
        if books.execute("SELECT current_setting(%s)", (name,)).fetchall()[0][0] == "off":
            found.append(f"{name} is off: {danger}; set it to on")
    if abs(off_s) > SKEW_S:
        found.append(f"the clocks differ: the server's is {off_s:+.1f} s from this machine's; let both follow NTP")
    dead = books.execute(
        "SELECT coalesce(max(n_dead_tup), 0) FROM pg_stat_user_tables WHERE schemaname = 'budgetguard'"
    ).fetchall()[0][0]
    if dead > MOST_DEAD:
        found.append(
            f"{dead} dead rows in one table slow every call: let autovacuum run, and end transactions that stay open"
        )
    if pool_size > most // 2:
        found.append(
            f"a pool of {pool_size} connections in each process, and the server takes {most} in all: lower pool_size, "
            "raise max_connections, or put PgBouncer in between"
        )
    return found
