"""A model that does not fit its budget, and another one that answers in its place: which, at what cost, who is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from budgetguard import Budget
from budgetguard.server.gateway.call import life
from budgetguard.server.gateway.config.model import Target
from budgetguard.server.gateway.config.models import ModelEntry
from budgetguard.server.keys import Grant
from budgetguard.server.keys.limits import allowance, owner_limits
from budgetguard.testing import FakeProvider
from tests.support.gateway import CLAUDE, GEMINI, MESSAGES, MODEL, ServedGateway, configured, upstream
from tests.support.passing import PRICES, Books, prices, settled

DEAR = {"openai": "gpt-4o", "anthropic": "claude-dear", "google": "gemini-dear"}
CHEAP = {"openai": MODEL, "anthropic": CLAUDE, "google": GEMINI}
"""What each API's requests fall back to."""
BESIDE = "other-cheap"
"""A cheap model of another upstream."""
MORE: Any = {
    "gpt-4o": {"input": 2.5, "output": 10},
    DEAR["anthropic"]: {"input": 300, "output": 1500},
    DEAR["google"]: {"input": 300, "output": 1500},
    BESIDE: {"input": 0.1, "output": 0.2},
    "tight": {"input": 0.1, "output": 0.1, "max_output": 50},
}
ROOM = "0.0018"
"""Dollars: of each API's requests, the cheap one fits many times, and the dear one not once."""


def bill(model: str, usage: Any) -> int:
    """What the provider charges, over the same prices."""
    price = {**PRICES, **MORE}[model]
    asked = usage.get("promptTokenCount", usage.get("prompt_tokens", usage.get("input_tokens", 0)))
    words = ("candidatesTokenCount", "thoughtsTokenCount", "completion_tokens", "output_tokens")
    made = sum(usage.get(word, 0) for word in words)
    pico = round(asked * price["input"] * 1e6) + round(made * price["output"] * 1e6)
    return -(-pico // 1000)


class Shop(NamedTuple):
    """A gateway before a provider."""

    gateway: ServedGateway
    provider: FakeProvider

    def ask(self, dialect: str, *, stream: bool = False, key: str = "", model: str = "", **more: Any) -> Any:
        """A call of the dear model of an API, or another one: the status, the answer, its headers."""
        named = model or DEAR[dialect]
        if dialect == "google":
            verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
            body: Any = {"contents": [{"role": "user", "parts": [{"text": "count the money"}]}]}
            body |= {"generationConfig": {"maxOutputTokens": 200}, **more}
            return self.gateway.ask(f"/v1beta/models/{named}:{verb}", body, key=key)
        path = "/v1/chat/completions" if dialect == "openai" else "/v1/messages"
        body = {"model": named, "messages": MESSAGES, "max_tokens": 200, **({"stream": True} if stream else {}), **more}
        return self.gateway.ask(path, body, key=key)

    def sent(self) -> list[str]:
        """The models that the provider was asked for."""
        return [each.body.get("model") or each.path.split("/")[-1].split(":")[0] for each in self.provider.requests]


pytestmark = pytest.mark.provider(prices=bill)


def shop(provider: FakeProvider, store: str = "memory://", *, models: Any = (), **options: Any) -> ServedGateway:
    """A gateway of one upstream for everything, and another one beside it."""
    own = upstream("own", provider.root_url, prices="openai")
    beside = upstream("beside", provider.root_url, prices="openai", key="sk-beside-secret")
    named = {*DEAR.values(), *CHEAP.values()} - {each.name for each in models}
    entries = [*models, *(ModelEntry(name, (Target(own),)) for name in named), ModelEntry(BESIDE, (Target(beside),))]
    return ServedGateway(configured(own, beside, models=entries, prices=prices(MORE), wait_s=0.05, **options), store)


def house(**fields: Any) -> Budget:
    return Budget("house", ROOM, **fields)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_what_does_not_fit_is_answered_by_the_model_that_the_budget_names(
    provider: FakeProvider, dialect: str, stream: bool
) -> None:
    """The program has an answer in the place of a 402; it is told which model wrote it, and the books are the bill."""
    with shop(provider, budgets=(house(fallback=CHEAP[dialect]),)) as gateway:
        here, books = Shop(gateway, provider), Books(gateway, provider)
        status, said, headers = here.ask(dialect, stream=stream)
        assert status == 200, said
        assert here.sent() == [CHEAP[dialect]]
        assert headers["x-budgetguard-fallback"] == f"{DEAR[dialect]} -> {CHEAP[dialect]}"
        assert headers["x-budgetguard-model"] == CHEAP[dialect]
        assert books.booked() == books.billed()
        [entry] = books.entries()
        assert (entry.model, "fallback" in entry.flags) == (CHEAP[dialect], True)
        found = gateway.ask(f"/v1/calls/{headers['x-budgetguard-call']}")[1]
        assert (found["model"], found["asked_model"]) == (CHEAP[dialect], DEAR[dialect])
        metrics = gateway.ask("/metrics")[1].decode()
        [row] = [each for each in metrics.splitlines() if each.startswith("budgetguard_gateway_fallbacks_total{")]
        assert f'asked="{DEAR[dialect]}"' in row
        assert f'model="{CHEAP[dialect]}"' in row


def test_without_a_word_of_it_a_call_is_refused(provider: FakeProvider, dialect: str) -> None:
    """Nobody is given another model than they asked for, unless whoever keeps the budget said so."""
    with shop(provider, budgets=(house(),)) as gateway:
        status, said, headers = Shop(gateway, provider).ask(dialect)
        assert (status, provider.requests) == (402, []), said
        assert "x-budgetguard-fallback" not in headers


def test_the_next_one_is_at_another_upstream(provider: FakeProvider) -> None:
    """A fallback is a name of this gateway: where it is asked, and with whose key, is that name's own affair."""
    with shop(provider, budgets=(house(fallback=BESIDE),)) as gateway:
        status, said, headers = Shop(gateway, provider).ask("openai")
        assert status == 200, said
        assert headers["x-budgetguard-upstream"] == "beside"
        assert provider.requests[-1].headers["authorization"] == "Bearer sk-beside-secret"


def test_each_is_asked_in_its_turn_until_one_fits(provider: FakeProvider) -> None:
    """The budget's owner wrote them in the order of what they are worth."""
    names = ("nobodys", "claude-dear", "unpriced", BESIDE)
    own = upstream("own", provider.root_url, prices="openai")
    models = [ModelEntry("unpriced", (Target(own, "without-a-price"),))]
    with shop(provider, models=models, budgets=(house(fallback=names),)) as gateway:
        here, books = Shop(gateway, provider), Books(gateway, provider)
        assert here.ask("openai")[0] == 200
        assert here.sent() == [BESIDE]
        assert books.booked() == books.billed()


def test_the_refusal_says_what_became_of_each(provider: FakeProvider) -> None:
    """Whoever reads it sees what to change: the budget, the list, or what the key may call."""
    speaks = upstream("claude", provider.root_url, prices="openai")
    speaks = upstream("claude", provider.root_url, bases={"anthropic": speaks.bases["anthropic"]})
    models = [ModelEntry("other-api", (Target(speaks, CLAUDE),))]
    names = ("nobodys", "other-api", "claude-dear")
    own = upstream("own", provider.root_url, prices="openai")
    entries = [*models, *(ModelEntry(name, (Target(own),)) for name in ("gpt-4o", "claude-dear"))]
    known = configured(own, speaks, models=entries, prices=prices(MORE), wait_s=0.05, budgets=(house(fallback=names),))
    with ServedGateway(known) as gateway:
        status, said, headers = Shop(gateway, provider).ask("openai")
        assert (status, provider.requests) == (402, [])
        message = said["error"]["message"]
        assert message.startswith("house: call projected at")
        assert "no model is called 'nobodys'" in message
        assert "'other-api' cannot be asked instead: no upstream of 'other-api' speaks OpenAI's API" in message
        assert "'claude-dear' cannot be asked instead: there is no room for it" in message
        assert said["error"]["budget"]["name"] == "house"
        assert headers["x-should-retry"] == "false"
        assert settled(gateway) == []


def test_a_key_is_given_no_model_that_it_may_not_call(provider: FakeProvider, tmp_path: Path) -> None:
    """A fallback is no way round what a key may call; and the refusal does not tell it the name."""
    with shop(provider, f"sqlite:///{tmp_path}/budgets.db", budgets=(house(fallback=(MODEL, BESIDE)),)) as gateway:
        here = Shop(gateway, provider)
        status, said, _ = here.ask("openai", key=gateway.key(grant=Grant(models=("gpt-4o",))))
        assert (status, here.sent()) == (402, [])
        assert MODEL not in said["error"]["message"]
        assert here.ask("openai", key=gateway.key(grant=Grant(models=("gpt-4o", "other-*"))))[0] == 200
        assert here.sent() == [BESIDE]


def test_a_key_a_team_and_a_model_may_name_one(provider: FakeProvider, tmp_path: Path) -> None:
    """Each limit says itself what is asked when it is full; a model's table says it for every budget that does not."""
    own = upstream("own", provider.root_url, prices="openai")
    models = [ModelEntry("gpt-4o", (Target(own),), over_budget=(BESIDE,))]
    with shop(provider, f"sqlite:///{tmp_path}/budgets.db", models=models) as gateway:
        here, admin = Shop(gateway, provider), gateway.key(scope="admin")
        body = {"budgets": [{"limit": ROOM}], "fallback": [MODEL]}
        assert gateway.ask("/v1/limits/team/red", body, method="PATCH", key=admin)[0] == 200
        plain = owner_limits([allowance(ROOM)])
        named = owner_limits([allowance(ROOM)], fallback=(MODEL,))
        for grant in (Grant(limits=named), Grant(team="red"), Grant(limits=plain)):
            assert here.ask("openai", key=gateway.key(grant=grant))[0] == 200
        assert here.sent() == [MODEL, MODEL, BESIDE]
        assert gateway.ask("/v1/limits/team/red", key=admin)[1]["fallback"] == [MODEL]


BOUND: dict[str, tuple[str, Any]] = {
    "an answer that a provider keeps": ("/v1/responses", {"input": "hi", "previous_response_id": "resp_1"}),
    "a conversation": ("/v1/responses", {"input": "hi", "conversation": "conv_1"}),
    "a prompt that a provider keeps": ("/v1/responses", {"prompt": {"id": "pmpt_1"}, "max_output_tokens": 9}),
    "work in the background": ("/v1/responses", {"input": "hi", "background": True}),
    "a vector": ("/v1/embeddings", {"input": "hi " * 50_000}),
}


@pytest.mark.parametrize("what", BOUND)
def test_what_one_model_began_goes_on_with_no_other(provider: FakeProvider, what: str) -> None:
    """Another provider does not have it, and a vector of another model is in another space."""
    path, body = BOUND[what]
    with shop(provider, budgets=(Budget("house", "0.0000001", fallback=BESIDE),)) as gateway:
        status, said, _ = gateway.ask(path, {"model": "gpt-4o", **body})
        assert (status, provider.requests) == (402, []), said
        assert "no other model is asked" in said["error"]["message"]


def test_a_cheaper_model_is_asked_before_the_budget_is_over(provider: FakeProvider) -> None:
    """From that part of the limit on, by the books as they stand; what was held for the dear one is given back."""
    rules = (Budget("house", "0.0400", fallback=MODEL, degrade_at=0.01),)
    with shop(provider, budgets=rules) as gateway:
        here, books = Shop(gateway, provider), Books(gateway, provider)
        headers = [here.ask("openai")[2] for _ in range(12)]
        fell = [each["x-budgetguard-fallback"] is not None for each in headers]
        assert not fell[0]
        assert fell[-1]
        assert fell == sorted(fell)
        assert here.sent() == [MODEL if each else "gpt-4o" for each in fell]
        booked = books.booked()
        assert booked == books.billed()
        dear = sum(cost for cost, other in zip(booked, fell, strict=True) if not other)
        assert dear >= 400_000 > dear - booked[0], "it began with the first call that found the part spent"


def test_a_budget_that_is_nearly_full_has_room_where_no_other_answers(provider: FakeProvider) -> None:
    """What is cheaper is asked first, and not at any price: what there is room for is not refused."""
    rules = (Budget("house", 1, fallback="nobodys", degrade_at=0.000001),)
    with shop(provider, budgets=rules) as gateway:
        here = Shop(gateway, provider)
        answers = [here.ask("openai") for _ in range(3)]
        assert [each[0] for each in answers] == [200, 200, 200]
        assert here.sent() == ["gpt-4o"] * 3
        assert answers[-1][2]["x-budgetguard-fallback"] is None


def test_an_error_of_the_fallback_is_the_clients_to_see(provider: FakeProvider) -> None:
    """Upstreams that fail are the route's affair: no budget sends a call on because of them."""
    with shop(provider, budgets=(house(fallback=(MODEL, BESIDE)),)) as gateway:
        provider.fail_next(status=400)
        status, said, headers = Shop(gateway, provider).ask("openai")
        assert status == 400, said
        assert headers["x-budgetguard-fallback"] == f"gpt-4o -> {MODEL}"
        assert settled(gateway) == []


def test_nobody_is_refused_who_fell_back_a_thousand_times_over(provider: FakeProvider) -> None:
    """The limit is as hard as before: what the cheap model spends counts, and in the end it is refused, too."""
    with shop(provider, budgets=(Budget("house", "0.00015", fallback=MODEL),)) as gateway:
        here, books = Shop(gateway, provider), Books(gateway, provider)
        statuses = [here.ask("openai")[0] for _ in range(40)]
        assert statuses == sorted(statuses)
        assert {200, 402} == set(statuses)
        assert sum(books.booked()) == sum(books.billed()) <= 150_000


def test_a_stated_cap_above_what_the_other_can_write_is_lowered_to_it(provider: FakeProvider) -> None:
    """A provider refuses a cap beyond its model's most, and the fallback would fail where it was to help."""
    own = upstream("own", provider.root_url, prices="openai")
    entries = [ModelEntry(name, (Target(own),)) for name in ("gpt-4o", "tight")]
    known = configured(own, models=entries, prices=prices(MORE), wait_s=0.05, budgets=(house(fallback="tight"),))
    with ServedGateway(known) as gateway:
        here = Shop(gateway, provider)
        assert here.ask("openai", logit_bias={"1": 1})[0] == 200
        sent = provider.requests[-1].body
        assert (sent["model"], sent["max_tokens"], sent["logit_bias"]) == ("tight", 50, {"1": 1})


def test_the_test_sees_it_when_a_budgets_word_is_not_heard(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: with nothing named after a refusal, the call is refused as it was before."""
    monkeypatch.setattr(life, "standing_by", lambda *_args, **_more: None)
    with shop(provider, budgets=(house(fallback=MODEL),)) as gateway:
        status, said, _ = Shop(gateway, provider).ask("openai")
        assert (status, provider.requests) == (402, []), said
