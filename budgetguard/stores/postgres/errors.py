"""
What the errors of a PostgreSQL server mean: which of them pass, which are an outage, and what to do about the others.
"""

from __future__ import annotations

import psycopg
from psycopg import errors

from ...errors import AmountError, StoreError

LOCK_MS = 1_000
"""How long a statement waits for a lock, whoever asked for it: above the deadlines of a reserve and a settle."""

AGAIN = (errors.SerializationFailure, errors.DeadlockDetected)
"""The engine undid the transaction, and it may be repeated."""

MOVED = (errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow, errors.TooManyConnections)
"""The server ends, starts, or is full."""

GONE = (errors.UndefinedFunction, errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName)
"""Somebody removed the tables, or restored an older backup."""

NOT_KEPT = (errors.InvalidSqlStatementName, errors.DuplicatePreparedStatement, errors.ProtocolViolation)
"""Of a statement that was prepared: what is in front of the server hands it one connection and then another."""


def told(name: str, error: errors.Error) -> StoreError:
    """The error of ours that says what an error of the server called `name` means."""
    first = first_line(error)
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return StoreError(f"{name} is read only, as a standby is: give the URL of the primary server")
    if isinstance(error, errors.InsufficientPrivilege):
        return StoreError(
            f"{name}: {first}; let its owner run `budgetguard migrate`, or what `budgetguard sql postgres` "
            "prints, which says what to grant"
        )
    if isinstance(error, errors.LockNotAvailable):
        return StoreError(
            f"{name}: an account was locked for longer than {LOCK_MS} ms; end the transaction that is open on "
            "tables of budgetguard (pg_stat_activity shows it)"
        )
    if isinstance(error, errors.NumericValueOutOfRange):
        return AmountError(f"{name}: {first}; an account cannot count more than it has")
    if isinstance(error, errors.DiskFull):
        return StoreError(f"{name}: {first}; settlements wait in the journal until there is room")
    return StoreError(f"{name}: {first}")


def is_not_kept(error: errors.Error) -> bool:
    """Whether a statement that was prepared is not there any more."""
    return isinstance(error, NOT_KEPT) and "_pg3_" in str(error)


def first_line(error: Exception) -> str:
    """What it says in its first line, or what it is."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def is_away(error: errors.Error) -> bool:
    """Whether an error is one of the connection or of a server that comes or goes."""
    if isinstance(error, MOVED):
        return True
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and error.sqlstate is None
