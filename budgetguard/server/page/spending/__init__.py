"""The views of money: the overview, budgets, one subject, the explorer, the statement, and the forms that steer."""

from ..view import KEEPERS, View
from .budgets import budgets
from .explorer import explorer
from .overview import overview
from .statement import statement
from .steering import ask, steer
from .subject import subject

VIEWS = [
    View("overview", "Overview", overview, group="Spend"),
    View("budgets", "Budgets", budgets, group="Spend"),
    View("subject", "User or subject", subject, group="Spend"),
    View("explorer", "Explorer", explorer, group="Spend"),
    View("statement", "Statement", statement, group="Spend"),
    View("steer", "Change a budget", ask, scopes=KEEPERS, listed=False),
    View("steer", "Change a budget", steer, "POST", KEEPERS, listed=False),
]
