"""`prices set|alias|free`: one line for a model that the list does not have."""

from __future__ import annotations

import json
import shlex
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest

from budgetguard import PriceBook, UnpricedModelError
from budgetguard.config import load_config
from tests.support.commands import exit_code

pytestmark = pytest.mark.usefixtures("here")

COMMENTED = """\
# negotiated in May
[models.mine]  # ours
input = 1
output = 2.50 # as billed
cache_read = 0.1

[deployments]
prod = "gpt-4o"
"""


def prices(*words: str) -> None:
    assert exit_code("prices", *words) == 0


def cost(model: str, path: Path | str = "prices.toml") -> int:
    usage = {"input_tokens": 1_000, "output_tokens": 1_000}
    return PriceBook(path=path).tariff(None, model, None, 0).cost(usage)


def test_a_new_model_is_one_line(here, capsys):
    """A file is made where there is none, and it is said who reads it, and when."""
    prices("set", "my-model", "--input", "0.30", "--output", "1.20", "--max-output", "8192")

    assert cost("my-model") == 1_500_000
    assert PriceBook(path="prices.toml").quote(None, "my-model").max_output == 8192
    assert "input = 0.30" in (here / "prices.toml").read_text()
    said = capsys.readouterr().out
    assert 'write prices = "prices.toml" into budgetguard.toml, or set BUDGETGUARD_PRICES' in said
    assert "when they start" in said


def test_the_file_that_is_configured_is_the_one_that_is_written(here, capsys):
    """What a command says must hold for the programs beside it."""
    (here / "budgetguard.toml").write_text('prices = "own.toml"\n')
    prices("free", "llama3*", "--json")

    shown = json.loads(capsys.readouterr().out)
    assert shown == {"file": "own.toml", "model": "llama3*", "declared": {"free": True}, "named": True}
    book = load_config().price_book()
    assert book is not None
    assert book.quote(None, "llama3:8b").free
    prices("llama3:8b")
    assert "declared free" in capsys.readouterr().out


def test_a_new_file_is_to_be_named_where_the_settings_are(here, capsys):
    """A `budgetguard.toml` beside a table in `pyproject.toml` would have its rules passed over."""
    (here / "pyproject.toml").write_text('[tool.budgetguard]\nproject = "shop"\n')
    prices("free", "llama3:8b")

    assert 'write prices = "prices.toml" into pyproject.toml: [tool.budgetguard], or' in capsys.readouterr().out


def test_an_option_and_the_environment_name_another_file(here, monkeypatch):
    """As for every other command."""
    prices("free", "a", "--prices", "one.toml")
    monkeypatch.setenv("BUDGETGUARD_PRICES", "two.toml")
    prices("free", "b")

    assert tomllib.loads((here / "one.toml").read_text()) == {"models": {"a": {"free": True}}}
    assert tomllib.loads((here / "two.toml").read_text()) == {"models": {"b": {"free": True}}}


def test_what_people_wrote_into_the_file_stays(here):
    """Comments are why anybody can change it next year."""
    (here / "prices.toml").write_text(COMMENTED)
    (here / "prices.toml").chmod(0o640)
    prices("set", "MINE", "--input", "1.10", "--output", "2.50")
    prices("alias", "test", "anthropic/claude-opus-5")

    text = (here / "prices.toml").read_text()
    assert "# negotiated in May\n[models.mine]  # ours\ninput = 1.10\n" in text
    assert tomllib.loads(text) == {
        "models": {"mine": {"input": 1.1, "output": 2.5, "cache_read": 0.1}},
        "deployments": {"prod": "gpt-4o", "test": "anthropic/claude-opus-5"},
    }
    assert stat.S_IMODE((here / "prices.toml").stat().st_mode) == 0o640
    assert [path.name for path in here.iterdir()] == ["prices.toml"]


def test_the_latest_word_counts(here):
    """A name is one thing: a price, another name, or free."""
    (here / "prices.toml").write_text(COMMENTED)
    for words, wanted in [
        (("set", "prod", "--input", "1", "--output", "1"), 2_000_000),
        (("alias", "prod", "gpt-4o"), 12_500_000),
        (("free", "prod"), 0),
        (("set", "prod", "--input", "3", "--output", "1"), 4_000_000),
        (("free", "mine"), 0),
    ]:
        prices(*words)
        assert cost(words[1]) == wanted


REFUSED: dict[str, tuple[str, ...]] = {
    "is no number": ("set", "x", "--input", "much", "--output", "1"),
    "is negative": ("set", "x", "--input", "1", "--output=-1"),
    "every price is 0": ("set", "x", "--input", "0.00", "--output", "0.00"),
    "whole number of tokens": ("set", "x", "--input", "1", "--output", "1", "--max-output", "0"),
    "'claude-opus-five' at this host, which": ("alias", "x", "claude-opus-five"),
    "goes in a circle": ("alias", "gpt-4o", "prod"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_used_changes_nothing(here, capsys, why):
    """A price file that cannot be read would stop every program that reads it."""
    (here / "prices.toml").write_text(COMMENTED)

    assert exit_code("prices", *REFUSED[why]) == 2
    assert why in capsys.readouterr().err
    assert (here / "prices.toml").read_text() == COMMENTED


@pytest.mark.parametrize("before", ["[models\n", "[modles]\n", '[models.mine]\nprovider = "azure"\ninput = 1\n'])
def test_a_file_that_is_not_understood_is_left_alone(here, capsys, before):
    """It is somebody's work."""
    (here / "prices.toml").write_text(before)

    assert exit_code("prices", "set", "mine", "--input", "1", "--output", "1") == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert (here / "prices.toml").read_text() == before


def test_a_file_is_written_whole_or_not_at_all(here, monkeypatch, capsys):
    """A disk that is full leaves what was there, and nothing beside it."""
    (here / "prices.toml").write_text(COMMENTED)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert exit_code("prices", "free", "x") == 2
    assert "No space left on device" in capsys.readouterr().err
    assert (here / "prices.toml").read_text() == COMMENTED
    assert [path.name for path in here.iterdir()] == ["prices.toml"]


def test_the_lines_that_an_error_gives_are_commands(capsys):
    """Copied as they stand, but for the price."""
    with pytest.raises(UnpricedModelError) as caught:
        PriceBook().quote(None, "it's-mine")
    lines = [line.strip() for line in str(caught.value).splitlines() if line.startswith("    budgetguard prices")]

    for line in lines:
        words = shlex.split(line.replace("0.00", "2.00"))
        assert exit_code(*words[1:]) == 0
    assert cost("it's-mine") == 12_500_000
