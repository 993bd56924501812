"""A limit for the whole process: the first call passes, the second is refused before it is sent."""

import os

import budgetguard
from budgetguard import BudgetExceededError, completion
from budgetguard.testing import FakeProvider

# To run without a key and a network, the answers come from a provider on loopback. With a key, leave these lines out.
provider = FakeProvider().start()
os.environ.update(OPENAI_BASE_URL=provider.base_url, OPENAI_API_KEY="none")
# ---------------------------------------------------------------------------------------------------------------
budgetguard.max_budget = 0.0015  # dollars

messages = [{"role": "user", "content": "Hey, how's it going"}]
completion(model="gpt-4", messages=messages)
print(f"after the first call: ${budgetguard._current_cost}")
try:
    completion(model="gpt-4", messages=messages)
except BudgetExceededError as refusal:
    print("the second was refused:", refusal)

# Streams count too.
budgetguard.max_budget = 0.01
for chunk in completion(model="gpt-4", messages=messages, stream=True):
    print(chunk.choices[0].delta.content or "", end="")
print(f"\nafter the stream: ${budgetguard._current_cost}")
