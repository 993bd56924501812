"""What `update_cost` takes: an answer of any kind, or a model and two texts."""

import os

from openai import OpenAI

from budgetguard import BudgetManager
from budgetguard.testing import FakeProvider

# To run without a key and a network, the answers come from a provider on loopback. With a key, leave these lines out.
provider = FakeProvider().start()
os.environ.update(OPENAI_BASE_URL=provider.base_url, OPENAI_API_KEY="none")
# ---------------------------------------------------------------------------------------------------------------
manager = BudgetManager(project_name="shop", store="memory://")
manager.create_budget(total_budget=10, user="ann", duration="daily")

response = OpenAI().chat.completions.create(model="gpt-4", messages=[{"role": "user", "content": "Good morning"}])

manager.update_cost(
    user="ann", completion_obj=response
)  # an SDK's object (Anthropic's too), or LiteLLM's ModelResponse
print(manager.get_current_cost("ann"))
manager.update_cost(user="ann", completion_obj=response.model_dump())  # a plain dict
print(manager.get_current_cost("ann"))
manager.update_cost(user="ann", model="gpt-4", input_text="Good morning", output_text="Good morning to you, too")
print(manager.get_current_cost("ann"))
print(manager.get_model_cost("ann"))
