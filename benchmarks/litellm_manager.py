"""
LiteLLM's `BudgetManager.update_cost` beside ours, at 1 and at 10,000 users.

LiteLLM has an environment of its own: `make bench` makes it, and runs this file
in both.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from typing import Any

RESPONSE = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Fine."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 14, "completion_tokens": 6, "total_tokens": 20},
}


def measure(manager: Any, response: Any, updates: int) -> float:
    """Milliseconds of one update, until it is saved."""
    times = []
    for _ in range(updates):
        started = time.perf_counter()
        manager.update_cost(completion_obj=response, user="u0")
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


def ours(users: int) -> float:
    from budgetguard import BudgetManager
    from budgetguard.budgets.rules import terms_key

    manager = BudgetManager("bench", store="sqlite:///bench.db")
    manager.create_budget(10, "u0", "monthly")
    body = manager.store.terms(terms_key("u0"))
    assert body is not None
    for number in range(1, users):
        manager.store.put_terms(terms_key(f"u{number}"), body.body)
    return measure(manager, RESPONSE, 50)


def theirs(users: int) -> float:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    manager = litellm.BudgetManager("bench")
    # The save runs in a thread; an update is done when its save is.
    manager._save_data_thread = manager.save_data
    manager.create_budget(10, "u0", "monthly")
    record = manager.user_dict["u0"]
    for number in range(1, users):
        manager.user_dict[f"u{number}"] = dict(record)
    return measure(manager, litellm.ModelResponse(**RESPONSE), 20)


def main() -> None:
    which = sys.argv[1]
    for users in (1, 10_000):
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            took = (ours if which == "budgetguard" else theirs)(users)
        print(f"{which:12} update_cost at {users:6,} users: {took:8.3f} ms")
        os.chdir("/")


if __name__ == "__main__":
    main()
