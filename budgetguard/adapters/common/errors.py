"""What an error says, whatever raised it: whether a filter refused the prompt, whether it is about fields of ours."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final


def status_of(error: BaseException) -> int | None:
    """The HTTP status of an error, wherever its SDK has it: Google's as `code`, botocore in its reply."""
    reply = getattr(error, "response", None)
    status = getattr(error, "status_code", getattr(reply, "status_code", None))
    if status is None and isinstance(reply, dict):
        status = reply.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if isinstance(status, int):
        return status
    status = getattr(error, "code", None)
    return status if isinstance(error, Exception) and isinstance(status, int) and 400 <= status < 600 else None


def filtered(error: BaseException) -> bool:
    """Whether a content filter refused the prompt: it was read for that, and Azure bills it."""
    if status_of(error) != 400:
        return False
    said = f"{error} {getattr(error, 'body', None)}"  # in some versions the inner error alone says it
    return getattr(error, "code", None) == "content_filter" or "ResponsibleAIPolicyViolation" in said


def refused_fields(error: BaseException, sent: Mapping[str, Any]) -> dict[str, int]:
    """Which of the fields that only we `sent` an error names, and the least number that was too much (0: any value)."""
    status = status_of(error)
    if status is None or not (status in _REFUSING or status >= 500):
        return {}
    text = str(error).lower()
    named = [field for field in sent if any(word in text for word in (field, *_OTHER_WORDS.get(field, ())))]
    unknown = named and _UNKNOWN.search(text)
    return {field: 0 if unknown or not isinstance(sent[field], int) else sent[field] for field in named}


def is_unexplained(error: BaseException, body: Collection[str]) -> bool:
    """Whether an error is about a field, or about nothing, and says nothing of those in the caller's `body`."""
    if status_of(error) not in {400, 422} or getattr(error, "param", None):
        return False
    text = str(error).lower()
    said = _UNKNOWN.search(text) or _UNEXPLAINED.search(text)
    return said is not None and not any(_names(text, field) for field in body)


def _names(text: str, field: str) -> bool:
    return re.search(rf"\b{re.escape(field.lower())}\b", text) is not None


_REFUSING: Final = frozenset({400, 402, 404, 405, 413, 422})
"""Statuses of a request that a server does not take as it is; 402 is OpenRouter's for a cap above what one can pay."""

_CAP_WORDS: Final = (
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "max_new_tokens",
    "maxoutputtokens",
    "max tokens",
    "in the completion",
)
_BEDROCK_WORDS: Final = (*_CAP_WORDS, "maximum tokens", "maxtokens", "max_gen_len", "maxtokencount", "inferenceconfig")
_OTHER_WORDS: Final = {
    "max_tokens": _CAP_WORDS,
    "max_completion_tokens": _CAP_WORDS,
    "max_output_tokens": _CAP_WORDS,
    "generationConfig": _CAP_WORDS,
    "generation_config": _CAP_WORDS,
    "stream_options": ("include_usage", "streamoptions", "stream options"),
    "inferenceConfig": _BEDROCK_WORDS,
    "body": _BEDROCK_WORDS,
}
"""What servers call these fields: gateways rename them on their way to the model."""

_UNKNOWN: Final = re.compile(
    r"unsupported|n[o']t support|un?recogni[sz]ed|unknown|unexpected|not permitted|not allowed|deprecated|validation|"
    r"extra[_ ](input|field|forb|param)|additional propert|invalid (field|param|arg|key|json)|schema|does not accept|"
    r"use '"
)
_UNEXPLAINED: Final = re.compile(r"^error code: \d+$|bad[_ ]request|malformed|invalid request(?!_error)")
