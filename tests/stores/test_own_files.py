"""Who may open the files of a store and its journal: their owner, and whom the database itself lets write."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from budgetguard.ledger import Account, Entry, Hold, new_id
from budgetguard.process.journal import Journal
from budgetguard.process.journal_files import JournalFile, Kept
from budgetguard.stores.sqlite.store import SQLiteStore


@pytest.fixture(autouse=True, params=[0o022, 0o000, 0o077], ids=oct)
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def spend(store: SQLiteStore) -> None:
    held = Hold(new_id(), (Account("a", limit=100),), 10)
    store.reserve(held)
    store.settle(held, Entry(held.id, 7))


def keep(store: SQLiteStore) -> None:
    """Leave a settlement in the journal, as a process does whose store is away."""
    held = Hold(new_id(), (Account("a"),), 10)
    journal = Journal(lambda kept: None, lambda hold_id: None, store.journal, "", background=False)
    journal.keep(Kept(held, Entry(held.id, 7), 0))


def modes(directory: Path) -> dict[str, str]:
    found = {}
    for path in sorted(directory.rglob("*")):
        name = "a journal's file" if path.suffix == ".jsonl" else path.name
        found[name] = oct(stat.S_IMODE(path.stat().st_mode))
    return found


def test_a_new_store_is_its_owners_alone(tmp_path: Path) -> None:
    """Whatever the umask says."""
    with closing(SQLiteStore(tmp_path / "b.db")) as store:
        spend(store)
        keep(store)
        found = modes(tmp_path)
    assert found.pop("b.db-unsettled") == "0o700"
    assert set(found) == {"b.db", "b.db-wal", "b.db-shm", "b.db-line", "b.db-turn", "b.db-ballast", "a journal's file"}
    assert set(found.values()) == {"0o600"}


@pytest.mark.parametrize(("mode", "beside", "directory"), [(0o660, "0o660", "0o770"), (0o644, "0o600", "0o700")])
def test_what_lies_beside_a_database_has_its_rights(tmp_path: Path, mode: int, beside: str, directory: str) -> None:
    """Who may write it needs the lock files, and lands what others left; who may only read it does not."""
    path = tmp_path / "b.db"
    with closing(SQLiteStore(path)) as store:
        spend(store)
    for name in ("-line", "-turn", "-ballast"):  # as an earlier version left them
        Path(f"{path}{name}").unlink(missing_ok=True)
        Path(f"{path}{name}").touch()
        Path(f"{path}{name}").chmod(0o666)
    Path(f"{path}-unsettled").mkdir()
    Path(f"{path}-unsettled").chmod(0o777)
    path.chmod(mode)
    with closing(SQLiteStore(path)) as store:
        spend(store)
        keep(store)
        found = modes(tmp_path)
    assert found["b.db"] == oct(mode)
    assert {found[f"b.db{name}"] for name in ("-line", "-turn", "-ballast")} == {beside}
    assert found["b.db-unsettled"] == directory
    assert found["a journal's file"] == beside


def test_a_directory_that_somebody_chose_stays_as_it_is(tmp_path: Path) -> None:
    """The files in it are their owner's."""
    chosen = tmp_path / "journals"
    chosen.mkdir()
    chosen.chmod(0o755)
    file = JournalFile.make(str(chosen), "")
    assert oct(stat.S_IMODE(chosen.stat().st_mode)) == "0o755"
    assert oct(stat.S_IMODE(os.stat(file.path).st_mode)) == "0o600"
    file.remove()
    made = JournalFile.make(str(tmp_path / "new"), "")
    assert oct(stat.S_IMODE((tmp_path / "new").stat().st_mode)) == "0o700"
    made.remove()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("name", ["-turn", "-line", "-ballast", ""])
def test_another_user_cannot_lock_them(tmp_path: Path, name: str) -> None:
    """Who may read the directory could keep every call waiting with one flock."""
    for directory in (tmp_path, *list(tmp_path.parents)[:2]):
        directory.chmod(0o755)
    with closing(SQLiteStore(tmp_path / "b.db")) as store:
        spend(store)
        child = os.fork()
        if not child:
            os.setgid(65534)
            os.setuid(65534)
            try:
                os.open(str(tmp_path / "b.db") + name, os.O_RDONLY)
            except PermissionError:
                os._exit(0)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
