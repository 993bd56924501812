"""What incoming webhooks of Slack and Discord take. Names of budgets and users are text there: they notify nobody."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from ...budgets.steering.moments import moment_text
from ..alert import Alert

_MOST_SLACK: Final = 2_900
"""A section's text may have 3,000 characters."""
_MOST_DISCORD: Final = 2_000
"""An embed's description may have 4,096, but a plain message 2,000."""
_AMBER, _RED, _GREY = 0xD9822B, 0xC23030, 0x5C7080


def as_slack(alert: Alert) -> dict[str, Any]:
    """Blocks, with the text for notifications beside them. "&", "<" and ">" are all that Slack reads as markup."""
    text = alert.text[:_MOST_SLACK].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    about = [{"type": "mrkdwn", "text": f"budgetguard · {_title(alert)} · {moment_text(alert.at_ms)}"}]
    return {
        "text": text,
        "blocks": [
            {"type": "section", "text": {"type": "plain_text", "text": alert.text[:_MOST_SLACK], "emoji": False}},
            {"type": "context", "elements": about},
        ],
    }


def as_discord(alert: Alert) -> dict[str, Any]:
    """One embed; `allowed_mentions` keeps a user who is called "@everyone" from being that."""
    return {
        "username": "budgetguard",
        "allowed_mentions": {"parse": []},
        "embeds": [
            {
                "title": _title(alert),
                "description": alert.text[:_MOST_DISCORD],
                "color": _colour(alert),
                "timestamp": datetime.fromtimestamp(alert.at_ms / 1000, UTC).isoformat(),
            }
        ],
    }


def _title(alert: Alert) -> str:
    if alert.what == "threshold" and alert.part is not None:
        return f"threshold {100 * alert.part:g} %"
    return str(alert.what)


def _colour(alert: Alert) -> int:
    if alert.what == "test":
        return _GREY
    return _RED if alert.what in {"refusals", "away"} or (alert.part or 0) >= 1 else _AMBER
