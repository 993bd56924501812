"""
A batch is held at what its file can cost when it is made, and settled once at what it did cost.

Over real sockets, with the real SDK; what a batch truly cost is what the provider put on its own bill.
"""

from __future__ import annotations

import asyncio
import io
import json
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

import budgetguard
from budgetguard import BudgetExceededError, BudgetManager, UnpricedModelError
from budgetguard.adapters import openai as adapter
from budgetguard.adapters.openai.batches import batch as read_batch
from budgetguard.calls import UNKNOWN_HOST, Answer
from budgetguard.guards.background.batches import BatchCharge, BatchFile, FileReader, Part
from budgetguard.process.state import PROCESS
from tests.support.batching import HELD, MODEL, SPENT, THREE, ask, begin, lines, manager, upload
from tests.support.sdk_shapes import run, wait

PRICE = {MODEL: ("0.15", "0.60"), "gpt-4o": ("2.5", "10")}

HOUR_MS = 3_600_000


pytestmark = pytest.mark.provider(prices=PRICE, tokens=20)


@pytest.fixture
def made(url: str) -> Iterator[BudgetManager]:
    ours = manager(url)
    with ours, budgetguard.budget(user="ann"):
        yield ours


def held(made: BudgetManager) -> int:
    return sum(hold.amount for hold in made.store.holds())


def booked(made: BudgetManager) -> list[Any]:
    assert made.store.check() == []
    return list(made.store.entries())


def test_a_batch_is_held_at_half_price_and_settled_by_the_look_that_shows_its_usage(provider, go, made):
    """Until then its hold stands; afterwards a look changes nothing."""
    provider.plan = provider.plan.__class__(tokens=20, polls=1)

    async def call(client: Any) -> None:
        name = await begin(client)
        assert (held(made), booked(made)) == (HELD, [])
        await wait(client.batches.retrieve(name))
        assert (held(made), booked(made)) == (HELD, [])
        for _ in range(3):
            await wait(client.batches.retrieve(name))

    go(call)

    [entry], [charged] = booked(made), provider.ledger
    assert (entry.cost, entry.model, entry.flags) == (SPENT, MODEL, frozenset())
    assert (charged.amount, entry.tags["user"]) == (SPENT, "ann")
    assert (entry.usage["input_tokens"], entry.usage["output_tokens"]) == (24, 60)
    assert made.store.holds() == []


def test_its_hold_lasts_as_long_as_it_may_run_and_is_charged_if_nobody_looks(provider, go, made):
    """A day, and one more in which somebody may look."""

    async def call(client: Any) -> None:
        await begin(client)

    go(call)

    [hold] = made.store.holds()
    assert hold.expires_ms - hold.placed_ms == 48 * HOUR_MS


def test_a_batch_without_room_is_refused_before_anything_is_sent(provider, go):
    """The file is there, and costs nothing."""
    ours = manager(limit="0.00004")

    async def call(client: Any) -> None:
        with ours, budgetguard.budget(user="ann"), pytest.raises(BudgetExceededError) as refused:
            await begin(client)
        assert refused.value.projected == HELD / 1e9

    go(call)

    assert [request.endpoint for request in provider.requests] == ["/files"]
    assert (ours.store.holds(), booked(ours)) == ([], [])


def test_the_limits_of_a_process_and_of_a_scope_count_it_too(provider, go):
    """A batch is a call like others."""

    async def call(client: Any) -> None:
        budgetguard.patch()
        with budgetguard.budget(limit="0.00004"), pytest.raises(BudgetExceededError):
            await begin(client)
        budgetguard.max_budget = 1
        with budgetguard.budget(limit="0.0001") as scope:
            name = await begin(client)
            with pytest.raises(BudgetExceededError):
                await begin(client, lines(*[ask(number) for number in range(4)]))
            await wait(client.batches.retrieve(name))
            assert scope.spent == SPENT / 1e9

    go(call)

    assert PROCESS.spent == SPENT


def test_a_request_without_a_cap_counts_with_the_most_of_its_model_and_the_refusal_says_so(provider, go):
    """Nothing can be added to a file that was uploaded."""
    ours = manager(limit="0.001")

    async def call(client: Any) -> None:
        with ours, budgetguard.budget(user="ann"), pytest.raises(BudgetExceededError) as refused:
            await begin(client, lines(ask(1, max_completion_tokens=None), ask(2)))
        assert refused.value.projected == (2 * 15 * 75 + 50 * 300 + 16_384 * 300) / 1e9
        [note] = refused.value.__notes__
        assert note.startswith("1 of the 2 requests in the file state no output cap")

    go(call)


@pytest.mark.parametrize("way", ["raw", "list", "cancel", "raw list"])
def test_every_way_to_look_at_a_batch_settles_it(way, provider, go, made):
    """Raw, in a list of all, and by cancelling what has ended in the meantime."""

    async def call(client: Any) -> None:
        name = await begin(client)
        if way == "raw":
            await wait(client.batches.with_raw_response.retrieve(name))
        elif way == "list":
            await wait(client.batches.list())
        elif way == "raw list":
            await wait(client.batches.with_raw_response.list())
        else:
            await wait(client.batches.cancel(name))
            await wait(client.batches.retrieve(name))

    go(call)

    assert made.store.holds() == []
    assert [entry.cost for entry in booked(made)] == [0 if way == "cancel" else SPENT]
    assert provider.billed == sum(entry.cost for entry in booked(made)) / 1e9


def test_another_process_makes_the_batch_and_a_third_settles_it(provider, go, made):
    """One uploads, one begins, one looks: they share the store, not the memory."""
    second, third = manager(store=made.store), manager(store=made.store)

    async def call(client: Any) -> None:
        file = await upload(client)
        with second, budgetguard.budget(user="ann"):
            begun = await wait(
                client.batches.create(
                    input_file_id=file, endpoint="/v1/chat/completions", completion_window="24h", metadata={"a": "b"}
                )
            )
        assert held(made) == HELD
        with third:
            for _ in range(2):
                await wait(client.batches.retrieve(begun.id))
        with second:
            await wait(client.batches.retrieve(begun.id))

    go(call)

    [entry] = booked(made)
    assert (entry.cost, entry.tags["user"], entry.flags) == (SPENT, "ann", frozenset())
    assert made.store.holds() == []


def test_no_prompt_is_kept(provider, go, made):
    """Only sums for each model are."""

    async def call(client: Any) -> None:
        await begin(client, lines(ask(1, messages=[{"role": "user", "content": "a secret"}])))

    go(call)

    texts = [terms.body for terms in made.store.all_terms() if not terms.key.startswith("users/")]
    assert len(texts) == 2
    assert not any("secret" in text for text in texts)


class Awkward(io.BytesIO):
    """A file that was read in part."""

    name = "mine.jsonl"


@pytest.mark.parametrize("shape", ["bytes", "path", "tuple", "tuple of a path", "file", "open file"])
def test_a_file_may_be_whatever_the_sdk_takes_and_stays_as_it_was(shape, provider, go, made, tmp_path):
    """Its place is where it was, as without a budget, where the SDK reads it to the end."""
    path = tmp_path / "batch.jsonl"
    path.write_bytes(THREE)
    places: list[int] = []

    class Tap(Awkward):
        def seek(self, *place: int) -> int:
            places.append(self.tell())
            return super().seek(*place)

    tap = Tap(THREE)
    tap.read(7)

    async def call(client: Any) -> None:
        with open(path, "rb") as opened:
            content = {
                "bytes": THREE,
                "path": path,
                "tuple": ("batch.jsonl", THREE, "application/jsonl"),
                "tuple of a path": ("batch.jsonl", path),
                "file": tap,
                "open file": opened,
            }[shape]
            await begin(client, content)

    go(call)

    assert held(made) == HELD
    [sent, *_] = provider.requests
    assert sent.body["file"] == THREE
    if shape == "file":
        assert places[0] == 7  # read from its start by us
        assert places[1] == len(THREE)  # and put back
        assert places[2] == 7  # before the SDK asked for anything


def test_a_file_that_can_be_read_only_once_is_left_to_the_sdk(provider, go, made, caplog):
    """Nobody saw it then: its batch is gated."""

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    async def call(client: Any) -> None:
        await begin(client, Pipe(THREE))

    go(call)

    assert provider.requests[0].body["file"] == THREE
    assert made.store.holds() == []
    assert "was not read here as it was uploaded" in caplog.text


def test_a_batch_of_a_file_that_nobody_saw_is_gated(provider, go, caplog):
    """Refused where there is no room at all; else it passes, and is warned of once."""
    ours = manager(limit="0.000001")

    async def call(client: Any) -> None:
        file = await upload(client)
        with ours, budgetguard.budget(user="ann"):
            asked = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
            for _ in range(2):
                name = (await wait(client.batches.create(**asked))).id
                await wait(client.batches.retrieve(name))
            ours.update_cost("ann", {"model": MODEL, "usage": {"prompt_tokens": 10_000, "completion_tokens": 0}})
            with pytest.raises(BudgetExceededError):
                await wait(client.batches.create(**asked))

    go(call)

    assert caplog.text.count("was not read here as it was uploaded") == 1
    assert len(booked(ours)) == 1


def test_a_batch_that_could_not_be_made_holds_nothing(provider, go, made):
    """An error status is not billed."""

    async def call(client: Any) -> None:
        file = await upload(client)
        provider.fail_next(429)
        with pytest.raises(openai.RateLimitError):
            await wait(
                client.batches.create(input_file_id=file, endpoint="/v1/chat/completions", completion_window="24h")
            )

    go(call)

    assert (made.store.holds(), booked(made)) == ([], [])


def test_a_batch_that_failed_its_validation_is_free(provider, go, made):
    """Nothing of it was run."""

    async def call(client: Any) -> None:
        name = await begin(client, THREE + b"no json\n")
        assert held(made) == HELD
        assert (await wait(client.batches.retrieve(name))).status == "failed"

    go(call)

    [entry] = booked(made)
    assert (entry.cost, entry.flags) == (0, frozenset())
    assert made.store.holds() == []


def test_a_batch_that_does_not_say_its_usage_costs_what_was_held(provider, go, made):
    """Unknown is not free."""
    provider.plan = provider.plan.__class__(tokens=20, omit_usage=True)

    async def call(client: Any) -> None:
        await wait(client.batches.retrieve(await begin(client)))

    go(call)

    [entry] = booked(made)
    assert (entry.cost, entry.flags) == (HELD, {"estimated"})


def test_requests_of_several_models_are_summed_each_at_its_price_and_settled_at_the_dearest(provider, go, made):
    """The usage is told for all of them at once; what was held is the most that it can be."""
    content = lines(ask(1), ask(2, model="gpt-4o"))

    async def call(client: Any) -> None:
        name = await begin(client, content)
        assert held(made) == 15 * 75 + 50 * 300 + 15 * 1250 + 50 * 5000
        await wait(client.batches.retrieve(name))

    go(call)

    [entry], [charged] = booked(made), provider.ledger
    assert (entry.cost, entry.flags) == (16 * 1250 + 40 * 5000, {"estimated"})
    assert entry.cost >= charged.amount == 8 * 75 + 20 * 300 + 8 * 1250 + 20 * 5000


RESPONSE = {"messages": None, "max_completion_tokens": None, "input": "hi there", "max_output_tokens": 20}
EMBEDDING = {"messages": None, "max_completion_tokens": None, "input": "hi there"}


@pytest.mark.parametrize(
    ("path", "body", "most"),
    [
        ("/v1/responses", RESPONSE, (8 + 16) * 75 + 20 * 300),
        ("/v1/embeddings", EMBEDDING, 8 * 75),
        ("/v1/moderations", EMBEDDING, 8 * 75),
    ],
)
def test_each_line_is_read_as_its_own_operation(path, body, most, provider, go, made):
    """Each by the reader of its own requests; moderations are free at OpenAI's own hosts only."""
    provider.plan = provider.plan.__class__(tokens=20, omit_usage=True)

    async def call(client: Any) -> None:
        name = await begin(client, lines(ask(1, path, **body)), endpoint=path)
        assert held(made) == most
        await wait(client.batches.retrieve(name))

    go(call)

    assert [entry.cost for entry in booked(made)] == [most]


def test_an_unknown_model_is_refused_where_a_budget_has_to_know(provider, go, made):
    """With the lines to add, as for any call."""

    async def call(client: Any) -> None:
        with pytest.raises(UnpricedModelError, match="my-own-model"):
            await begin(client, lines(ask(1), ask(2, model="my-own-model")))

    go(call)

    assert [request.endpoint for request in provider.requests] == ["/files"]


def test_a_file_with_an_operation_that_nobody_can_price_counts_as_unseen(provider, go, made, caplog):
    """A sum that lacks a part is no bound."""

    async def call(client: Any) -> None:
        await begin(client, lines(ask(1), ask(2, "/v1/realtime/sessions")))

    go(call)

    assert made.store.holds() == []
    assert "was not read here" in caplog.text


@pytest.mark.parametrize("size", [1, 100, 230, 10_000])
def test_a_file_may_be_uploaded_in_parts(size, provider, go, made):
    """Cut anywhere, and sent in any order."""
    parts = [THREE[start : start + size] for start in range(0, len(THREE), size)]

    async def call(client: Any) -> None:
        begun = await wait(
            client.uploads.create(bytes=len(THREE), filename="x", mime_type="application/jsonl", purpose="batch")
        )
        ids = [(await wait(client.uploads.parts.create(begun.id, data=data))).id for data in reversed(parts)]
        done = await wait(client.uploads.complete(begun.id, part_ids=ids[::-1]))
        asked = {"input_file_id": done.file.id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        await wait(client.batches.create(**asked))

    if size == 1:
        parts = [bytes([byte]) for byte in THREE[:20]] + [THREE[20:]]
    go(call)

    assert held(made) == HELD


def test_an_upload_for_something_else_is_not_read(provider, go, made):
    """Nor one of which a part was not seen."""

    async def call(client: Any) -> None:
        for purpose in ("fine-tune", "batch"):
            begun = await wait(
                client.uploads.create(bytes=len(THREE), filename="x", mime_type="application/jsonl", purpose=purpose)
            )
            made.guard.background.uploads.note(begun.id, "part_unseen", None)
            part = await wait(client.uploads.parts.create(begun.id, data=THREE))
            provider._batches._parts["part_unseen"] = b""
            await wait(client.uploads.complete(begun.id, part_ids=["part_unseen", part.id]))

    go(call)

    assert list(made.store.all_terms("files/")) == []


def test_files_for_something_else_are_not_read(provider, go, made):
    """They cost nothing, whatever is in them."""

    async def call(client: Any) -> None:
        await wait(client.files.create(file=THREE, purpose="fine-tune"))

    go(call)

    assert [terms.key for terms in made.store.all_terms() if terms.key.startswith("files/")] == []


def test_files_are_forgotten_when_their_provider_has_forgotten_them(provider, go, made):
    """After thirty days."""
    old = json.dumps({"at_ms": 1, "parts": {}, "uncapped": 0, "unpriced": None, "pictures": False})
    made.store.put_terms("files/file-old", old)

    async def call(client: Any) -> None:
        await upload(client)

    go(call)

    assert made.store.terms("files/file-old").body is None
    assert len(list(made.store.all_terms("files/"))) == 1


class Endless(io.RawIOBase):
    """A file of so many requests, that is nowhere as a whole."""

    def __init__(self, requests: int) -> None:
        self._left = requests
        self._line = lines(ask(1, messages=[{"role": "user", "content": "why is the sea salt? " * 100}]))
        self.size = requests * len(self._line)

    def readline(self, size: int | None = -1, /) -> bytes:
        self._left -= 1
        return self._line if self._left >= 0 else b""


def test_a_large_file_is_read_in_little_memory(made):
    """Ten megabytes here; line by line, so that it might be any size."""
    reader = FileReader(made.guard.parts, "openai", UNKNOWN_HOST)
    reader.read(Endless(1))  # the vocabulary, the price list
    file = Endless(4_500)
    tracemalloc.start()
    seen = reader.read(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert file.size > 9_000_000
    assert seen.requests == 4_501
    assert peak < 1_000_000


def test_a_file_is_not_read_on_the_event_loop(provider):
    """Other tasks go on meanwhile."""
    threads: list[int] = []

    class Tap(io.BytesIO):
        def readline(self, size: int | None = -1, /) -> bytes:
            threads.append(threading.get_ident())
            return super().readline(size)

    async def call() -> None:
        async with provider.async_client() as client:
            await upload(client, Tap(THREE))

    with manager(), budgetguard.budget(user="ann"):
        asyncio.run(call())

    assert len(threads) == 4
    assert threading.get_ident() not in threads


def test_a_file_with_a_line_that_is_too_long_or_with_too_many_models_counts_as_unseen(made, monkeypatch):
    """What is kept of it would grow with it."""
    monkeypatch.setattr("budgetguard.guards.background.batches.MOST_LINE", 400)
    reader = FileReader(made.guard.parts, "openai", UNKNOWN_HOST)
    assert reader.read(io.BytesIO(THREE)) is not None
    assert reader.read(io.BytesIO(lines(ask(1, user="x" * 400)))) is None
    reader = FileReader(made.guard.parts, "openai", UNKNOWN_HOST)
    assert reader.read(io.BytesIO(lines(*[ask(1, model=f"gpt-4o-{n}") for n in range(101)]))) is None


@pytest.mark.parametrize(
    ("said", "free", "requests"),
    [
        ({"status": "failed", "request_counts": {"total": 0, "completed": 0, "failed": 0}}, True, None),
        ({"status": "failed", "request_counts": None}, True, None),
        ({"status": "failed", "request_counts": {"total": 9, "completed": 4, "failed": 0}}, False, 4),
        ({"status": "cancelled", "request_counts": {"total": 9, "completed": 4, "failed": 1}}, False, 4),
        ({"status": "cancelled", "request_counts": {"total": 9, "completed": 0, "failed": 0}}, True, 0),
        ({"status": "cancelled", "request_counts": {"total": 0, "completed": 0, "failed": 0}}, True, 0),
        ({"status": "cancelled", "request_counts": {"total": 0}, "in_progress_at": 1}, False, None),
        ({"status": "cancelled"}, False, None),
        ({"status": "expired", "request_counts": {"total": 9, "completed": 8, "failed": 0}}, False, 8),
        ({"status": "completed", "request_counts": {"total": 9, "completed": 0, "failed": 9}}, True, 0),
        ({"status": "completed", "request_counts": {"total": 0, "completed": 0, "failed": 0}}, False, None),
        ({"status": "completed"}, False, None),
        ({"status": "in_progress", "request_counts": {"total": 9, "completed": 0, "failed": 0}}, False, 0),
    ],
)
@pytest.mark.parametrize("usage", [None, {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}])
def test_what_a_batch_says_without_a_usage(said, free, requests, usage):
    """Free is only what says that nothing was run; zeros are a placeholder."""
    answer = read_batch({"id": "batch_1", "usage": usage, **said})
    assert (answer.free, answer.requests, answer.usage) == (free, requests, None)
    assert answer.final == (said["status"] != "in_progress")


def test_a_batch_that_was_cut_short_costs_at_most_its_dearest_requests(made):
    """Which of them were answered is not said; how many is."""
    endpoint = adapter.find("POST", "/batches")
    charge = made.guard.charge(endpoint, {"input_file_id": "file-1"}, (), "openai", None)
    charge.know(BatchFile({MODEL: Part(10, 1_000, 300, 50)}))
    assert charge.cost(Answer(requests=2)) == 2 * 300
    assert charge.cost(Answer(requests=4)) == 1_000
    assert charge.cost(Answer()) == 1_000


def test_the_fees_of_hosted_tools_are_booked_as_they_were_held(made):
    """A batch's usage has tokens only: two searches at $0.01 may have been made."""
    search = {"input": "hi", "tools": [{"type": "web_search"}], "max_tool_calls": 2, "max_output_tokens": 16}
    reader = FileReader(made.guard.parts, "openai", UNKNOWN_HOST)
    file = reader.read(io.BytesIO(lines(ask(1, "/v1/responses", model="gpt-4o", messages=None, **search))))
    charge = made.guard.charge(adapter.find("POST", "/batches"), {"input_file_id": "file-1"}, (), "openai", None)
    charge.know(BatchFile.from_json(json.loads(json.dumps(file.as_json()))))

    assert file.beside == 2 * 10_000_000
    cost = charge.cost(Answer(usage={"input_tokens": 1_000, "output_tokens": 10}, requests=1))
    assert cost == 2 * 10_000_000 + 1_000 * 1_250 + 10 * 5_000
    assert charge.beside.estimated


def test_the_output_of_pictures_is_pictures(made):
    """A batch's usage does not say so."""
    reader = FileReader(made.guard.parts, "openai", UNKNOWN_HOST)
    drawn = {"model": "gpt-image-1.5", "prompt": "a cat", "messages": None, "max_completion_tokens": None}
    file = reader.read(io.BytesIO(lines(ask(1, "/v1/images/generations", **drawn))))
    charge = made.guard.charge(adapter.find("POST", "/batches"), {"input_file_id": "file-1"}, (), "openai", None)
    charge.know(file)

    tariff = made.guard.prices.tariff("openai", "gpt-image-1.5", "batch", 1_795_000_000_000)
    pictures = {"input_tokens": 10, "output_tokens": 10, "output_image_tokens": 10}
    assert charge.cost(Answer(usage={"input_tokens": 10, "output_tokens": 10}, requests=1)) == tariff.cost(pictures)


@pytest.mark.parametrize(("window", "hours"), [("24h", 48), ("7d", 8 * 24), (None, 48), ("soon", 48)])
def test_a_longer_window_is_a_longer_hold(window, hours):
    """Other hosts run a batch for up to a week."""
    call = adapter.find("POST", "/batches").request({"input_file_id": "f", "completion_window": window}, ())
    assert (call.runs_ms, call.file, call.background) == (hours * HOUR_MS, "f", True)


def test_two_that_look_at_once_settle_it_once(provider, made):
    """The hold's id makes it harmless to repeat."""
    provider_client = provider.client()
    with provider_client as client:
        name = run(begin(client), None)
        others = [manager(store=made.store) for _ in range(2)]
        shown = client.batches.retrieve(name)  # by ours
        for other in others:  # they had read the terms before ours removed them
            key = f"batches/{name}"
            removed = made.store.terms(key)
            assert removed.body is None
            other.guard.shell.run(other.guard.background.follow(other.guard, "batches", read_batch(shown)))

    assert [entry.cost for entry in booked(made)] == [SPENT]


def test_many_that_look_at_the_same_moment_settle_it_once(provider, tmp_path):
    """Each is a process as far as the store can tell."""
    url = f"sqlite:///{tmp_path}/budgets.db"
    made = manager(url)
    others = [manager(url, store=url) for _ in range(8)]
    with provider.client() as client:
        with made, budgetguard.budget(user="ann"):
            name = run(begin(client), None)
        barrier = threading.Barrier(8)

        def look(other: BudgetManager) -> None:
            barrier.wait()
            with other:
                client.batches.retrieve(name)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(look, others))

    assert [entry.cost for entry in booked(made)] == [SPENT]
    assert (made.store.holds(), made.store.terms(f"batches/{name}").body) == ([], None)
    for each in (made, *others):
        each.close()


def test_a_provider_that_says_something_else_later_changes_nothing(provider, go, made):
    """The first cost stands."""

    async def call(client: Any) -> None:
        name = await begin(client)
        await wait(client.batches.retrieve(name))
        provider._batches._batches[name].said["usage"] = {"input_tokens": 10**6, "output_tokens": 10**6}
        await wait(client.batches.retrieve(name))

    go(call)

    assert [entry.cost for entry in booked(made)] == [SPENT]


def test_the_price_of_a_long_context_is_that_of_the_longest_request_not_of_their_sum(made):
    """gpt-5.4 costs twice as much above 272,000 tokens of one request."""
    endpoint = adapter.find("POST", "/batches")
    charge = made.guard.charge(endpoint, {"input_file_id": "file-1"}, (), "openai", None, host=UNKNOWN_HOST)
    assert isinstance(charge, BatchCharge)
    usage = {"input_tokens": 1_000_000, "output_tokens": 1_000}
    charge.know(BatchFile({"gpt-5.4": Part(100, 10**12, 10**10, 11_000)}))
    assert charge.cost(Answer(usage=usage, requests=100)) == 1_000_000 * 1_250 + 1_000 * 7_500
    charge.know(BatchFile({"gpt-5.4": Part(2, 10**12, 10**12, 500_000)}))
    assert charge.cost(Answer(usage=usage, requests=2)) == 1_000_000 * 2_500 + 1_000 * 11_250
