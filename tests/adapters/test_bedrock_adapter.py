"""
Bedrock's operations, read: what a request can use at most, and what replies and streams say was used.

Requests are as AWS's documentation has them. Replies are in `recordings/bedrock_replies.json`: recorded, or after AWS's
guide and botocore's service model; each price there is worked out by hand, in dollars a million tokens.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from budgetguard import PriceBook, UnpricedModelError
from budgetguard.adapters import bedrock, openai
from budgetguard.adapters.bedrock.families import request as own_request
from budgetguard.adapters.bedrock.models import maker_of, name_of
from budgetguard.adapters.bedrock.usage import header_usage, metrics_usage
from budgetguard.adapters.common.errors import refused_fields
from budgetguard.calls import Call, Host
from budgetguard.prices import tokens
from budgetguard.sdks.aws.api import BEDROCK
from tests.support import ROOT

RECORDED = json.loads((ROOT / "tests/recordings/bedrock_replies.json").read_text("utf-8"))
LLAMA = "us.meta.llama3-3-70b-instruct-v1:0"
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
RUNTIME = BEDROCK.operations["bedrock-runtime"]
HI: list[Any] = [{"role": "user", "content": [{"text": "hi"}]}]
AT_MS = 1_795_000_000_000


def asked(operation: str, model: str = CLAUDE, **members: Any) -> Call:
    endpoint = RUNTIME[operation]
    assert endpoint.request is not None
    return endpoint.request({"modelId": model, **members}, (), Host())


def answered(operation: str, reply: Any) -> Any:
    endpoint = RUNTIME[operation]
    assert endpoint.answer is not None
    return endpoint.answer(reply)


def heard(operation: str, items: list[Any]) -> Any:
    endpoint = RUNTIME[operation]
    assert endpoint.listener is not None
    listener = endpoint.listener()
    for item in items:
        assert listener.hear(item) is False
    return listener.end()


# --- names


@pytest.mark.parametrize(
    ("asked_for", "name", "maker"),
    [
        ("meta.llama3-8b-instruct-v1:0", "meta.llama3-8b-instruct-v1:0", "meta"),
        (CLAUDE, CLAUDE, "anthropic"),
        (f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{CLAUDE}", CLAUDE, "anthropic"),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0", "amazon.nova-lite-v1:0", "amazon"),
        ("arn:aws-us-gov:bedrock:us-gov-west-1:1:inference-profile/us-gov.amazon.a", "us-gov.amazon.a", "amazon"),
    ],
)
def test_ids_and_the_arns_of_models_and_profiles_are_one_name(asked_for: str, name: str, maker: str) -> None:
    """A price is found by the id; an ARN says it at its end."""
    assert (name_of(asked_for), maker_of(name)) == (name, maker)


@pytest.mark.parametrize(
    "kind", ["application-inference-profile/abc", "provisioned-model/abc", "prompt/P:1", "default-prompt-router/a.b:1"]
)
def test_an_arn_that_says_nothing_of_its_model_has_no_price(kind: str) -> None:
    """It is refused with the line to add, and one line of `[deployments]` gives it one."""
    arn = f"arn:aws:bedrock:us-east-1:123456789012:{kind}"
    assert name_of(arn) == arn
    with pytest.raises(UnpricedModelError, match="prices alias"):
        PriceBook().quote("aws", name_of(arn))
    known = PriceBook(deployments={arn: CLAUDE})
    assert known.tariff("aws", name_of(arn), None, AT_MS).cost({"input_tokens": 1_000}) == 3_300_000


@pytest.mark.parametrize("place", ["us", "eu", "apac", "jp", "au"])
def test_a_profile_of_a_place_has_the_prices_of_regions(place: str) -> None:
    """10 % above those of the global profile."""
    for prefix, cost in ((f"{place}.", 3_300_000), ("global.", 3_000_000)):
        model = f"{prefix}anthropic.claude-sonnet-4-5-20250929-v1:0"
        assert PriceBook().tariff("aws", model, None, AT_MS).cost({"input_tokens": 1_000}) == cost


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/model/amazon.nova-lite-v1%3A0/converse", "converse"),
        (f"https://bedrock-runtime.us-east-1.amazonaws.com/model/{CLAUDE}/converse-stream", "converse_stream"),
        ("/model/arn%3Aaws%3Abedrock%3Aus%3A1%3Ainference-profile%2Fus.a/invoke", "invoke_model"),
        ("/model/a/invoke-with-response-stream", "invoke_model_with_response_stream"),
        ("/guardrail/g/version/1/apply", "bedrock-runtime.ApplyGuardrail"),
        ("/agents/A/agentAliases/B/sessions/C/text", "bedrock-agent-runtime.InvokeAgent"),
        ("/model/a/count-tokens", None),
        ("/things/a/converse", None),
    ],
)
def test_an_operation_is_found_by_its_path(path: str, name: str | None) -> None:
    """For whoever sees the request itself: a gateway, or the HTTP client below an SDK."""
    found = BEDROCK.dialect.find("POST", path)
    assert (None if found is None else found.name) == name
    assert BEDROCK.dialect.may_cost("POST", "/model/a/think-hard")
    assert not BEDROCK.dialect.may_cost("POST", "/model/a/count-tokens")


def test_the_members_are_put_together_of_a_path_and_its_json() -> None:
    """As an SDK has them: one reader for both."""
    path = f"/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2F{CLAUDE}/converse?x=1"
    members = bedrock.members(path, {"messages": HI})
    assert name_of(members["modelId"]) == CLAUDE
    assert members["messages"] == HI
    assert bedrock.members("/model/a/invoke", {"prompt": "x"}) == {"modelId": "a", "body": {"prompt": "x"}}


# --- requests of Converse


def test_a_conversation_is_bounded_by_its_texts() -> None:
    """All of them, and nothing of a picture's bytes, which is bounded by the model's table."""
    content = [
        {"text": "look"},
        {"image": {"format": "png", "source": {"bytes": b"\0" * 100_000}}},
        {"document": {"format": "txt", "name": "notes", "source": {"bytes": b"twelve words"}}},
        {"toolUse": {"toolUseId": "t1", "name": "look_up", "input": {"q": "x"}}},
        {"toolResult": {"toolUseId": "t1", "content": [{"json": {"found": "1"}}, {"text": "one"}]}},
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
        {"guardContent": {"text": {"text": "guarded", "qualifiers": ["query"]}}},
        {"cachePoint": {"type": "default"}},
    ]
    call = asked("Converse", messages=[{"role": "user", "content": content}], system=[{"text": "be kind"}])
    written = " ".join(call.texts)
    for text in ("look", "twelve words", "look_up", '{"found":"1"}', "one", "hm", "sig", "guarded", "be kind", "notes"):
        assert text in written
    assert (call.images, call.unknown_input, call.kept) == (1, False, "")
    assert len(written) < 400
    assert tokens.bound(call) < 2_000 + tokens.image_bound(CLAUDE)


@pytest.mark.parametrize(
    "block",
    [
        {"video": {"format": "mp4", "source": {"bytes": b"x"}}},
        {"audio": {"format": "mp3", "source": {"bytes": b"x"}}},
        {"document": {"format": "pdf", "name": "a", "source": {"s3Location": {"uri": "s3://a/b"}}}},
        {"document": {"format": "pdf", "name": "a", "source": {"bytes": b"%PDF-1.7 /Type /Page"}}},
        {"toolResult": {"toolUseId": "t", "content": [{"video": {"source": {}}}]}},
        {"hologram": {"bytes": b"x"}},
        {"hologram": {"uri": "s3://a/b"}},
    ],
)
def test_what_does_not_show_its_size_is_as_large_as_the_context(block: dict[str, Any]) -> None:
    """A film, a PDF, what lies in S3, and what is not known."""
    assert asked("Converse", messages=[{"role": "user", "content": [block]}]).unknown_input


def test_tools_and_schemas_are_read_whole() -> None:
    """The model is told of them in tokens."""
    spec = {"name": "find", "description": "finds it", "inputSchema": {"json": {"type": "object"}}}
    schema = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": '{"a": 1}', "name": "n"}}}}
    tools = {"tools": [{"toolSpec": spec}, {"cachePoint": {"type": "default", "ttl": "1h"}}], "toolChoice": {"any": {}}}
    call = asked("Converse", messages=HI, toolConfig=tools, outputConfig=schema)
    assert "finds it" in " ".join(call.texts)
    assert "json_schema" in " ".join(call.texts)
    assert call.overhead > 1_700
    assert call.kept == "cache_write_1h_tokens"
    assert call.tools is None


def test_a_tool_of_the_servers_own_reads_the_context_again() -> None:
    """Nova's web search samples many times, for a fee each."""
    call = asked(
        "Converse",
        "us.amazon.nova-premier-v1:0",
        messages=HI,
        toolConfig={"tools": [{"systemTool": {"name": "nova_grounding"}}]},
    )
    assert call.unknown_input
    assert call.tools is not None
    assert call.tools.calls >= 1
    assert call.tools.fees == {"web_searches": 1}


@pytest.mark.parametrize(
    ("members", "cap"),
    [
        ({}, None),
        ({"inferenceConfig": {"maxTokens": 50}}, 50),
        ({"inferenceConfig": {"maxTokens": 50}, "additionalModelRequestFields": {"max_tokens": 90}}, 90),
        ({"additionalModelRequestFields": {"max_gen_len": 70}}, 70),
        (
            {
                "inferenceConfig": {"maxTokens": 50},
                "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 4_000}},
            },
            4_000,
        ),
        ({"inferenceConfig": {"maxTokens": "many"}}, None),
        ({"inferenceConfig": None, "messages": 3, "system": 4, "toolConfig": "x"}, None),
    ],
)
def test_a_cap_may_be_stated_twice(members: dict[str, Any], cap: int | None) -> None:
    """The higher one counts, and what makes no sense is as good as absent."""
    call = asked("Converse", **{"messages": HI, **members})
    assert call.max_output == cap
    assert call.cap == "inferenceConfig"


@pytest.mark.parametrize("name", ["thinking", "reasoning_config", "reasoningConfig"])
def test_a_cap_of_ours_leaves_room_above_the_thinking_budget(name: str) -> None:
    """Claude refuses one that is no more than that budget: a call that has no room for it is refused here, unsent."""
    more = {name: {"type": "enabled", "budget_tokens": 4_000}}
    assert asked("Converse", messages=HI, additionalModelRequestFields=more).least_output == 4_001
    assert asked("Converse", messages=HI).least_output == 1


def test_every_cap_that_is_stated_is_lowered() -> None:
    """One in the model's own words beside Converse's is as good as that, and would let an answer pass the budget."""
    lower = RUNTIME["Converse"].lower
    assert lower is not None
    more = {"top_k": 5, "max_tokens": 8_000, "inferenceConfig": {"maxTokens": 9_000, "topK": 20}}
    members = {"messages": HI, "inferenceConfig": {"maxTokens": 100}, "additionalModelRequestFields": more}
    assert asked("Converse", **members).max_output == 9_000

    lowered = {**members, **lower(members, 400)}

    assert lowered["inferenceConfig"] == {"maxTokens": 100}
    assert lowered["additionalModelRequestFields"] == {
        "top_k": 5,
        "max_tokens": 400,
        "inferenceConfig": {"maxTokens": 400, "topK": 20},
    }
    assert asked("Converse", **lowered).max_output == 400


def test_what_a_guardrail_says_instead_is_not_the_models() -> None:
    """The usage of 0 is then right: nobody was asked."""
    usage = {"inputTokens": 0, "outputTokens": 0, "totalTokens": 0}
    reply = {"output": {"message": {"content": [{"text": "no"}]}}, "usage": usage, "stopReason": "guardrail_intervened"}
    assert answered("Converse", reply).lacks == ()
    assert answered("Converse", {**reply, "stopReason": "end_turn"}).lacks == ("input_tokens", "output_tokens")


@pytest.mark.parametrize(
    ("model", "stated"),
    [
        ("openai.gpt-oss-120b-1:0", {"messages": [], "max_completion_tokens": 8_000}),
        ("openai.gpt-oss-120b-1:0", {"messages": [], "max_completion_tokens": 8_000, "max_tokens": 9_000}),
        ("us.amazon.nova-pro-v1:0", {"messages": HI, "inferenceConfig": {"max_new_tokens": 8_000}}),
        (CLAUDE, {"messages": [], "max_tokens": 8_000, "fallbacks": [{"model": "x", "max_tokens": 9_000}]}),
        ("anthropic.claude-v2:1", {"prompt": "hi", "max_tokens_to_sample": 8_000}),
        (LLAMA, {"prompt": "hi", "max_gen_len": 8_000}),
    ],
)
def test_a_cap_in_a_models_own_json_is_lowered_under_its_own_name(model: str, stated: dict[str, Any]) -> None:
    """A second one of another name would leave the first, and the answer as long as that."""
    lower = RUNTIME["InvokeModel"].lower
    assert lower is not None
    before = asked("InvokeModel", model, body=stated)
    assert before.max_output is not None
    assert before.max_output >= 8_000
    body = lower({"modelId": model, "body": stated}, 400)["body"]

    assert body.keys() == stated.keys() | ({"inferenceConfig"} & body.keys())
    assert asked("InvokeModel", model, body=body).max_output == 400


def test_thinking_tiers_and_long_contexts_are_seen() -> None:
    """Each changes what a call can cost."""
    thinks = {"thinking": {"type": "enabled", "budget_tokens": 10}, "anthropic_beta": ["context-1m-2025-08-07"]}
    call = asked("Converse", messages=HI, additionalModelRequestFields=thinks, serviceTier={"type": "flex"})
    assert (call.thinks, call.context, call.tier) == (True, 1_000_000, "flex")
    fast = asked("ConverseStream", messages=HI, performanceConfig={"latency": "optimized"})
    assert (fast.tier, fast.stream, fast.thinks) == ("optimized", True, False)
    assert asked("Converse", "global.anthropic.claude-opus-5", messages=HI).thinks
    assert not asked("Converse", "amazon.nova-lite-v1:0", messages=HI).thinks
    assert asked("Converse", "arn:aws:bedrock:us-east-1:1:prompt/P:1", promptVariables={}).unknown_input


def test_a_cap_of_ours_leaves_the_callers_settings() -> None:
    """Only the one field is added."""
    body = {"modelId": CLAUDE, "messages": HI, "inferenceConfig": {"temperature": 0.5}}
    amend = RUNTIME["Converse"].amend
    assert amend is not None
    changed = amend(body, 7, True, Host())
    assert changed["inferenceConfig"] == {"temperature": 0.5, "maxTokens": 7}
    assert body["inferenceConfig"] == {"temperature": 0.5}
    refusing = Host(refuses={"inferenceConfig": 0, "body": 0})
    assert bedrock.cap_field(RUNTIME["Converse"], refusing) is None
    assert bedrock.cap_field(RUNTIME["InvokeModel"], refusing) is None
    assert bedrock.cap_field(RUNTIME["InvokeModel"], Host()) == "body"


@pytest.mark.parametrize(
    ("field", "said"),
    [
        (
            "inferenceConfig",
            "The maximum tokens you requested exceeds the model limit of 4096. Try again with a lower one.",
        ),
        (
            "body",
            "Malformed input request: #: extraneous key [max_tokens] is not permitted, please reformat your input",
        ),
        (
            "body",
            "Malformed input request: #/max_gen_len: 9000 is not less or equal to 2048, please reformat your input",
        ),
    ],
)
def test_an_error_about_a_cap_of_ours_is_known(field: str, said: str) -> None:
    """Then the call is sent again without it; an error about anything else is the caller's."""
    sent = {field: {"maxTokens": 9_000}}
    assert refused_fields(refusal(400, said), sent) == {field: 0}
    assert refused_fields(refusal(429, said), sent) == {}
    assert refused_fields(refusal(400, "The provided model identifier is invalid."), sent) == {}


def refusal(status: int, said: str) -> ClientError:
    error = {"Error": {"Code": "ValidationException", "Message": said}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(error, "Converse")


# --- replies of Converse


def converse_reply(usage: Any, **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": [{"text": "well"}]}
    return {"output": {"message": message}, "stopReason": "end_turn", "usage": usage, **more}


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"inputTokens": 4, "outputTokens": 38, "totalTokens": 42}, {"input_tokens": 4, "output_tokens": 38}),
        (
            {"inputTokens": 7, "outputTokens": 126, "cacheReadInputTokens": 14_486, "cacheWriteInputTokens": 2_238},
            {"input_tokens": 16_731, "cache_read_tokens": 14_486, "cache_write_tokens": 2_238, "output_tokens": 126},
        ),
        (
            {
                "inputTokens": 1,
                "outputTokens": 2,
                "cacheWriteInputTokens": 30,
                "cacheDetails": [{"ttl": "5m", "inputTokens": 10}, {"ttl": "1h", "inputTokens": 20}],
            },
            {"input_tokens": 31, "cache_write_tokens": 30, "cache_write_1h_tokens": 20, "output_tokens": 2},
        ),
        ({"inputTokens": -1, "outputTokens": 2}, None),
        ({}, None),
        (None, None),
    ],
)
def test_the_input_of_a_usage_leaves_out_the_cache(usage: Any, counts: dict[str, int] | None) -> None:
    """Here it is all input, and its parts beside it."""
    assert answered("Converse", converse_reply(usage)).usage == counts


def test_a_reply_says_its_tier_its_cut_and_whom_a_router_asked() -> None:
    """It names no model of its own."""
    usage = {"inputTokens": 1, "outputTokens": 2}
    plain = answered("Converse", converse_reply(usage))
    assert (plain.model, plain.tier, plain.cut, plain.lacks) == (None, None, False, ())
    trace = {"promptRouter": {"invokedModelId": f"arn:aws:bedrock:us-east-1:1:inference-profile/{CLAUDE}"}}
    full = answered(
        "Converse", converse_reply(usage, serviceTier={"type": "priority"}, trace=trace, stopReason="max_tokens")
    )
    assert (full.model, full.tier, full.cut) == (CLAUDE, "priority", True)
    fast = answered("Converse", converse_reply(usage, performanceConfig={"latency": "optimized"}))
    assert fast.tier == "optimized"
    searched = {"toolUse": {"name": "nova_grounding", "input": {}}}
    found = answered("Converse", {**converse_reply(usage), "output": {"message": {"content": [searched]}}})
    assert found.usage["web_searches"] == 1


def test_no_output_is_no_count_where_something_was_written() -> None:
    """Unknown is not free."""
    assert answered("Converse", converse_reply({"inputTokens": 1, "outputTokens": 0})).lacks == ("output_tokens",)


DELTAS = [
    {"messageStart": {"role": "assistant"}},
    {"contentBlockDelta": {"delta": {"reasoningContent": {"text": "hm "}}, "contentBlockIndex": 0}},
    {"contentBlockDelta": {"delta": {"text": "well"}, "contentBlockIndex": 1}},
    {"contentBlockDelta": {"delta": {"toolUse": {"input": '{"a"'}}, "contentBlockIndex": 2}},
]


def test_a_stream_is_settled_by_its_metadata() -> None:
    """The last event has the whole usage; before it there is none."""
    usage = {"inputTokens": 3, "outputTokens": 5, "cacheReadInputTokens": 2}
    whole = heard(
        "ConverseStream", [*DELTAS, {"messageStop": {"stopReason": "max_tokens"}}, {"metadata": {"usage": usage}}]
    )
    assert whole.usage == {"input_tokens": 5, "cache_read_tokens": 2, "output_tokens": 5}
    assert (whole.cut, whole.lacks) == (True, ())
    left = heard("ConverseStream", DELTAS)
    assert left.lacks == ("input_tokens", "output_tokens")
    assert (left.heard.pieces, left.heard.text) == (3, 'hm well{"a"')


def test_a_stream_that_failed_before_anything_is_free() -> None:
    """Nothing was written, nothing is billed; after the first piece, something is."""
    assert heard("ConverseStream", [{"throttlingException": {"message": "slow"}}]).free
    assert not heard("ConverseStream", [*DELTAS, {"modelStreamErrorException": {"message": "broke"}}]).free
    assert heard("ConverseStream", [None, 3, "x", {}]).lacks


# --- replies of every kind, and what they cost


@pytest.mark.parametrize("said", RECORDED, ids=lambda said: said["name"])
def test_a_recorded_reply_costs_what_it_comes_to_by_hand(said: Any) -> None:
    """The books are kept in these amounts."""
    items = [each if said["operation"] == "ConverseStream" else chunk(each) for each in said.get("items", ())]
    answer = heard(said["operation"], items) if items else answered(said["operation"], said["reply"])
    assert answer.lacks == ()
    assert answer.usage is not None
    assert {kind: count for kind, count in answer.usage.items() if count or kind in said["usage"]} == said["usage"]
    price = PriceBook().settlement("aws", said["model"], answer.model, answer.tier, AT_MS)
    assert price.cost(answer.usage) == said["nano"], said["sum"]


# --- InvokeModel


BODIES: dict[str, tuple[str, dict[str, Any], int | None, int | None, str | None]] = {
    "claude": (CLAUDE, {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 50, "messages": []}, 50, None, "body"),
    "llama": ("us.meta.llama3-3-70b-instruct-v1:0", {"prompt": "p"}, None, 512, "body"),
    "llama capped": ("meta.llama3-8b-instruct-v1:0", {"prompt": "p", "max_gen_len": 9}, 9, 512, "body"),
    "titan": (
        "amazon.titan-text-express-v1",
        {"inputText": "p", "textGenerationConfig": {"maxTokenCount": 8}},
        8,
        512,
        "body",
    ),
    "nova": ("amazon.nova-lite-v1:0", {"messages": HI, "inferenceConfig": {"maxTokens": 6}}, 6, None, "body"),
    "nova by its other name": (
        "amazon.nova-lite-v1:0",
        {"messages": HI, "inferenceConfig": {"max_new_tokens": 6}},
        6,
        None,
        "body",
    ),
    "mistral": ("mistral.mistral-7b-instruct-v0:2", {"prompt": "p", "max_tokens": 5}, 5, None, "body"),
    "gpt-oss": ("openai.gpt-oss-20b-1:0", {"messages": [], "max_completion_tokens": 4}, 4, None, "body"),
    "cohere": ("cohere.command-r-v1:0", {"message": "p"}, None, None, "body"),
    "unknown": ("acme.thinker-v1:0", {"prompt": "p"}, None, None, None),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_models_own_json_states_its_cap(name: str) -> None:
    """In the words of its maker; where it states none, the model's own default or ours bounds it."""
    model, body, cap, default, field = BODIES[name]
    for form in (body, json.dumps(body), json.dumps(body).encode()):
        call = asked("InvokeModel", model, body=form)
        assert (call.model, call.max_output, call.default_output, call.cap) == (model, cap, default, field)
        assert call.output
    assert asked("InvokeModelWithResponseStream", model, body=body).stream


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("llama", ("max_gen_len",)),
        ("titan", ("textGenerationConfig", "maxTokenCount")),
        ("nova", ("inferenceConfig", "maxTokens")),
        ("mistral", ("max_tokens",)),
        ("gpt-oss", ("max_tokens",)),
        ("cohere", ("max_tokens",)),
    ],
)
def test_a_cap_of_ours_goes_where_the_model_has_it(name: str, path: tuple[str, ...]) -> None:
    """Any other place would be refused, or do nothing."""
    model, body, *_ = BODIES[name]
    amend = RUNTIME["InvokeModel"].amend
    assert amend is not None
    found: Any = amend({"modelId": model, "body": body}, 3, False, Host())["body"]
    assert found != body
    for step in path:
        found = found[step]
    assert found == 3


def test_pictures_embeddings_and_ranks_write_no_text() -> None:
    """They cost by the picture, the input token, the search."""
    canvas = {"taskType": "TEXT_IMAGE", "imageGenerationConfig": {"numberOfImages": 2, "width": 512, "height": 768}}
    made = own_request({**canvas, "textToImageParams": {"text": "a cat"}}, "amazon.nova-canvas-v1:0")
    assert (made.fixed, made.output, made.texts) == ({"images/standard/512x768": 2}, False, ())
    embedded = own_request({"inputText": "hello", "dimensions": 256}, "amazon.titan-embed-text-v2:0")
    assert embedded.output is False
    assert "hello" in embedded.texts[0]
    pictured = own_request({"inputText": "x", "inputImage": "aGk=" * 9_000}, "amazon.titan-embed-image-v1")
    assert (pictured.images, len(pictured.texts[0]) < 100) == (1, True)
    ranked = own_request({"query": "q", "documents": ["d"] * 101}, "cohere.rerank-v3-5:0")
    assert ranked.fixed == {"rerank_searches": 2}


REPLIES: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "claude": (
        {
            "type": "message",
            "model": "claude-sonnet-4-5-20250929",
            "content": [],
            "usage": {"input_tokens": 3, "output_tokens": 4, "cache_read_input_tokens": 5},
        },
        {"input_tokens": 8, "cache_read_tokens": 5, "output_tokens": 4},
    ),
    "llama": (
        {"generation": "a", "prompt_token_count": 3, "generation_token_count": 4, "stop_reason": "length"},
        {"input_tokens": 3, "output_tokens": 4},
    ),
    "titan": (
        {"inputTextTokenCount": 3, "results": [{"tokenCount": 4, "outputText": "a", "completionReason": "LENGTH"}]},
        {"input_tokens": 3, "output_tokens": 4},
    ),
    "titan embedding": ({"embedding": [0.1], "inputTextTokenCount": 3}, {"input_tokens": 3, "output_tokens": 0}),
    "nova": (converse_reply({"inputTokens": 3, "outputTokens": 4}), {"input_tokens": 3, "output_tokens": 4}),
    "gpt-oss": (
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}},
        {"input_tokens": 3, "output_tokens": 4},
    ),
    "jurassic": ({"usage": {"prompt_tokens": 3, "completion_tokens": 4}}, {"input_tokens": 3, "output_tokens": 4}),
}


@pytest.mark.parametrize("name", REPLIES)
def test_a_models_own_reply_says_what_it_used(name: str) -> None:
    """Where no header does. Whatever it calls itself, the model that was asked for is priced."""
    reply, counts = REPLIES[name]
    answer = answered("InvokeModel", reply)
    assert answer.usage is not None
    assert {kind: count for kind, count in answer.usage.items() if count or kind in counts} == counts
    assert answer.model is None


@pytest.mark.parametrize("reply", [None, 3, [], {}, {"outputs": [{"text": "a"}]}, {"usage": {"prompt_tokens": -3}}])
def test_a_reply_that_says_nothing_is_unknown(reply: Any) -> None:
    """And so costs what was held."""
    assert answered("InvokeModel", reply).usage is None


METRICS = {
    "inputTokenCount": 7,
    "outputTokenCount": 126,
    "cacheReadInputTokenCount": 14_486,
    "cacheWriteInputTokenCount": 2_238,
}
COUNTS = {"input_tokens": 16_731, "cache_read_tokens": 14_486, "cache_write_tokens": 2_238, "output_tokens": 126}


def chunk(said: Any) -> dict[str, Any]:
    return {"chunk": {"bytes": json.dumps(said).encode()}}


@pytest.mark.parametrize(
    "pieces",
    [
        [{"type": "message_start", "message": {"usage": {}}}, {"type": "message_stop"}],
        [{"choices": [{"delta": {"content": "a"}}]}, {"choices": []}],
        [{"generation": "a"}, {"generation": "", "stop_reason": "stop"}],
        [{"outputText": "a"}, {"outputText": ""}],
        [{"messageStart": {}}, {"contentBlockDelta": {"delta": {"text": "a"}}}, {"metadata": {}}],
    ],
    ids=["claude", "gpt-oss", "llama", "titan", "nova"],
)
def test_the_last_piece_of_a_stream_has_bedrocks_own_count(pieces: list[Any]) -> None:
    """Whoever the model is."""
    last = {**pieces[-1], "amazon-bedrock-invocationMetrics": METRICS}
    whole = heard("InvokeModelWithResponseStream", [*map(chunk, pieces[:-1]), chunk(last)])
    assert (whole.usage, whole.lacks, whole.model) == (COUNTS, (), None)
    left = heard("InvokeModelWithResponseStream", list(map(chunk, pieces)))
    assert "output_tokens" in left.lacks


def test_a_claude_that_is_left_has_its_exact_input() -> None:
    """Its first event says it; so does no other model's."""
    usage = {"input_tokens": 9, "output_tokens": 1}
    start = {"type": "message_start", "message": {"usage": usage, "model": "claude-x"}}
    text = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "well"}}
    left = heard("InvokeModelWithResponseStream", [chunk(start), chunk(text)])
    assert (left.exact, left.usage["input_tokens"], left.lacks, left.model) == (True, 9, ("output_tokens",), None)


def test_headers_and_metrics_count_alike() -> None:
    """They are the same four numbers, as text or not."""
    names = ("input", "output", "cache-read-input", "cache-write-input")
    headers = {f"x-amzn-bedrock-{name}-token-count": str(n) for name, n in zip(names, METRICS.values(), strict=True)}
    assert header_usage(headers) == metrics_usage({"amazon-bedrock-invocationMetrics": METRICS}) == COUNTS
    assert header_usage({"content-type": "application/json"}) is None
    assert metrics_usage({"generation": "a"}) is None


def test_bedrock_is_read_with_the_readers_of_its_guests() -> None:
    """Claude's JSON is Anthropic's, that of gpt-oss OpenAI's: what they know of tools and pictures holds here."""
    claude = asked(
        "InvokeModel", body={"anthropic_version": "x", "messages": [], "max_tokens": 9, "thinking": {"type": "enabled"}}
    )
    assert claude.thinks
    wide = asked(
        "InvokeModel",
        "anthropic.claude-sonnet-4-20250514-v1:0",
        body={"anthropic_version": "x", "anthropic_beta": ["context-1m-2025-08-07"]},
    )
    assert wide.context == 1_000_000
    assert openai.CHAT.request is not None
    said = {"messages": [{"role": "user", "content": "hello"}]}
    theirs = openai.CHAT.request({**said, "model": "openai.gpt-oss-20b-1:0"}, (), Host())
    assert asked("InvokeModel", "openai.gpt-oss-20b-1:0", body=said).texts == theirs.texts


# --- whatever comes


NAMES = [
    "additionalModelRequestFields",
    "bytes",
    "body",
    "cachePoint",
    "cacheDetails",
    "choices",
    "chunk",
    "content",
    "contentBlockDelta",
    "delta",
    "document",
    "documents",
    "error",
    "generation",
    "imageGenerationConfig",
    "inferenceConfig",
    "inputText",
    "maxTokens",
    "message",
    "messages",
    "metadata",
    "modelId",
    "output",
    "prompt",
    "promptVariables",
    "reasoningContent",
    "results",
    "source",
    "system",
    "taskType",
    "textGenerationConfig",
    "thinking",
    "toolConfig",
    "toolResult",
    "toolUse",
    "tools",
    "trace",
    "ttl",
    "type",
    "usage",
]
"""Fields that the readers look for, each of which may hold anything."""

ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**13) | st.floats() | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=80, deadline=None)
@example("InvokeModel", {}, {"type": [], "stop_reason": []})
@given(operation=st.sampled_from(["Converse", "InvokeModel", "InvokeModelWithResponseStream"]), members=ODD, said=ODD)
def test_no_reader_raises(operation: str, members: Any, said: Any) -> None:
    """A request that makes no sense is Bedrock's to refuse; once it has answered, nothing of ours may fail."""
    body = members if isinstance(members, dict) else {"modelId": CLAUDE, "body": members, "messages": members}
    endpoint = RUNTIME[operation]
    assert endpoint.request is not None
    call = endpoint.request(body, (), Host())
    tokens.bound(call)
    assert endpoint.amend is not None
    endpoint.amend(body, 3, False, Host())
    answered(operation, said)
    for listening in ("ConverseStream", "InvokeModelWithResponseStream"):
        heard(listening, [said, {"chunk": {"bytes": json.dumps(said, default=str)}}])
