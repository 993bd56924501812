"""Usage objects, and chunks of chat streams, as tests write them."""

from __future__ import annotations

from typing import Any


def said(asked: Any, given: Any, total: Any = None, **more: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": asked, "completion_tokens": given, **more}
    return usage if total is None else {**usage, "total_tokens": total}


def text(content: str = "a", finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **more}


def alone(usage: Any) -> dict[str, Any]:
    return {**text(), "choices": [], "usage": usage}


END = text("", "stop")
ERROR = {"error": {"message": "Provider returned error", "code": 502}}
