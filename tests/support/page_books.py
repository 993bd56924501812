"""Books as a team has them after two months, for whoever looks at the page: calls, budgets, refusals, changes, keys."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator

from budgetguard import Budget
from budgetguard.budgets.rules import model_keys
from budgetguard.budgets.steering.audit import Author
from budgetguard.budgets.steering.declared import declare
from budgetguard.budgets.users import Users
from budgetguard.ledger import KEPT_FOR_EVER, Account, Entry, Hold, Record, Store, id_at, new_id
from budgetguard.money import DOLLAR

DAY_MS = 86_400_000
MODELS = {
    "gpt-4o": ("openai", 2500, 10000),
    "gpt-4o-mini": ("openai", 150, 600),
    "claude-sonnet-4-5": ("anthropic", 3000, 15000),
    "gemini-2.5-flash": ("google", 300, 2500),
    "o3-mini": ("openai", 1100, 4400),
    "house-llama-70b": ("together", 0, 0),
}
"""Provider, and nano-dollars for a token in and out; the last has no price."""
USERS = ("ann", "bob", "chen", "dora", "emre", "farah", "goran", "hana", "ines", "jakub", "kofi", "lucia")
TEAMS = {"search": ("ann", "chen", "farah", "ines"), "support": ("bob", "dora", "goran"), "data": ()}
FEATURES = ("answers", "summaries", "tagging", "agent")
HOSTILE = (
    "<script>alert('name')</script>",
    '"><img src=x onerror=alert(1)>',
    "'; alert(1); //",
    "=cmd|' /C calc'!A0",
    "{{ 7 * 7 }}",
    "javascript:alert(1)",
    "a" * 400,
    "مستخدم \u202e evil",
)
"""Names that somebody may have who wishes us ill; the last reads from right to left."""
RULES = (
    Budget("company", 200, "monthly", warn_at=(0.5, 0.8, 1.0)),
    Budget("team", 120, "monthly", per=("team",)),
    Budget("each", 6, "daily", per=("user",), warn_at=(0.8,)),
    Budget("calls", 60, "rolling 1m", per=("user",), unit="requests"),
)


def fill(store: Store, *, calls: int = 3_000, days: int = 60, seed: int = 7) -> None:
    """Two months of it; the same each time, but for what day it is."""
    now_ms = store.now_ms()
    users = Users(store, clock=lambda: now_ms / 1000, author=Author("ines", "cli"))
    for name, limit in (("ann", 60), ("bob", 30), ("chen", 40), ("dora", 40)):
        users.put(name, Budget("users", limit, "monthly"), note="from the plan of this quarter")
    declare(store, RULES)
    store.load(entries=list(_entries(store, users, now_ms, calls, days, random.Random(seed))))
    _note(store, now_ms, random.Random(seed))
    hold_some(store, now_ms)


def _entries(store: Store, users: Users, now_ms: int, calls: int, days: int, chance: random.Random) -> Iterator[Entry]:
    own = {each.user: each for each in users.all()}
    for number in range(calls):
        at_ms = now_ms - round(days * DAY_MS * (1 - (number + 1) / calls) ** 0.8)
        weekday = (at_ms // DAY_MS + 4) % 7
        if weekday in (0, 6) and chance.random() < 0.7:
            continue
        user = USERS[min(len(USERS) - 1, int(chance.expovariate(0.45)))]
        team = next((name for name, members in TEAMS.items() if user in members), "data")
        model = chance.choices(list(MODELS), (30, 34, 16, 12, 6, 2))[0]
        provider, dear_in, dear_out = MODELS[model]
        tokens_in, tokens_out = round(chance.lognormvariate(11, 0.9)), round(chance.lognormvariate(8.2, 0.8))
        cost = tokens_in * dear_in + tokens_out * dear_out
        tags = {"user": user, "team": team, "feature": FEATURES[number % 7 % 4]}
        keys = [rule.account_of(subject, at_ms).key for rule in RULES if (subject := rule.subject(tags)) is not None]
        if user in own:
            keys.append(own[user].account(at_ms).key)
        flags = {"unpriced"} if not cost else {"cut", "capped"} if chance.random() < 0.03 else set()
        if chance.random() < 0.02:
            flags.add("estimated")
        usage = {"input_tokens": tokens_in, "output_tokens": tokens_out}
        if number % 5 == 0:
            usage["cache_read_input_tokens"] = tokens_in // 2
        yield Entry(
            f"{id_at(at_ms)}{number:08d}",
            cost,
            (*model_keys(keys, model), *keys),
            at_ms,
            tags,
            provider,
            model,
            usage,
            frozenset(flags),
            {"tokens": tokens_in + tokens_out},
        )


def _note(store: Store, now_ms: int, chance: random.Random) -> None:
    noted = []
    for number in range(60):
        at_ms = now_ms - round(5 * DAY_MS * chance.random() ** 2)
        user, busy = chance.choice(USERS[:5]), number % 4 == 0
        spent = round(6 * DOLLAR * (0.96 + 0.04 * chance.random()))
        room = max(0, 6 * DOLLAR - spent)
        wanted = room + round(DOLLAR * 0.4 * chance.random()) + DOLLAR // 50
        body = {
            "budget": "each",
            "subject": user,
            "account": f"each/{user}/2026-01-01",
            "unit": "dollars",
            "user": user,
            "tags": {"user": user},
            "model": chance.choice(list(MODELS)[:4]),
            "provider": "openai",
            "busy": busy,
            "spent": spent,
            "held": room if busy else 0,
            "limit": 6 * DOLLAR,
            "wanted": wanted,
            "room": 0 if busy else room,
            "count": 1 + number % 3,
            "last_ms": at_ms + 2_000,
        }
        noted.append(Record("refusal", f"{id_at(at_ms)}{number:08d}", at_ms, json.dumps(body)))
    for part, hours in ((0.5, 190), (0.8, 30)):
        at_ms = now_ms - hours * 3_600_000
        limit = 200 * DOLLAR
        body = {
            "what": "threshold",
            "budget": "company",
            "subject": "",
            "account": "company//x",
            "unit": "dollars",
            "part": part,
            "settled": math.floor(limit * part),
            "held": 0,
            "limit": limit,
            "text": f"company has spent {part:.0%} of $200.00 this month",
            "sinks": ["slack", "log"],
        }
        noted.append(Record("alert", f"company//x@{part}", at_ms, json.dumps(body), KEPT_FOR_EVER))
    store.note(noted)


def hold_some(store: Store, now_ms: int) -> None:
    """Calls in flight."""
    for number, user in enumerate(("ann", "emre", "ann", "kofi")):
        account = Account(RULES[2].account_of(user, now_ms).key)
        tags = {"user": user, "feature": "agent"}
        store.reserve(
            Hold(
                new_id(),
                (account,),
                DOLLAR // 10 * (number + 1),
                ttl_ms=900_000,
                tags=tags,
                provider="openai",
                model="gpt-4o",
            )
        )


def fill_hostile(store: Store) -> None:
    """Calls, holds, refusals and alerts of people with such names, and notes of them."""
    now_ms = store.now_ms()
    users = Users(store, clock=lambda: now_ms / 1000, author=Author(HOSTILE[0], "python"))
    entries, noted = [], []
    for number, name in enumerate(HOSTILE):
        users.put(name, Budget("users", 5, "monthly"), note=name)
        tags = {"user": name, "feature": name, "team": name}
        key = users.get(name).account(now_ms).key
        entries.append(
            Entry(
                f"{new_id()}",
                DOLLAR,
                (*model_keys([key], name), key),
                now_ms,
                tags,
                name,
                name,
                {"input_tokens": 10, name[:40]: 1},
                frozenset({"estimated"}),
            )
        )
        body = {
            "budget": name,
            "subject": name,
            "account": key,
            "unit": "dollars",
            "user": name,
            "tags": tags,
            "model": name,
            "provider": name,
            "busy": False,
            "spent": 1,
            "held": 0,
            "limit": 1,
            "wanted": 2,
            "room": 0,
            "count": 1,
            "last_ms": now_ms,
            "what": name,
            "part": None,
            "settled": 1,
            "text": name,
            "sinks": [name],
        }
        noted += [Record(kind, f"{new_id()}{number}", now_ms, json.dumps(body)) for kind in ("refusal", "alert")]
        store.reserve(Hold(new_id(), (Account(key),), 1_000, tags=tags, provider=name, model=name))
    declare(store, [Budget(HOSTILE[0][:40], 5, per=("user",))])
    store.load(entries=entries)
    store.note(noted)
