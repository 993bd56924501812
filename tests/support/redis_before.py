"""
A client of Redis as it was before budgets were counted in tokens and requests, for programs that are upgraded in turn.

Its scripts are kept as they were, in `tests/upgrades/kept/redis_version_1`, and are called by their own digests; what
it says to them, and reads, is written here as it was then.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from hashlib import sha1
from typing import Any

from redis.exceptions import NoScriptError

from budgetguard.ledger import (
    Account,
    Admitted,
    Balance,
    Conflict,
    Ended,
    Entry,
    Hold,
    OpenHold,
    Query,
    Refusal,
    Settled,
    Stale,
    Terms,
)
from budgetguard.stores.redis.store import RedisStore
from tests.support import ROOT

SCRIPTS = ROOT / "tests" / "upgrades" / "kept" / "redis_version_1"


def raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def run(client: Any, name: str, prefix: bytes, *args: Any) -> Any:
    said = (SCRIPTS / f"{name}.lua").read_bytes().replace(b"--{common}", (SCRIPTS / "common.lua").read_bytes())
    try:
        return client.execute_command("EVALSHA", sha1(said).hexdigest(), 1, prefix, *args)
    except NoScriptError:
        return client.execute_command("EVAL", said, 1, prefix, *args)


def optional(number: int | None) -> int | str:
    return "" if number is None else number


def ends(hold: Hold) -> list[Any]:
    found = {account.key: account.over_ms for account in reversed(hold.accounts)}
    found = {account.key: found[account.key] for account in hold.accounts}
    return [len(found), *[arg for key, end in found.items() for arg in (raw(key), optional(end))]]


def account_args(account: Account) -> list[Any]:
    times = [optional(each) for each in (account.start_ms, account.end_ms, account.over_ms)]
    window = [raw(key) for key in account.window]
    return [raw(account.key), optional(account.limit), account.enforce, account.share, *times, len(window), *window]


def noted(said: Hold | Entry) -> str:
    told = {"t": dict(said.tags), "p": said.provider, "m": said.model}
    return json.dumps(told | {"u": dict(said.usage)} if isinstance(said, Entry) else told)


class RedisBefore(RedisStore):
    """The methods of a `Store` that a program calls; `terms`, `check` and the like are not among them."""

    def ask(self, name: str, *args: Any) -> Any:
        return run(self._clients.change, name, self.prefix, self._now(), *args)

    def reserve(self, hold: Hold) -> Any:
        charge, counts = int(hold.on_expire == "charge"), (len(hold.terms), len(hold.accounts))
        args = [hold.amount, optional(hold.least), hold.useful, hold.ttl_ms, charge, noted(hold), *counts]
        args += [arg for key, version in hold.terms for arg in (raw(key), version)]
        args += [arg for account in hold.accounts for arg in account_args(account)]
        kind, *answer = run(self._clients.change, "reserve", self.prefix, raw(hold.id), self._now(), *args)
        if kind == 2:
            newer = [Terms(text(key), int(version), body and text(body)) for key, version, body in answer[1]]
            return Stale(answer[0], tuple(newer))
        if kind == 3:
            account = hold.accounts[answer[0]]
            return Refusal(account, Balance(account.key, answer[1], answer[2]), answer[3] == 1)
        return Admitted(answer[0]) if kind == 1 else Ended()

    def settle(self, hold: Hold, entry: Entry) -> Any:
        return self.settle_many([(hold, entry)])[0]

    def settle_many(self, settlements: Sequence[tuple[Hold, Entry]]) -> list[Any]:
        args: list[Any] = []
        for hold, entry in settlements:
            over = [account.over_ms for account in hold.accounts]
            last = None if not over or None in over else max(each for each in over if each is not None)
            charged, beside = ends(hold), [raw(key) for key in entry.accounts]
            flags, manual = " ".join(sorted(entry.flags - {"expired"})), int("manual" in entry.flags)
            counts = [optional(last if beside else None), charged[0], len(beside), len(hold.leases)]
            args += [raw(hold.id), entry.cost, flags, manual, noted(entry), *counts]
            args += [*charged[1:], *beside, *[raw(lease) for lease in hold.leases]]
        answers = self.ask("settle", *args) if args else []
        pairs = zip(answers[::2], answers[1::2], strict=True)
        return [Conflict(cost) if kind == 2 else Settled(cost, kind == 1) for kind, cost in pairs]

    def release(self, hold_id: str) -> None:
        self.ask("release", raw(hold_id))

    def renew(self, holds: Sequence[Hold]) -> list[bool]:
        args: list[Any] = []
        for hold in holds:
            charge = int(hold.on_expire == "charge")
            args += [raw(hold.id), hold.amount, hold.ttl_ms, charge, noted(hold), *ends(hold)]
        return [answer == 1 for answer in self.ask("renew", *args)] if args else []

    def load(self, *, terms: Any = (), accounts: Any = (), entries: Sequence[Entry] = ()) -> None:
        args: list[Any] = [len(terms), len(accounts)]
        for each in terms:
            args += [raw(each.key), each.version, *((0, b"") if each.body is None else (1, raw(each.body)))]
        for account in accounts:
            args += [raw(account.key), optional(account.end_ms), account.pruned]
        for entry in entries:
            keys, flags = [raw(key) for key in dict.fromkeys(entry.accounts)], " ".join(sorted(entry.flags))
            args += [raw(entry.hold_id), entry.at_ms, entry.cost, flags, noted(entry), len(keys), *keys]
        self.ask("load", *args)

    def prune(self, before_ms: int) -> int:
        pruned: int = run(self._clients.change, "prune", self.prefix, before_ms, 1000)
        run(self._clients.change, "prune_accounts", self.prefix, before_ms, "-", 1000)
        return pruned

    def holds(self) -> list[OpenHold]:
        found = []
        rows = run(self._clients.read, "reports/holds", self.prefix, f"({self.now_ms()}", 0, 1000)
        for hold_id, due, amount, placed, said, keys in [row for row in rows if len(row) > 2]:
            told, accounts = json.loads(said), tuple(map(text, keys))
            names = (told["t"], told["p"], told["m"])
            found.append(OpenHold(text(hold_id), amount, accounts, placed, due, *names))
        return sorted(found, key=lambda hold: (hold.placed_ms, hold.id))

    def entries(self, query: Query = Query()) -> Iterator[Entry]:  # noqa: B008
        for row in run(self._clients.read, "reports/entries", self.prefix, "", "", 0, "", 1000):
            hold_id, at_ms, cost, flags, said, keys = row
            told, words = json.loads(said), frozenset(flags.decode().split())
            names = (told["t"], told["p"], told["m"], told.get("u", {}))
            yield Entry(text(hold_id), cost, tuple(map(text, keys)), at_ms, *names, words)
