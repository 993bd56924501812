"""`completion` asks any provider, by its name before the model's; the budget is one."""

import os

import budgetguard
from budgetguard import BudgetExceededError, ConfigError, completion
from budgetguard.testing import FakeProvider

# To run without keys and a network, every provider is one on loopback. With keys, leave these lines out.
provider = FakeProvider().start()
for name in ("OPENAI", "ANTHROPIC", "GROQ"):
    os.environ |= {f"{name}_API_KEY": "none", f"{name}_API_BASE": provider.base_url}
os.environ.pop("DEEPSEEK_API_KEY", None)
# ---------------------------------------------------------------------------------------------------------------
question = [{"role": "user", "content": "Good morning"}]

with budgetguard.budget(limit=0.01) as b:
    for model in ("gpt-4o-mini", "anthropic/claude-haiku-4-5", "groq/llama-3.3-70b-versatile"):
        completion(model=model, messages=question, max_tokens=100)
        print("after", model, b.spent)
    try:
        completion(model="anthropic/claude-haiku-4-5", messages=question, max_tokens=10_000)
    except BudgetExceededError as refusal:
        print("refused:", refusal)
    try:
        completion(model="deepseek/deepseek-chat", messages=question)
    except ConfigError as error:
        print(error)
