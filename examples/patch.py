"""`patch`, `unpatch` and `guard`: every client of the process, or one."""

import os

from openai import OpenAI

import budgetguard
from budgetguard import BudgetExceededError
from budgetguard.testing import FakeProvider

# To run without a key and a network, the answers come from a provider on loopback. With a key, leave these lines out.
provider = FakeProvider().start()
os.environ.update(OPENAI_BASE_URL=provider.base_url, OPENAI_API_KEY="none")
# ---------------------------------------------------------------------------------------------------------------


def ask(client):
    try:
        client.chat.completions.create(model="gpt-4", messages=[{"role": "user", "content": "Good morning"}])
    except BudgetExceededError:
        return "refused"
    return "answered"


client = OpenAI()
print("before:", ask(client))

budgetguard.max_budget = 0  # nothing may be spent: a limit patches, if nobody did
print("limited:", ask(client), "- and a new client:", ask(OpenAI()))

budgetguard.unpatch()
print("unpatched:", ask(client))

budgetguard.patch()
budgetguard.patch()  # once more changes nothing
print("patched again:", ask(client))
budgetguard.unpatch()

guarded = budgetguard.guard(OpenAI())
print("one guarded client:", ask(guarded), "- the others:", ask(client))
