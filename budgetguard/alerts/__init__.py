"""
Alerts: somebody is told before a budget is over, once over all processes.

    BudgetManager("shop", budgets=[Budget("free", 5, "daily", warn_at=(0.5, 0.8, 1.0))], alerts=[Webhook("https://...")])
"""

from .alert import Alert as Alert
from .options import Alerts as Alerts
from .sinks.base import Log as Log
from .sinks.mail import Email as Email
from .sinks.webhook import Webhook as Webhook
