"""What the command line does for PostgreSQL alone: its tables and functions."""

from __future__ import annotations

import subprocess
import sys
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from budgetguard import BudgetManager
from budgetguard.ledger import new_id
from budgetguard.stores import shown
from tests.support import ENVIRONMENT, servers
from tests.support.commands import exit_code


@pytest.fixture
def database():
    """The URL of an empty database on the shared server, dropped in the end."""
    url, name = servers.running("postgres"), f"d{new_id()}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_migrate_makes_what_postgres_needs_once(database, capsys):
    """Each step is said, and a second time there is none."""
    assert exit_code("migrate", "--store", database) == 0
    first = capsys.readouterr().out
    assert f"{shown(database)}: tables, version 1" in first
    assert exit_code("migrate", "--store", database) == 0
    assert capsys.readouterr().out == f"{shown(database)} is up to date.\n"


def test_the_sql_that_is_printed_is_what_migrate_runs(database, capsys):
    """For those who do not let a program make tables."""
    assert exit_code("sql", "postgres") == 0
    sql = capsys.readouterr().out
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(sql.encode())
    assert exit_code("migrate", "--store", database) == 0
    assert "is up to date" in capsys.readouterr().out
    BudgetManager("shop", store=database).create_budget(5, "ann")
    assert exit_code("users", "--store", database, "--project", "shop") == 0


def test_a_server_that_is_away_is_one_line():
    """What the driver's pool says of each of its attempts would bury the line that counts."""
    command = [sys.executable, "-m", "budgetguard", "spend", "--store", "postgresql://ann:secret@127.0.0.1:1/shop"]
    ended = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert "Connection refused" in ended.stderr
    assert "secret" not in ended.stderr
