"""Calls without an SDK of a provider's own: by httpx, by Ollama's client, by Cohere's."""

import cohere
import httpx
import ollama

import budgetguard
from budgetguard import Budget, BudgetExceededError, BudgetManager
from budgetguard.testing import FakeProvider

# To run without a key and a network, the answers come from a provider on loopback. With a key, leave this line out.
provider = FakeProvider(tokens=100).start()
# ---------------------------------------------------------------------------------------------------------------

manager = BudgetManager("by hand", store="memory://", budgets=[Budget("day", 1, "daily")])
budgetguard.patch(manager)
messages = [{"role": "user", "content": "Good morning"}]


def spent():
    return f"${sum(entry.cost for entry in manager.store.entries()) / 1e9:.7f}"


asked = {"model": "gpt-4o-mini", "messages": messages}
httpx.post(f"{provider.base_url}/chat/completions", json=asked)
print("by hand:", spent())

body = {**asked, "stream": True, "stream_options": {"include_usage": True}}
with httpx.stream("POST", f"{provider.base_url}/chat/completions", json=body) as response:
    lines = list(response.iter_lines())
print("and as a stream:", spent(), f"for {len(lines)} lines")

with ollama.Client(host=provider.root_url) as local:
    local.chat(model="llama3.2", messages=messages)
print("a model on this machine is free:", spent())

client = cohere.ClientV2(api_key="none", base_url=provider.root_url)
try:
    client.chat(model="command-of-mine", messages=messages)
except budgetguard.UnpricedModelError as error:
    print("a model without a price is refused:", str(error).partition(".")[0])

with budgetguard.budget(limit=0.0000001):
    try:
        httpx.post(f"{provider.base_url}/chat/completions", json=asked)
    except BudgetExceededError as error:
        print("no room:", error)
