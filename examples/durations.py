"""Budgets that begin again by themselves: by the calendar, in a time zone, or over a rolling period."""

from datetime import UTC, datetime

from budgetguard import BudgetManager
from budgetguard.testing import StoppedClock

# A clock to show in seconds what takes weeks. Leave it out, with `clock=clock` below, and the time is the time.
clock = StoppedClock(datetime.fromisoformat("2027-01-31T20:00:00Z").timestamp())

manager = BudgetManager(project_name="shop", store="memory://", clock=clock)
manager.create_budget(total_budget=10, user="ann", duration="monthly")
manager.set_budget("kenji", 10, "monthly", timezone="Asia/Tokyo")  # where it is February already
manager.set_budget("rosa", 10, "rolling 24h")
answer = {"model": "gpt-4", "usage": {"prompt_tokens": 1000, "completion_tokens": 0, "total_tokens": 1000}}


def show():
    print(
        f"{datetime.fromtimestamp(clock(), UTC):%d %b}",
        {user: manager.get_current_cost(user) for user in manager.get_users()},
    )


for user in manager.get_users():
    manager.update_cost(user, answer)
show()
clock.advance(6 * 3600)  # 1 February
show()
clock.advance(24 * 3600)
show()
clock.advance(27 * 86_400)  # 1 March
show()
