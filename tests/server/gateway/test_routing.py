"""Which upstream is asked next, by hand: pauses, probes, strategies and fallbacks, each row of their table."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from budgetguard.server.gateway.config.model import Route, Target, Upstream
from budgetguard.server.gateway.routing.health import MOST_STATED_S
from budgetguard.server.gateway.routing.hints import retry_after_s
from budgetguard.server.gateway.routing.outcomes import Outcome, goes_on, outcome_of
from budgetguard.server.gateway.routing.router import MOST_MODELS, Router
from tests.support.routing import Ticking, called, first, route, targets

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)


@pytest.fixture
def clock() -> Ticking:
    return Ticking()


@pytest.fixture
def router(clock: Ticking) -> Router:
    """Never explores by chance."""
    return Router(clock, random=lambda: 0.999)


@pytest.mark.parametrize(
    ("statuses", "outcome", "next_one"),
    [
        ((200, 201, 204), "answered", False),
        ((400, 409, 413, 415, 422), "callers_fault", False),
        ((429, 498, 503, 529), "throttled", True),
        ((408, 500, 502, 504, 520), "broken", True),
        ((301, 307, 401, 402, 403, 404, 405, 407, 410), "our_fault", True),
    ],
)
def test_a_status_says_who_is_to_blame(statuses: tuple[int, ...], outcome: Outcome, next_one: bool) -> None:
    """A request that is wrong is wrong everywhere: it is not sent to three upstreams. All else another one may mend."""
    assert {outcome_of(status) for status in statuses} == {outcome}
    assert goes_on(outcome, retry_unknown=True) is next_one


def test_what_may_have_been_answered_is_sent_again_only_where_the_operator_says_so() -> None:
    """It may be paid already, and would be paid twice; what no upstream has seen costs nothing."""
    assert not goes_on("unknown", retry_unknown=False)
    assert goes_on("unknown", retry_unknown=True)
    assert goes_on("not_sent", retry_unknown=False)
    assert not goes_on("left", retry_unknown=True)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"retry-after": "20"}, 20),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "Sun, 29 Nov 2026 12:00:42 GMT"}, 42),
        ({"retry-after": "Sun, 29 Nov 2026 11:00:00 GMT"}, 0),
        ({"retry-after": "Sun, 29 Nov 2026 12:00:42 -0000"}, 42),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "1"}, 1),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Sun, 99 Nov 2026 12:00:42 GMT"}, None),
        ({"retry-after": ""}, None),
    ],
)
def test_a_pause_is_read_in_seconds_or_as_a_date(headers: dict[str, str], wait_s: float | None) -> None:
    """Whoever sends nonsense states nothing, and breaks nothing."""
    assert retry_after_s(headers, NOW) == wait_s


def test_who_fails_is_left_alone_for_longer_each_time_and_probed_by_one(router: Router, clock: Ticking) -> None:
    """1, 2, 4 seconds and so on up to 60; a success ends it, and the next failure begins at 1 again."""
    ab = route("a", "b")
    for pause_s in (1, 2, 4, 8, 16, 32, 60, 60):
        assert called(router, ab, {"a": "broken"}) == ["a", "b"]
        assert called(router, ab) == ["b"]
        clock.go(pause_s - 0.01)
        assert called(router, ab) == ["b"]
        clock.go(0.01)
    assert called(router, ab) == ["a"]
    called(router, ab, {"a": "not_sent"})
    clock.go(1)
    assert called(router, ab) == ["a"]


@pytest.mark.parametrize("outcome", ["broken", "throttled"])
def test_one_request_finds_out_whether_it_is_back(outcome: Outcome, router: Router, clock: Ticking) -> None:
    """A hundred that wait for it would all fail, or bring it down again: the others go elsewhere meanwhile."""
    ab = route("a", "b")
    called(router, ab, {"a": outcome})
    clock.go(1)
    probe = router.began(first(router, ab))
    assert [called(router, ab) for _ in range(3)] == [["b"]] * 3
    probe.first_byte()
    assert called(router, ab) == ["a"]
    probe.ended("answered")


@pytest.mark.parametrize("outcome", ["left", "callers_fault"])
def test_a_probe_that_tells_nothing_lets_the_next_one_try(outcome: Outcome, router: Router, clock: Ticking) -> None:
    """A client that goes away must not keep an upstream out."""
    ab = route("a", "b")
    called(router, ab, {"a": "throttled"})
    clock.go(1)
    assert called(router, ab, {"a": outcome}) == ["a"]
    assert called(router, ab) == ["a"]


def test_a_probe_that_is_never_sent_or_never_ends_is_not_waited_for(router: Router, clock: Ticking) -> None:
    """The call that was given it may have been refused by a budget first; or the upstream hangs."""
    ab = route("a", "b")
    called(router, ab, {"a": "broken"})
    clock.go(1)
    assert first(router, ab).upstream.name == "a"
    assert first(router, ab).upstream.name == "b"
    clock.go(5)
    router.began(first(router, ab))
    clock.go(59)
    assert called(router, ab) == ["b"]
    clock.go(1)
    assert called(router, ab) == ["a"]


def test_a_request_that_is_tried_all_the_same_is_no_probe(router: Router, clock: Ticking) -> None:
    """If it hangs, the upstream is still asked when its pause is over."""
    called(router, route("a"), {"a": "broken"})
    router.began(first(router, route("a")))
    clock.go(1)
    assert called(router, route("a", "b")) == ["a"]


def test_a_burst_that_fails_together_is_one_failure(router: Router, clock: Ticking) -> None:
    """32 open requests would make it a minute; nor do those that still succeed say that it is back."""
    ab = route("a", "b")
    sent = [router.began(target) for target in targets("a", model="m") * 32]
    for each in sent[:30]:
        each.ended("broken")
    for each in sent[30:]:
        each.ended("answered")
    assert called(router, ab) == ["b"]
    clock.go(1)
    assert called(router, ab) == ["a"]
    called(router, ab, {"a": "broken"})
    clock.go(1)
    assert called(router, ab) == ["a"]


def test_a_longer_pause_that_is_stated_later_counts_and_a_shorter_one_does_not(router: Router, clock: Ticking) -> None:
    """Else who said "a minute" is asked again after the second that was said before."""
    ab = route("a", "b")
    early, late, last = (router.began(target) for target in targets("a", model="m") * 3)
    early.ended("throttled", retry_after_s=1)
    late.ended("throttled", retry_after_s=60)
    last.ended("throttled", retry_after_s=5)
    clock.go(59)
    assert called(router, ab) == ["b"]
    assert called(router, route("a")) == ["cooling 1"]
    clock.go(1)
    assert called(router, ab) == ["a"]


def test_failures_while_it_cools_down_do_not_keep_it_out_for_ever(router: Router, clock: Ticking) -> None:
    """What was sent before the pause began, and fails in it, tells nothing new."""
    ab = route("a", "b")
    late = [router.began(target) for target in targets("a", model="m") * 5]
    called(router, ab, {"a": "broken"})
    for each in late:
        clock.go(0.19)
        each.ended("broken")
    clock.go(0.05)
    assert called(router, ab) == ["a"]


@pytest.mark.parametrize("outcome", ["throttled", "our_fault"])
def test_a_limit_or_a_missing_name_of_one_model_leaves_the_others(outcome: Outcome, router: Router) -> None:
    """Providers limit by model; a misspelt one must not take the provider away from everybody."""
    called(router, route("a", "b", model="gone"), {"a": outcome})
    assert called(router, route("a", "b", model="gone")) == ["b"]
    assert called(router, route("a", "b", model="there")) == ["a"]


@pytest.mark.parametrize("outcome", ["not_sent", "broken", "unknown"])
def test_an_upstream_that_is_down_is_down_for_all_models(outcome: Outcome, router: Router) -> None:
    """The next model's callers need not find out for themselves."""
    called(router, route("a", "b", model="one"), {"a": outcome})
    assert called(router, route("a", "b", model="other")) == ["b"]


@pytest.mark.parametrize("outcome", ["answered", "callers_fault", "left"])
def test_who_answers_or_is_not_waited_for_does_not_cool_down(outcome: Outcome, router: Router) -> None:
    """Else one client with malformed requests takes an upstream away from all others."""
    for _ in range(20):
        assert called(router, route("a", "b"), {"a": outcome}) == ["a"]


def test_our_own_fault_is_tried_again_after_a_minute(router: Router, clock: Ticking) -> None:
    """A key that is not taken is not mended in a second; and each try is a line in somebody's log."""
    ab = route("a", "b")
    called(router, ab, {"a": "our_fault"})
    clock.go(59.9)
    assert called(router, ab) == ["b"]
    clock.go(0.1)
    assert called(router, ab) == ["a"]


def test_the_only_upstream_is_tried_while_it_cools_down(router: Router) -> None:
    """A gateway must not make an outage longer than it is; and what it answers then counts."""
    alone = route("a")
    for _ in range(10):
        assert called(router, alone, {"a": "broken"}) == ["a"]
    assert called(router, alone) == ["a"]
    assert called(router, route("a", "b")) == ["a"]


def test_where_all_cool_down_the_one_that_is_back_first_is_tried_once(router: Router, clock: Ticking) -> None:
    """One more request for a call, not as many as there are: they are down."""
    ab = route("a", "b")
    called(router, ab, {"a": "our_fault", "b": "broken"})
    assert called(router, ab, {"b": "broken"}) == ["b"]
    assert called(router, ab) == ["b"]
    assert called(router, ab) == ["b"]


def test_a_call_whose_first_upstream_fails_tries_one_that_cools_down(router: Router) -> None:
    """It has attempts left, and nothing better to do with them."""
    ab = route("a", "b")
    called(router, ab, {"a": "broken"})
    assert called(router, ab, {"b": "broken"}) == ["b", "a"]


def test_who_asked_for_a_pause_gets_it_and_the_caller_is_told(router: Router, clock: Ticking) -> None:
    """A provider counts requests that come too early, some against the limit. The caller knows best how to wait."""
    alone = route("a")
    called(router, alone, {"a": "throttled"}, stated_s=20)
    clock.go(5)
    assert called(router, alone) == ["cooling 15"]
    clock.go(15)
    assert called(router, alone) == ["a"]


def test_the_shortest_of_several_stated_pauses_is_told(router: Router, clock: Ticking) -> None:
    """Then somebody is back."""
    called(router, route("a"), {"a": "throttled"}, stated_s=30)
    called(router, route("b"), {"b": "throttled"}, stated_s=10)
    assert called(router, route("a", "b")) == ["cooling 10"]
    assert called(router, route("a", "b", "c")) == ["c"]
    called(router, route("c"), {"c": "broken"})
    assert called(router, route("a", "b", "c")) == ["c"]


def test_nobody_is_left_alone_for_longer_than_ten_minutes(router: Router, clock: Ticking) -> None:
    """A header that says a day, by mistake or in earnest, would outlast the reason for it."""
    called(router, route("a"), {"a": "throttled"}, stated_s=86_400)
    clock.go(MOST_STATED_S)
    assert called(router, route("a")) == ["a"]


def test_a_pause_that_is_stated_by_a_request_from_before_counts(router: Router, clock: Ticking) -> None:
    """It is the newest that is known of the limit, though a probe went well meanwhile."""
    old = router.began(targets("a", model="m")[0])
    called(router, route("a"), {"a": "throttled"})
    called(router, route("a"))
    old.ended("throttled", retry_after_s=7)
    assert called(router, route("a")) == ["cooling 7"]


def test_fallbacks_are_asked_after_all_candidates_and_before_one_that_cools_down(router: Router) -> None:
    """Another model that answers is better than the right one that does not; all within one number of attempts."""
    both = replace(route("a", "b"), fallbacks=(route("c", "a", model="small"), route("d", model="tiny")), attempts=9)
    down: dict[str, Outcome] = {"a": "throttled", "b": "broken", "c": "broken", "d": "broken"}
    assert called(router, both, down) == ["a", "b", "c", "a", "d"]
    assert called(Router(), replace(both, attempts=3), down) == ["a", "b", "c"]
    assert called(router, route("b", "d")) == ["b"]
    assert called(router, both) == ["b"]


def test_a_target_that_stands_twice_is_asked_once(router: Router) -> None:
    """As a candidate and as a fallback of itself."""
    twice = Route("m", targets("a", "a", "b"), fallbacks=(route("b", "a", "c"),), attempts=9)
    assert called(router, twice, dict.fromkeys("abc", "our_fault")) == ["a", "b", "c"]


def test_each_target_says_its_model(router: Router) -> None:
    """A fallback's is another one than the call asked for: whoever sends it must not have to guess."""
    asked = replace(route("a", model="big"), fallbacks=(Route("small", targets("b", model="small-v2")), route("c")))
    given = [target for target in router.targets(asked) if isinstance(target, Target)]
    assert [(each.upstream.name, each.model) for each in given] == [("a", "big"), ("b", "small-v2"), ("c", "m")]


def test_weights_are_exact_and_smooth(router: Router) -> None:
    """Of each round of seven, five go to the first, and not five in a row: limits are by the second, too."""
    weighted = route("a", "b", "c", strategy="weighted", weights=(5, 1, 1))
    names = [called(router, weighted)[0] for _ in range(70)]
    assert "".join(names[:7]) == "aabacaa"
    assert Counter(names) == {"a": 50, "b": 10, "c": 10}


def test_weights_hold_while_one_is_away_and_after_it(router: Router, clock: Ticking) -> None:
    """Who comes back is not made to catch up on what it missed."""
    weighted = route("a", "b", "c", strategy="weighted", weights=(2, 1, 1))
    called(router, weighted)
    for target in targets("a", model="m"):
        router.began(target).ended("not_sent")
    assert Counter(called(router, weighted)[0] for _ in range(40)) == {"b": 20, "c": 20}
    clock.go(1)
    assert Counter(called(router, weighted)[0] for _ in range(40)) == {"a": 20, "b": 10, "c": 10}


def test_a_weight_of_nothing_is_asked_when_all_others_are_away(router: Router) -> None:
    """That is how an operator takes one out, and keeps it for the worst."""
    weighted = route("a", "b", strategy="weighted", weights=(1, 0))
    assert {called(router, weighted)[0] for _ in range(5)} == {"a"}
    assert called(router, weighted, {"a": "broken"}) == ["a", "b"]
    assert called(router, weighted) == ["b"]
    three = route("c", "d", "spare", strategy="weighted", weights=(1, 3, 0))
    assert [called(router, three)[0] for _ in range(2)] == ["d", "c"]
    called(router, route("d"), {"d": "not_sent"})
    assert called(router, three) == ["c"]


def test_models_of_one_pattern_take_turns_together(router: Router) -> None:
    """Each alone would begin with the heaviest, and a thousand that are asked once would all go there."""
    names = [
        called(router, route("a", "b", strategy="weighted", weights=(3, 1), model=f"m{number}"))[0]
        for number in range(40)
    ]
    assert Counter(names) == {"a": 30, "b": 10}


def test_the_least_busy_is_asked_by_its_weight_and_streams_count_to_their_end(router: Router) -> None:
    """A stream whose first byte is there is still work; twice the weight has twice the requests."""
    busy = route("a", "b", strategy="least_busy", weights=(2, 1))
    opened = []
    for _ in range(6):
        opened.append((target := first(router, busy), router.began(target)))
        opened[-1][1].first_byte()
    assert Counter(target.upstream.name for target, _ in opened) == {"a": 4, "b": 2}
    for target, sending in opened:
        if target.upstream.name == "b":
            sending.ended("left")
            sending.ended("left")
    assert [row.open for row in router.standing() if row.model is None] == [4, 0]
    assert first(router, busy).upstream.name == "b"


def test_equals_take_turns(router: Router) -> None:
    """One call after the other finds everybody idle: all of them would go to the first."""
    idle = route("a", "b", "c", strategy="least_busy")
    assert Counter(called(router, idle)[0] for _ in range(9)) == {"a": 3, "b": 3, "c": 3}


def answered(router: Router, clock: Ticking, name: str, took_s: float) -> None:
    sending = router.began(targets(name, model="m")[0])
    clock.go(took_s)
    sending.first_byte()
    sending.ended("answered")


def test_the_fastest_first_byte_wins_once_all_are_known(router: Router, clock: Ticking) -> None:
    """Who is not known is asked by one call at a time: a slow start costs one call, not fifty."""
    fast = route("a", "b", strategy="fastest")
    asked = [first(router, fast)]
    waiting = [router.began(asked[0])]
    asked.append(first(router, fast))
    waiting.append(router.began(asked[1]))
    assert [target.upstream.name for target in asked] == ["a", "b"]
    clock.go(0.1)
    waiting[1].first_byte()
    assert first(router, fast).upstream.name == "b"
    clock.go(0.4)
    waiting[0].first_byte()
    assert first(router, fast).upstream.name == "b"
    for _ in range(5):
        answered(router, clock, "b", 2)
    assert first(router, fast).upstream.name == "a"


def test_who_fails_quickly_is_not_fast(router: Router, clock: Ticking) -> None:
    """An error takes a millisecond; it would win against every answer."""
    answered(router, clock, "a", 1)
    answered(router, clock, "b", 2)
    for outcome in ("callers_fault", "throttled", "broken"):
        router.began(targets("b", model="m")[0]).ended(outcome)
    clock.go(10)
    assert first(router, route("a", "b", strategy="fastest")).upstream.name == "a"


def test_who_hangs_is_not_fast_any_more(router: Router, clock: Ticking) -> None:
    """It sends no measurement that says so, until a time-out ten minutes later."""
    answered(router, clock, "a", 0.1)
    answered(router, clock, "b", 0.3)
    hung = router.began(targets("a", model="m")[0])
    fast = route("a", "b", strategy="fastest")
    clock.go(1)
    assert first(router, fast).upstream.name == "a"
    clock.go(1)
    assert first(router, fast).upstream.name == "b"
    hung.ended("left")
    assert first(router, fast).upstream.name == "a"


def test_a_long_stream_is_not_slow(router: Router, clock: Ticking) -> None:
    """What counts is when it began."""
    for name, took_s in (("a", 0.1), ("b", 0.3)):
        answered(router, clock, name, took_s)
    stream = router.began(targets("a", model="m")[0])
    stream.first_byte()
    clock.go(20)
    assert first(router, route("a", "b", strategy="fastest")).upstream.name == "a"


def test_who_was_not_seen_for_long_is_asked_now_and_then(clock: Ticking) -> None:
    """One slow minute is not for ever; but those who explore are one call in twenty, and one at a time."""
    chance = iter([0.9, 0.01, 0.01, 0.9])
    router = Router(clock, random=lambda: next(chance))
    fast = route("a", "b", strategy="fastest")
    answered(router, clock, "b", 9)
    clock.go(30)
    answered(router, clock, "a", 1)
    assert first(router, fast).upstream.name == "a"
    exploring = router.began(first(router, fast))
    assert first(router, fast).upstream.name == "a"
    clock.go(0.2)
    exploring.first_byte()
    assert first(router, fast).upstream.name == "b"


def test_the_cheapest_is_asked_first_and_the_next_one_after_it(router: Router) -> None:
    """Who has no price comes last, not first: unknown is not free. A price of nothing is one."""
    prices = {"a": None, "b": 30, "c": 0, "d": 30}
    cheap = replace(route("a", "b", "c", "d", strategy="cheapest"), attempts=4)
    given = router.targets(cheap, lambda target: prices[target.upstream.name])
    assert [each.upstream.name for each in given if isinstance(each, Target)] == ["c", "b", "d", "a"]


def test_a_new_configuration_keeps_the_health_of_what_stays(router: Router) -> None:
    """A reload must not send everybody to an upstream that is down; but a key that was mended is used at once."""
    old, mended = Upstream("old"), Upstream("mended", headers={"openai": (("authorization", "Bearer one"),)})
    three = Route("m", (Target(old), Target(mended), Target(Upstream("gone")), Target(Upstream("up"))), attempts=9)
    called(router, three, {"old": "broken", "mended": "our_fault", "gone": "broken"})
    under_way = router.began(Target(mended, "m"))
    mended = replace(mended, headers={"openai": (("authorization", "Bearer two"),)})
    router.keep([old, mended, Upstream("up")])

    assert called(router, replace(three, targets=(Target(old), Target(mended)))) == ["mended"]
    under_way.ended("answered")
    assert {row.upstream for row in router.standing()} == {"old", "mended", "up"}


def test_models_that_callers_invent_are_forgotten(router: Router) -> None:
    """A pattern matches any number of names: they must not fill the memory, or take the upstream away."""
    for number in range(3 * MOST_MODELS):
        called(router, route("a", model=f"made-up-{number}"), {"a": "our_fault"})
    rows = router.standing()
    assert len(rows) <= MOST_MODELS + 1
    assert called(router, route("a", "b", model="real")) == ["a"]


def test_health_is_shown_by_upstream_and_model(router: Router, clock: Ticking) -> None:
    """Who is left alone, and until when, is not to be guessed from logs. Seconds count down."""
    answered(router, clock, "a", 0.25)
    called(router, route("a"), {"a": "throttled"}, stated_s=20)
    router.began(targets("b", model="m")[0])
    called(router, route("b"), {"b": "broken"})
    clock.go(0.5)
    assert [tuple(row) for row in router.standing()] == [
        ("a", None, 0, 0, 0, None),
        ("a", "m", 0, 1, 19.5, 0.25),
        ("b", None, 1, 1, 0.5, None),
        ("b", "m", 1, 0, 0, None),
    ]


def test_no_target_is_no_call(router: Router) -> None:
    """Whoever asks sees that there was nobody, and is told of no pause."""
    assert list(router.targets(Route("m", ()))) == []
