"""Every method of the manager that programs written for LiteLLM call."""

from budgetguard import BudgetManager

manager = BudgetManager("shop", store="memory://")
messages = [{"role": "user", "content": "Good morning"}]
answer = {"model": "gpt-4", "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}}

print("create_budget     ", manager.create_budget(total_budget=10, user="ann"))
print("is_valid_user     ", manager.is_valid_user("ann"), manager.is_valid_user("bob"))
print("get_users         ", manager.get_users())
print("get_total_budget  ", manager.get_total_budget("ann"))
print("projected_cost    ", manager.projected_cost(model="gpt-4", messages=messages, user="ann"))
print("update_cost       ", manager.update_cost(user="ann", completion_obj=answer))
print("get_current_cost  ", manager.get_current_cost("ann"))
print("get_model_cost    ", manager.get_model_cost("ann"))
print("user_dict         ", manager.user_dict)
print("reset_cost        ", manager.reset_cost("ann"))
print("reset_on_duration ", manager.reset_on_duration("ann"))  # a duration renews by itself
print("update_budget_all ", manager.update_budget_all_users())
print("save_data         ", manager.save_data())  # everything is saved when it happens
try:
    manager.get_current_cost("nobody")
except KeyError as error:
    print("KeyError:", error)
try:
    manager.create_budget(total_budget=10, user="ann", duration="fortnightly")
except ValueError as error:
    print("ValueError:", error)
