"""
The ids of models on Bedrock: the name that has a price, and the maker, who decides how the model's own JSON reads.

A model is asked for by its id, by that of an inference profile (the id with the place before it: us., eu., apac., jp.,
global.), or by the ARN of either. Every other ARN (an application's inference profile, provisioned throughput, a
prompt, a router, a model of one's own) is a name that says nothing of what is behind it.
"""

from __future__ import annotations

import re
from functools import lru_cache

_PLAIN = re.compile(r"arn:aws[a-z-]*:bedrock:[^:]*:\d*:(?:foundation-model|inference-profile)/(?P<name>.+)")
_PROMPT = re.compile(r"arn:aws[a-z-]*:bedrock:[^:]*:\d*:prompt/")
_MAKER = re.compile(r"(?:^|\.)(?P<maker>ai21|amazon|anthropic|cohere|deepseek|meta|mistral|openai|qwen|stability)\.")


@lru_cache(maxsize=1_024)
def name_of(model_id: str) -> str:
    """The name by which a model is priced: its id or that of its inference profile; another ARN as it is."""
    plain = _PLAIN.fullmatch(model_id)
    return plain["name"] if plain is not None else model_id


@lru_cache(maxsize=1_024)
def maker_of(name: str) -> str:
    """Who made a model, as its id says: "meta"; "" where it does not."""
    found = _MAKER.search(name)
    return found["maker"] if found is not None else ""


def is_prompt(model_id: str) -> bool:
    """Whether a stored prompt is asked for: what it adds to the request is not in it."""
    return _PROMPT.match(model_id) is not None
