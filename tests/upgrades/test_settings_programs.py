"""Files with settings that this version knows, and a program of before that comes to one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.kept import KEPT, Program, ProgramError

READ = "from budgetguard.config import load_config\nload_config({'BUDGETGUARD_CONFIG': path})"


def test_a_program_of_before_names_the_setting_that_it_does_not_know(before: Program, tmp_path: Path) -> None:
    """Nothing of a file is passed over: who goes back sees what has to be taken out."""
    file = tmp_path / "budgetguard.toml"
    for said, named in (
        ("[alerts]\nlog = true\n", "'alerts' is no setting"),
        ('[[budgets]]\nname = "a"\nlimit = 1\nfallback = "gpt-4o-mini"\n', "'fallback' is nothing of a budget"),
    ):
        file.write_text(said)
        with pytest.raises(ProgramError, match=rf"ConfigError: .*budgetguard.toml.*{named}"):
            before.ask(READ, path=str(file))


def test_a_settings_file_of_0_2_0_is_one_of_then(programs: dict[str, Program]) -> None:
    """What is kept of it was read by its own program: else it would test nothing."""
    rules = programs["0.2.0"].ask(
        f"{READ.replace('load_config({', 'said = load_config({')}\n[rule.name for rule in said.budgets]",
        path=str(KEPT / "0.2.0" / "budgetguard.toml"),
    )
    assert rules == ["free", "team", "week"]
