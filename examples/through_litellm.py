"""LiteLLM: one budget for whatever it asks, each call once."""

import os

import budgetguard
from budgetguard import Budget, BudgetExceededError, BudgetManager
from budgetguard.testing import FakeProvider

# To run without a key and a network, the answers come from a provider on loopback. With a key, leave these lines out.
provider = FakeProvider().start()
os.environ.update(OPENAI_BASE_URL=provider.base_url, OPENAI_API_KEY="none", LITELLM_LOCAL_MODEL_COST_MAP="True")
os.environ.update(ANTHROPIC_API_BASE=provider.root_url, ANTHROPIC_API_KEY="none")
# ---------------------------------------------------------------------------------------------------------------

manager = BudgetManager("example", store="memory://", budgets=[Budget("day", 1, "daily")])
budgetguard.patch(manager)  # before or after LiteLLM is imported

import litellm  # noqa: E402

HI = [{"role": "user", "content": "Good morning"}]


def spent() -> str:
    cost = sum(entry.cost for entry in manager.store.entries())
    return f"{len(list(manager.store.entries()))} calls, ${cost / 1e9:.6f}"


litellm.completion(model="openai/gpt-4o-mini", messages=HI)
print("plain:", spent())

for _chunk in litellm.completion(model="anthropic/claude-haiku-4-5", messages=HI, max_tokens=100, stream=True):
    pass
print("streamed, another provider's:", spent())

litellm.completion(model="openai/gpt-4o-mini", messages=HI, mock_response="Good morning")
print("mocked:", spent())

try:
    with budgetguard.budget(limit=0.000001):
        litellm.completion(model="anthropic/claude-haiku-4-5", messages=HI)
except BudgetExceededError as error:
    print("refused:", error)
