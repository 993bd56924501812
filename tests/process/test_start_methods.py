"""
Children that start as new interpreters have the limits of their parent, whatever their main module says of them.

Each of these is a program of its own, and the processes of its pool import its main module again, or are forked from a
server that has. All programs run at once, as what takes long is to start them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from budgetguard.testing import FakeProvider
from tests.support import ENVIRONMENT

pytestmark = pytest.mark.provider(tokens=1000, prices={"gpt-4o-mini": (0.15, 0.60)})

PROGRAM = """
import json, multiprocessing, os, sys
from concurrent.futures import ProcessPoolExecutor

import budgetguard
from budgetguard import BudgetGuardError, BudgetManager, carry_scope

BASE_URL, WAY = sys.argv[1:]
{top}

def ask(times):
    import openai
    answered, said = 0, ""
    with openai.OpenAI(base_url=BASE_URL, api_key="-", max_retries=0) as client:
        for _ in range(times):
            try:
                client.chat.completions.create(
                    model="gpt-4o-mini", messages=[{{"role": "user", "content": "hi"}}], max_tokens=1000
                )
                answered += 1
            except BudgetGuardError as error:
                said = str(error)
    return answered, said

def nested(times):
    with ProcessPoolExecutor(1, multiprocessing.get_context(WAY)) as pool:
        return pool.submit(ask, times).result()

def shared(pool, work, spent):
    answers = list(pool.map(work, [3, 3]))
    return dict(answers=answers, spent=float(spent()))

def max_budget():
    with ProcessPoolExecutor(2, context) as pool:
        return shared(pool, ask, lambda: budgetguard._current_cost)

if __name__ == "__main__":
    context, said = multiprocessing.get_context(WAY), {{}}
    if WAY == "forkserver":
        context.set_forkserver_preload(["__main__", "openai", "budgetguard.sdks.install"])
    {main}
    print(json.dumps(said))
"""

COST = 0.00060105
"""Of one call of `ask`, in dollars."""

SET = "budgetguard.patch(); budgetguard.max_budget = 0.002"

MAX_BUDGET = """
    said["max_budget"] = max_budget()
"""

IN_SCOPE = """
    with budgetguard.budget(user="ann", limit=0.002) as b:
        with context.Pool(2) as pool:
            said["scope"] = shared(pool, ask, lambda: b.spent)
        said["file"] = b._tally.share.file.path
"""

MORE = f"""
    pool = context.Pool(1)
    with pool, budgetguard.budget(limit=0.002) as b:
        said["carried"] = shared(pool, carry_scope(ask), lambda: b.spent)
    with budgetguard.budget(limit=0.002) as b, ProcessPoolExecutor(1, context) as pool:
        said["nested"] = shared(pool, nested, lambda: b.spent)
    one = ProcessPoolExecutor(1, context, max_tasks_per_child=1)
    with one as pool, budgetguard.budget(limit=0.002) as b:
        said["replaced"] = shared(pool, ask, lambda: b.spent)
    {SET}
    {MAX_BUDGET}
    budgetguard.max_budget = None
    budgetguard.patch(BudgetManager("shop", store="memory://"))
    with context.Pool(1) as pool:
        said["managed"] = pool.apply(ask, (1,))
"""

PROGRAMS = {
    "spawn": ("spawn", "", IN_SCOPE),
    "spawn, main module": ("spawn", SET, MAX_BUDGET),
    "forkserver": ("forkserver", "", IN_SCOPE + MORE),
    "forkserver, main module": ("forkserver", SET, MAX_BUDGET),
}
"""The way that processes start, what the main module says where it is imported, and what it does as a program."""

CASES = [
    ("spawn", "scope"),
    ("spawn, main module", "max_budget"),
    ("forkserver", "scope"),
    ("forkserver", "carried"),
    ("forkserver", "nested"),
    ("forkserver", "replaced"),
    ("forkserver", "max_budget"),
    ("forkserver, main module", "max_budget"),
]


@pytest.fixture(scope="module")
def told(shared_provider: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each program said."""
    directory, running = tmp_path_factory.mktemp("programs"), {}
    for number, (case, (way, top, main)) in enumerate(PROGRAMS.items()):
        path = directory / f"program{number}.py"
        path.write_text(PROGRAM.format(top=top, main=main))
        command = [sys.executable, str(path), shared_provider.base_url, way]
        running[case] = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, cwd=directory)
    return {case: json.loads(process.communicate(timeout=300)[0]) for case, process in running.items()}


@pytest.mark.parametrize(("program", "case"), CASES)
def test_a_limit_is_neither_multiplied_nor_gone(program, case, told):
    """
    The limit is enough for three of the six calls: of two workers, of one in a pool that is older than the scope, of
    one in a worker's own pool, of one that is replaced after every task.
    """
    answers = told[program][case]["answers"]
    assert sum(answered for answered, _ in answers) == 3
    assert told[program][case]["spent"] == pytest.approx(3 * COST)
    assert any("available" in said for _, said in answers)


def test_a_manager_that_does_not_come_along_has_calls_refused(told):
    """Its budgets would be gone; the refusal says where to make it."""
    answered, said = told["forkserver"]["managed"]
    assert answered == 0
    assert "outside of `if __name__ == '__main__'`, or in the pool's initializer" in said


def test_the_file_is_removed_with_the_process_that_made_it(told):
    """Nobody else would."""
    path = Path(told["spawn"]["file"])
    assert path.parent.name.startswith("budgetguard-")
    assert not path.parent.exists()
