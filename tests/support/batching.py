"""Batch files, what three small requests in one cost, and how a batch is begun."""

from __future__ import annotations

import json
from typing import Any

from budgetguard import BudgetManager
from tests.support.sdk_shapes import wait

MODEL = "gpt-4o-mini"


def ask(number: int = 0, path: str = "/v1/chat/completions", **body: Any) -> dict[str, Any]:
    """One request of a batch file."""
    asked = {"model": MODEL, "messages": [{"role": "user", "content": "hi there"}], "max_completion_tokens": 50}
    asked = {name: value for name, value in {**asked, **body}.items() if value is not None}
    return {"custom_id": f"request-{number}", "method": "POST", "url": path, "body": asked}


def lines(*requests: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in requests)


THREE = lines(ask(1), ask(2), ask(3))

HELD = 3 * (15 * 75 + 50 * 300)
"""Of THREE: 15 tokens in (8 bytes and the format; counts have a margin), 50 out, at half of $0.15 and $0.60."""

SPENT = 3 * (8 * 75 + 20 * 300)


def manager(url: str = "memory://", limit: float | str = 1, store: Any = None) -> BudgetManager:
    made = BudgetManager("batches", store=store or url)
    made.create_budget(limit, "ann")
    return made


async def upload(client: Any, content: Any = THREE) -> str:
    return (await wait(client.files.create(file=content, purpose="batch"))).id


async def begin(client: Any, content: Any = THREE, **more: Any) -> str:
    name = await upload(client, content)
    asked = {"input_file_id": name, "endpoint": "/v1/chat/completions", "completion_window": "24h", **more}
    return (await wait(client.batches.create(**asked))).id
