"""Which models a glob allows."""

from __future__ import annotations

import time

import pytest

from budgetguard.server.keys.finding.caller import Caller
from budgetguard.server.keys.models import allows


@pytest.mark.parametrize(
    ("glob", "model", "allowed"),
    [
        ("gpt-4o", "gpt-4o", True),
        ("gpt-4o", "gpt-4o-mini", False),
        ("gpt-4o*", "gpt-4o", True),
        ("gpt-4o*", "gpt-4o-mini", True),
        ("gpt-4o*", "my-gpt-4o", False),
        ("gpt-4o*", "gpt-4o/../o3-pro", False),
        ("gpt-4o*", "gpt-4o/o3-pro", False),
        ("gpt-4o*", "GPT-4o", False),
        ("gpt-4o*", "gpt-4\u043e", False),  # a Cyrillic letter
        ("gpt-4o*", "\uff47pt-4o", False),
        ("gpt-4o*", "gpt-4o\u200b", False),
        ("gpt-4o*", "gpt-4o\no3", False),
        ("gpt-4o*", "gpt-4o o3", False),
        ("gpt-4o*", "gpt-4o" + "x" * 300, False),
        ("gpt-4?", "gpt-4o", True),
        ("gpt-4?", "gpt-4/", False),
        ("gpt-[4]o", "gpt-4o", False),
        ("gpt.4o", "gpt-4o", False),
        ("openai/*", "openai/gpt-4o", True),
        ("openai/*", "openai/", False),
        ("openai/*", "openai/../anthropic/claude", False),
        ("openai/*", "openai-eu/gpt-4o", False),
        ("together/*", "together/meta-llama/Llama-3", True),
        ("*/gpt-4o", "openai/gpt-4o", True),
        ("*/gpt-4o", "a/b/gpt-4o", False),
        ("*mini", "o3/gpt-4o-mini", False),
        ("*", "anything/at/all", True),
        ("*", "a//b", False),
        ("*", "", False),
        ("*", "a\\b", False),
    ],
)
def test_a_glob_stays_within_one_part_of_a_name(glob: str, model: str, allowed: bool) -> None:
    """What looks like an allowed name, or leads from it to another, is not one."""
    assert allows([glob], model) is allowed


def test_each_owner_of_a_key_has_to_allow_a_model() -> None:
    """A key is given to a program by whoever has one for the team: it cannot give more than the team may."""
    caller = Caller("shop", "call", "k", models=("gpt-4o*", "o3"), within=(("gpt-4o*", "claude*"), ("*",)))
    assert [model for model in ("gpt-4o-mini", "o3", "claude-1") if caller.allows(model)] == ["gpt-4o-mini"]
    assert Caller("shop", "call", "k").allows("whatever")


def test_no_glob_keeps_everybody_waiting():
    """An administrator of one project writes it, its programs name the model, and one process answers all projects."""
    begin = time.process_time()
    assert not allows(["*a" * 30 + "b"], "a" * 250)
    assert not allows(["*a/" * 10 + "*a" * 30 + "b"], "aa/" * 10 + "a" * 200)
    assert allows(["*a" * 30], "a" * 250)
    assert time.process_time() - begin < 1
