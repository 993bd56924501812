"""A budget for each user, with the method names of LiteLLM's `BudgetManager`."""

import os

from budgetguard import BudgetManager, completion
from budgetguard.testing import FakeProvider

# To run without a key and a network, the answers come from a provider on loopback. With a key, leave these lines out.
provider = FakeProvider().start()
os.environ.update(OPENAI_BASE_URL=provider.base_url, OPENAI_API_KEY="none")
# ---------------------------------------------------------------------------------------------------------------
budget_manager = BudgetManager(project_name="test_project", client_type="local")

user = "1234"

# create a budget if the user is new
if not budget_manager.is_valid_user(user):
    budget_manager.create_budget(total_budget=0.001, user=user)

for _ in range(3):
    # check if the user is within their budget
    if budget_manager.get_current_cost(user=user) <= budget_manager.get_total_budget(user):
        response = completion(model="gpt-4", messages=[{"role": "user", "content": "Hey, how's it going?"}])
        budget_manager.update_cost(completion_obj=response, user=user)
        print("answered:", response.choices[0].message.content)
    else:
        print("Sorry - no budget!")

print(budget_manager.user_dict)
