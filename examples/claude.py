"""Anthropic's SDK: plain, streamed, in a batch, refused, and with a middleware that answers by itself."""

import os

from anthropic import Anthropic

import budgetguard
from budgetguard import Budget, BudgetExceededError, BudgetManager
from budgetguard.testing import FakeProvider

# To run without a key and a network, the answers come from a provider on loopback. With a key, leave these lines out.
provider = FakeProvider().start()
os.environ.update(ANTHROPIC_BASE_URL=provider.root_url, ANTHROPIC_API_KEY="none")
# ---------------------------------------------------------------------------------------------------------------

manager = BudgetManager("claude", store="memory://", budgets=[Budget("all", 0.10)])
budgetguard.patch(manager)

client = Anthropic()
ask = {"model": "claude-opus-4-8", "max_tokens": 200, "messages": [{"role": "user", "content": "Good morning"}]}


def spent(what, call):
    before = sum(entry.cost for entry in manager.store.entries())
    answer = call()
    cost = sum(entry.cost for entry in manager.store.entries()) - before
    print(f"{what}: ${cost / 1e9:.6f}")
    return answer


def in_a_batch():
    batch = client.messages.batches.create(requests=[{"custom_id": "one", "params": ask}])
    while client.messages.batches.retrieve(batch.id).processing_status != "ended":
        pass  # a real one takes minutes
    return list(client.messages.batches.results(batch.id))


answer = spent("plain", lambda: client.messages.create(**ask))
spent("streamed", lambda: list(client.messages.create(**ask, stream=True)))
spent("in a batch, at half", in_a_batch)

try:
    client.messages.create(**{**ask, "max_tokens": 8_000})
except BudgetExceededError as error:
    print("a stated cap that does not fit is refused:", error)

cached = Anthropic(middleware=[lambda request, call_next: answer])
spent("a cache of a middleware's own costs nothing", lambda: cached.messages.create(**ask))
