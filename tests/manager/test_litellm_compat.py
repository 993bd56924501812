"""
The manager under LiteLLM's names: what programs written for its `BudgetManager` find here.

Names, positions, shapes and exception types were compared with litellm 1.109.1 (`litellm/budget_manager.py`).
The second half has a test for each of its faults that ours does not share.
"""

from __future__ import annotations

import inspect
import json
import multiprocessing
import pickle
import threading
import time
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from budgetguard import BudgetExceededError, BudgetManager, UnpricedModelError
from budgetguard.ledger import Account, Entry, Hold
from budgetguard.testing import StoppedClock
from budgetguard.testing.clock import START_S

USAGE = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
PLAIN = {"id": "chatcmpl-1", "model": "gpt-4", "usage": USAGE}
PLAIN_COST = 1000 * 30e-6 + 100 * 60e-6
"""gpt-4 is $30 and $60 per million tokens."""


class ModelResponse(BaseModel):
    """Shaped as LiteLLM's: a pydantic object that can be indexed too."""

    model_config = ConfigDict(extra="allow")

    class Usage(BaseModel):
        prompt_tokens: int
        completion_tokens: int
        total_tokens: int
        prompt_tokens_details: None = None

    id: str
    model: str
    object: str = "chat.completion"
    usage: Usage

    def __getitem__(self, name):
        return getattr(self, name)


@pytest.mark.parametrize(
    ("method", "names"),
    [
        ("__init__", ["project_name", "client_type", "api_base", "headers"]),
        ("create_budget", ["total_budget", "user", "duration", "created_at"]),
        ("projected_cost", ["model", "messages", "user"]),
        ("get_total_budget", ["user"]),
        ("update_cost", ["user", "completion_obj", "model", "input_text", "output_text"]),
        ("get_current_cost", ["user"]),
        ("get_model_cost", ["user"]),
        ("is_valid_user", ["user"]),
        ("get_users", []),
        ("reset_cost", ["user"]),
        ("reset_on_duration", ["user"]),
        ("update_budget_all_users", []),
        ("save_data", []),
        ("load_data", []),
    ],
)
def test_every_method_takes_the_same_arguments_in_the_same_order(method, names):
    """Calls by position work as calls by name do."""
    parameters = list(inspect.signature(getattr(BudgetManager, method)).parameters.values())[1:]
    by_position = [each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]

    assert by_position == names


def test_the_documented_idiom(manager):
    """A user is made once, asked before each call, and charged after it."""
    user = "1234"
    if not manager.is_valid_user(user):
        manager.create_budget(total_budget=0.04, user=user)
    answered = 0
    while manager.get_current_cost(user=user) <= manager.get_total_budget(user=user):
        manager.update_cost(user=user, completion_obj=PLAIN)
        answered += 1

    assert answered == 2
    assert manager.get_current_cost(user) == pytest.approx(2 * PLAIN_COST)


def test_create_budget_returns_the_record(manager):
    """Without a duration only the total; with one, days and times."""
    assert manager.create_budget(10, "ann") == {"total_budget": 10}
    assert manager.create_budget(10, "bob", "weekly") == {
        "total_budget": 10,
        "duration": 7,
        "created_at": START_S,
        "last_updated_at": START_S,
    }
    assert manager.create_budget(10, "eve", "daily", 1.5e9)["created_at"] == 1.5e9


@pytest.mark.parametrize(("duration", "days"), [("daily", 1), ("weekly", 7), ("monthly", 28), ("yearly", 365)])
def test_records_count_durations_in_days(manager, duration, days):
    """As its file does, though the periods here are those of the calendar."""
    assert manager.create_budget(1, "ann", duration)["duration"] == days


@pytest.mark.parametrize(
    "answer",
    [PLAIN, ModelResponse(id="x", model="gpt-4", usage=USAGE)],
    ids=["dict", "ModelResponse"],
)
def test_update_cost_takes_a_response_of_any_kind(manager, answer):
    """Read through its fields, whoever made it."""
    manager.create_budget(10, "ann")

    returned = manager.update_cost(user="ann", completion_obj=answer)

    assert returned == {
        "user": {
            "total_budget": 10,
            "current_cost": pytest.approx(PLAIN_COST),
            "model_cost": {"gpt-4": pytest.approx(PLAIN_COST)},
        }
    }


def test_update_cost_takes_an_object_of_the_sdk(manager):
    """Of either API."""
    from openai.types.chat import ChatCompletion
    from openai.types.responses import Response

    manager.create_budget(10, "ann")
    chat = ChatCompletion.model_validate({**PLAIN, "object": "chat.completion", "created": 1, "choices": []})
    usage = {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100}
    response = Response.model_construct(id="resp_1", object="response", model="gpt-4", usage=usage)
    manager.update_cost("ann", chat)
    manager.update_cost("ann", response)

    assert manager.get_current_cost("ann") == pytest.approx(2 * PLAIN_COST)


CLAUDE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-4-5-20251001",
    "content": [{"type": "text", "text": "hi"}],
    "stop_reason": "end_turn",
    "usage": {
        "input_tokens": 1000,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 2000,
        "output_tokens": 100,
        "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1},
        "inference_geo": "us",
    },
}
CLAUDE_COST = (1000 * 1e-6 + 2000 * 0.1e-6 + 100 * 5e-6) * 1.1 + 2 * 0.01
"""Of Haiku 4.5: $1, $0.10 and $5 per million tokens, a tenth more in the US alone, and $10 for a thousand searches."""


@pytest.mark.parametrize("as_object", [True, False])
def test_update_cost_takes_anthropics_message(manager, as_object):
    """Whose input leaves the cache out, and whose place has a price: another reader would book half of it."""
    from anthropic.types import Message

    manager.create_budget(10, "ann")
    manager.update_cost("ann", Message.model_validate(CLAUDE) if as_object else CLAUDE)

    assert manager.get_current_cost("ann") == pytest.approx(CLAUDE_COST)
    assert list(manager.get_model_cost("ann")) == ["claude-haiku-4-5-20251001"]


def _google() -> Any:
    from google.genai.types import GenerateContentResponse

    usage = {"promptTokenCount": 1000, "candidatesTokenCount": 60, "thoughtsTokenCount": 40, "totalTokenCount": 1100}
    return GenerateContentResponse.model_validate({"modelVersion": "gemini-2.5-flash", "usageMetadata": usage})


def _ollama() -> Any:
    from ollama import ChatResponse

    message = {"role": "assistant", "content": "hi"}
    return ChatResponse(model="gpt-4o", prompt_eval_count=1000, eval_count=100, done=True, message=message)


def _cohere() -> Any:
    from cohere.types import Usage, UsageBilledUnits
    from cohere.v2.types import V2ChatResponse

    usage = Usage(billed_units=UsageBilledUnits(input_tokens=1000, output_tokens=100))
    return V2ChatResponse.model_construct(id="1", usage=usage)


def _mistral() -> Any:
    from mistralai.client.models import ChatCompletionResponse, UsageInfo

    usage = UsageInfo(prompt_tokens=1000, completion_tokens=100, total_tokens=1100)
    fields = {"id": "1", "object": "chat.completion", "created": 1, "choices": []}
    return ChatCompletionResponse(model="mistral-large-latest", usage=usage, **fields)


def _bedrock() -> Any:
    message = {"role": "assistant", "content": [{"text": "hi"}]}
    usage = {"inputTokens": 1000, "outputTokens": 100, "totalTokens": 1100}
    return {"output": {"message": message}, "stopReason": "end_turn", "usage": usage, "metrics": {"latencyMs": 1}}


@pytest.mark.parametrize(
    ("answer", "model", "cost"),
    [
        (_google, None, 1000 * 0.30e-6 + 100 * 2.50e-6),
        (_bedrock, "us.amazon.nova-lite-v1:0", 1000 * 0.06e-6 + 100 * 0.24e-6),
        (_ollama, None, 1000 * 2.5e-6 + 100 * 10e-6),
        (_cohere, "command-r-08-2024", 1000 * 0.15e-6 + 100 * 0.60e-6),
        (_mistral, None, 1000 * 2e-6 + 100 * 6e-6),
    ],
)
def test_update_cost_takes_the_answer_of_any_sdk(manager, answer, model, cost):
    """By its own words for tokens; the model where the answer does not name it."""
    manager.create_budget(10, "ann")
    manager.update_cost("ann", answer(), model=model)

    assert manager.get_current_cost("ann") == pytest.approx(cost)


def test_update_cost_knows_of_litellm_who_was_asked_and_what_it_cost_there(manager):
    """A model without a price here costs what LiteLLM's map says; one with a price is its provider's, not anybody's."""
    manager.create_budget(10, "ann")

    def answered(model, **hidden):
        response = ModelResponse(id="x", model=model, usage=USAGE)
        object.__setattr__(response, "_hidden_params", hidden)
        manager.reset_cost("ann")
        manager.update_cost("ann", response)
        return manager.get_current_cost("ann")

    assert answered("their-model", custom_llm_provider="new", response_cost=0.125) == pytest.approx(0.125)
    model = "llama-3.3-70b-versatile"
    tariff = manager.guard.prices.tariff("groq", model, None, manager.guard.coverage.now_ms())
    used = {"input_tokens": USAGE["prompt_tokens"], "output_tokens": USAGE["completion_tokens"]}
    assert answered(model, custom_llm_provider="groq", response_cost=7) == pytest.approx(tariff.cost(used) / 1e9)
    with pytest.raises(UnpricedModelError):
        answered("their-model", custom_llm_provider="new", response_cost=0)


def test_what_is_no_answer_is_refused_without_what_it_says(manager):
    """It may be a prompt, and an error ends in a log."""
    manager.create_budget(10, "ann")
    for wrong in ("my secret prompt", ["my secret prompt"], {"text": "my secret prompt"}, object()):
        with pytest.raises(ValueError, match="completion_obj is of") as refused:
            manager.update_cost("ann", wrong)
        assert "secret" not in str(refused.value)
    assert manager.get_current_cost("ann") == 0


def test_update_cost_takes_texts(manager):
    """For answers of something that has no response object."""
    manager.create_budget(10, "ann")
    manager.update_cost(user="ann", model="gpt-4", input_text="hello world", output_text="hello there you")

    # Two tokens and the seven of one message around them; three tokens out.
    assert manager.get_current_cost("ann") == pytest.approx(9 * 30e-6 + 3 * 60e-6)
    assert list(manager.get_model_cost("ann")) == ["gpt-4"]


@pytest.mark.parametrize(
    "arguments",
    [{}, {"model": "gpt-4"}, {"model": "gpt-4", "input_text": "hi"}, {"input_text": "hi", "output_text": "ho"}],
)
def test_update_cost_without_an_answer_is_a_value_error(manager, arguments):
    """There is nothing to book."""
    manager.create_budget(10, "ann")
    with pytest.raises(ValueError, match="completion_obj"):
        manager.update_cost("ann", **arguments)
    assert manager.get_current_cost("ann") == 0


def test_projected_cost_adds_the_messages_to_what_was_spent(manager):
    """The answer's own cost is not in it, as there."""
    manager.create_budget(10, "ann")
    manager.update_cost("ann", PLAIN)

    projected = manager.projected_cost("gpt-4", [{"role": "user", "content": "hello world"}], "ann")

    assert projected == pytest.approx(PLAIN_COST + 9 * 30e-6)


def test_nothing_spent_is_a_zero(manager):
    """`get_model_cost` too: 0, not an empty dict, until there was something."""
    manager.create_budget(10, "ann")

    assert manager.get_current_cost("ann") == 0
    assert manager.get_model_cost("ann") == 0


@pytest.mark.parametrize("method", ["get_total_budget", "get_current_cost", "get_model_cost", "reset_cost"])
def test_an_unknown_user_is_a_key_error(manager, method):
    """The text says what to do."""
    with pytest.raises(KeyError, match="create_budget"):
        getattr(manager, method)("nobody")


def test_update_cost_and_projected_cost_of_an_unknown_user_are_key_errors(manager):
    """And nothing is booked on nobody."""
    with pytest.raises(KeyError):
        manager.update_cost("nobody", PLAIN)
    with pytest.raises(KeyError):
        manager.projected_cost("gpt-4", [], "nobody")
    assert list(manager.store.entries()) == []


def test_reset_cost_sets_the_spend_to_zero(manager):
    """Costs and models; the record keeps its shape."""
    manager.create_budget(10, "ann")
    manager.update_cost("ann", PLAIN)

    assert manager.reset_cost("ann") == {"user": {"total_budget": 10, "current_cost": 0, "model_cost": {}}}
    assert manager.get_current_cost("ann") == 0
    assert manager.get_model_cost("ann") == {}


def test_user_dict_reads_as_theirs(manager):
    """A mapping of records, which people index, iterate and print."""
    manager.create_budget(10, "ann")
    manager.create_budget(5, "bob", "monthly")
    manager.update_cost("ann", PLAIN)
    users = manager.user_dict

    assert users == {
        "ann": {
            "total_budget": 10,
            "current_cost": pytest.approx(PLAIN_COST),
            "model_cost": {"gpt-4": pytest.approx(PLAIN_COST)},
        },
        "bob": {"total_budget": 5, "duration": 28, "created_at": START_S, "last_updated_at": START_S},
    }
    assert list(users) == manager.get_users() == ["ann", "bob"]
    assert "ann" in users
    assert users["ann"]["current_cost"] == pytest.approx(PLAIN_COST)
    assert len(users) == 2
    assert str(users) == str(dict(users))
    assert json.loads(json.dumps(dict(users))) == users


@pytest.mark.parametrize("nobody", ["nobody", "", None, 5])
def test_user_dict_has_only_its_users(manager, nobody):
    """A look-up of anything else is a look-up that fails, not an error of another kind."""
    assert nobody not in manager.user_dict
    assert manager.user_dict.get(nobody) is None
    assert not manager.is_valid_user(nobody)
    with pytest.raises(KeyError):
        manager.user_dict[nobody]


def test_the_calls_that_reset_and_save_remain(manager):
    """They have nothing left to do."""
    manager.create_budget(10, "ann", "daily")
    manager.update_cost("ann", PLAIN)
    manager.update_budget_all_users()
    manager.reset_on_duration("ann")
    manager.load_data()

    assert manager.save_data() == {"status": "success"}
    assert manager.get_current_cost("ann") == pytest.approx(PLAIN_COST)


def test_the_error_is_theirs():
    """Arguments, attributes and text."""
    error = BudgetExceededError(1.5, 1.0)

    assert (error.current_cost, error.max_budget) == (1.5, 1.0)
    assert str(error) == error.message == "Budget has been exceeded! Current cost: 1.5, Max budget: 1.0"
    assert str(BudgetExceededError(1, 2, "no more")) == "no more"
    assert isinstance(error, Exception)


# -- without its faults ------------------------------------------------------------------------------------------


def test_created_at_is_the_time_of_the_call(manager, clock):
    """Theirs is the time at which the module was imported."""
    clock.advance(3600)

    assert manager.create_budget(1, "ann", "daily")["created_at"] == START_S + 3600


def test_a_budget_without_duration_is_saved(tmp_path):
    """Theirs is forgotten at the end of the process."""
    url = f"sqlite:///{tmp_path}/budgets.db"
    BudgetManager("shop", store=url).create_budget(10, "ann")

    assert BudgetManager("shop", store=url).user_dict == {"ann": {"total_budget": 10}}


@pytest.mark.parametrize("duration", [None, "monthly"])
def test_creating_a_user_again_keeps_the_spend(manager, duration):
    """Theirs wipes it, so a restart of the program gave everyone a new budget."""
    manager.create_budget(10, "ann", duration)
    manager.update_cost("ann", PLAIN)
    manager.create_budget(20, "ann", duration)

    assert manager.get_current_cost("ann") == pytest.approx(PLAIN_COST)
    assert manager.get_total_budget("ann") == 20


def test_creating_a_user_again_keeps_when_it_was_created(manager, clock):
    """Only a time that is given replaces it."""
    manager.create_budget(10, "ann", "yearly")
    clock.advance(60)

    assert manager.create_budget(20, "ann", "yearly")["created_at"] == START_S
    assert manager.create_budget(20, "ann", "yearly", START_S - 5)["created_at"] == START_S - 5


@pytest.mark.parametrize("duration", ["fortnightly", "", 7])
def test_a_bad_duration_leaves_no_half_of_a_user(manager, duration):
    """Theirs raises, and keeps the user without the duration."""
    with pytest.raises(ValueError, match="duration="):
        manager.create_budget(10, "ann", duration)
    assert not manager.is_valid_user("ann")


def test_a_bad_duration_leaves_an_existing_budget_alone(manager):
    """Theirs has wiped it by then."""
    before = manager.create_budget(10, "ann", "daily")
    with pytest.raises(ValueError, match="duration="):
        manager.create_budget(20, "ann", "fortnightly")
    assert manager.user_dict["ann"] == before


def test_resets_are_saved(tmp_path):
    """Theirs are forgotten at the end of the process."""
    url = f"sqlite:///{tmp_path}/budgets.db"
    first = BudgetManager("shop", store=url)
    first.create_budget(10, "ann")
    first.update_cost("ann", PLAIN)
    first.reset_cost("ann")

    assert BudgetManager("shop", store=url).get_current_cost("ann") == 0


def _spend(url, times):
    manager = BudgetManager("shop", store=url)
    for _ in range(times):
        manager.update_cost("ann", PLAIN)


def test_two_processes_lose_no_update(tmp_path):
    """Theirs write the whole file over each other: half of the spend is gone."""
    url = f"sqlite:///{tmp_path}/budgets.db"
    manager = BudgetManager("shop", store=url)
    manager.create_budget(10, "ann")
    manager.close()
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_spend, args=(url, 20)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert [worker.exitcode for worker in workers] == [0, 0]
    assert manager.get_current_cost("ann") == pytest.approx(40 * PLAIN_COST)


def test_threads_lose_no_update(manager):
    """Theirs read, add and write without a lock."""
    manager.create_budget(100, "ann")
    threads = [
        threading.Thread(target=lambda: [manager.update_cost("ann", PLAIN) for _ in range(25)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert manager.get_current_cost("ann") == pytest.approx(100 * PLAIN_COST)
    assert manager.store.check() == []


def test_an_update_writes_one_user_not_all(manager, monkeypatch):
    """Theirs serialises every user for each update: 154 ms at 10,000."""
    for number in range(20):
        manager.create_budget(1, f"user{number}")
    manager.create_budget(1, "ann")
    read = []
    for name in ("all_terms", "put_terms", "accounts"):
        method = getattr(manager.store, name)
        monkeypatch.setattr(manager.store, name, lambda *a, _m=method, **k: read.append(a) or _m(*a, **k))
    manager.update_cost("ann", PLAIN)

    assert all("ann" in str(arguments) for arguments in read)
    assert len(read) <= 2


def test_an_update_costs_the_same_with_many_users(clock):
    """As it does not look at the others, ten thousand of them are no slower than ten."""
    manager = BudgetManager("shop", store="memory://", clock=clock)

    def fastest_update():
        begun = []
        for _ in range(20):
            start = time.perf_counter()
            manager.update_cost("user0", PLAIN)
            begun.append(time.perf_counter() - start)
        return min(begun)

    few = []
    for number in range(3_000):
        manager.create_budget(1, f"user{number}")
        if number == 10:
            few = [fastest_update()]
    manager.store.settle(Hold("x", tuple(Account(f"k{number}") for number in range(5_000)), 0), Entry("x", 1))

    assert fastest_update() < 4 * few[0]


def test_the_error_pickles():
    """Theirs cannot be sent back by a worker process."""
    again = pickle.loads(pickle.dumps(BudgetExceededError(1.5, 1.0, user="ann")))

    assert (again.current_cost, again.max_budget, again.user) == (1.5, 1.0, "ann")
    assert str(again) == "Budget has been exceeded! Current cost: 1.5, Max budget: 1.0"


# -- its file ----------------------------------------------------------------------------------------------------

FILE = {
    "ann": {
        "total_budget": 10,
        "duration": 28,
        "created_at": START_S - 86_400,
        "last_updated_at": START_S - 86_400,
        "current_cost": 0.1 + 0.2,  # as their sum comes out
        "model_cost": {"gpt-4": 0.1, "gpt-4o": 0.2},
    },
    "bob": {"total_budget": 5, "duration": 10, "created_at": START_S, "last_updated_at": START_S},
    "eve": {"total_budget": 2.5, "current_cost": 0.25},
    "zed": {"total_budget": float("inf")},
}


@pytest.fixture
def file(tmp_path):
    """A `user_cost.json`."""
    path = tmp_path / "user_cost.json"
    path.write_text(json.dumps(FILE))
    return path


def test_an_import_takes_over_budgets_and_spend(manager, file):
    """Including a duration that ours has no name for, and spend that no model stands for."""
    assert manager.import_litellm(str(file)) == 4

    users = manager.user_dict
    assert users["ann"]["current_cost"] == pytest.approx(0.3)
    assert users["ann"]["model_cost"] == {"gpt-4": pytest.approx(0.1), "gpt-4o": pytest.approx(0.2)}
    assert users["ann"]["created_at"] == START_S - 86_400
    assert users["bob"] == FILE["bob"]
    assert users["eve"]["current_cost"] == pytest.approx(0.25)
    assert users["zed"] == {"total_budget": float("inf")}
    assert manager.users.get("bob").rule.period.name == "rolling 10d"


def test_importing_again_changes_nothing(manager, file):
    """A program may do it at every start."""
    manager.import_litellm(str(file))
    before = dict(manager.user_dict)
    manager.import_litellm(str(file))

    assert manager.user_dict == before
    assert manager.store.check() == []


def test_a_file_that_grew_adds_what_is_new(manager, file):
    """Both may run side by side for a while."""
    grown = json.loads(json.dumps(FILE))
    manager.import_litellm(str(file))
    for cost in (0.15, 0.4):
        grown["ann"]["model_cost"]["gpt-4"] = cost
        grown["ann"]["current_cost"] = cost + 0.2
        file.write_text(json.dumps(grown))
        manager.import_litellm(str(file))
        manager.import_litellm(str(file))

        assert manager.get_model_cost("ann")["gpt-4"] == pytest.approx(cost)


@pytest.mark.parametrize(
    "broken",
    [
        {"total_budget": "much"},
        {"total_budget": -1},
        {"total_budget": True},
        {},
        [],
        {"total_budget": 1, "duration": "monthly"},
        {"total_budget": 1, "duration": 0},
        {"total_budget": 1, "duration": 10**9},
        {"total_budget": 1, "created_at": "yesterday"},
        {"total_budget": 1, "duration": 1, "last_updated_at": float("nan")},
        {"total_budget": 1, "current_cost": float("nan")},
        {"total_budget": 1, "model_cost": {"gpt-4": -1}},
        {"total_budget": 1, "model_cost": [1]},
    ],
)
def test_a_defective_file_changes_nothing_at_all(manager, file, broken):
    """The error names the file and the user; the users before it in the file are not taken over either."""
    file.write_text(json.dumps({**FILE, "zoë": broken}))
    with pytest.raises(ValueError, match=r"user_cost\.json: user 'zoë'"):
        manager.import_litellm(str(file))
    assert manager.user_dict == {}
    assert list(manager.store.entries()) == []


@pytest.mark.parametrize("text", ["", "[]", "{", "\0", '"ann"'])
def test_a_file_of_something_else_is_refused(manager, file, text):
    """And one that is not there."""
    file.write_text(text)
    with pytest.raises(ValueError, match=r"user_cost\.json"):
        manager.import_litellm(str(file))
    with pytest.raises(ValueError, match="missing"):
        manager.import_litellm(str(file.parent / "missing.json"))


def test_an_export_can_be_imported_again(manager, file, tmp_path, url):
    """What comes out is what LiteLLM writes, and what went in."""
    manager.import_litellm(str(file))
    target = tmp_path / "exported.json"

    assert manager.export_litellm(str(target)) == 4
    assert json.loads(target.read_text())["bob"] == FILE["bob"]
    other = BudgetManager("other", store=url, clock=StoppedClock())
    other.import_litellm(str(target))
    assert {user: record.get("current_cost") for user, record in other.user_dict.items()} == {
        user: record.get("current_cost") for user, record in manager.user_dict.items()
    }
    other.close()


def test_an_export_that_cannot_be_written_says_so(manager, tmp_path):
    """The old file, if there is one, is still whole."""
    with pytest.raises(ValueError, match="cannot be written"):
        manager.export_litellm(str(tmp_path / "no" / "such" / "directory.json"))
    with pytest.raises(ValueError, match="cannot be written"):
        manager.export_litellm(str(tmp_path))
    assert list(tmp_path.parent.glob("tmp*")) == []
