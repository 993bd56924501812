"""Taking over the `user_cost.json` of LiteLLM, and writing one. The commands do the same: `budgetguard import`."""

import json
from pathlib import Path

from budgetguard import BudgetManager

# What LiteLLM left behind.
Path("user_cost.json").write_text(
    json.dumps(
        {
            "ann": {
                "total_budget": 10,
                "duration": 28,
                "created_at": 1795000000.0,
                "last_updated_at": 1795000000.0,
                "current_cost": 0.25,
                "model_cost": {"gpt-4": 0.25},
            },
            "bob": {"total_budget": 5},
        }
    )
)

manager = BudgetManager(project_name="shop", store="memory://")
print(manager.import_litellm("user_cost.json"), "users")
print(manager.import_litellm("user_cost.json"), "users again, and nothing twice")
print(manager.user_dict)

manager.export_litellm("exported.json")
print(Path("exported.json").read_text())
