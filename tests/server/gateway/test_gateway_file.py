"""The gateway's file: every mistake in it is said, no secret of it ever is, and what it means is what is asked."""

from __future__ import annotations

import re
import time

import pytest

from budgetguard import ConfigError
from budgetguard.server.gateway.config.file import load, read
from budgetguard.server.gateway.config.models import read_model
from budgetguard.server.gateway.config.resolve import Configuration, NoRoute
from budgetguard.server.gateway.config.secrets import Secrets
from budgetguard.server.gateway.config.stanzas import Stanza
from budgetguard.server.gateway.config.tables.alerts import read_alerts
from budgetguard.server.gateway.config.tables.options import read_options
from budgetguard.server.gateway.config.upstreams import read_upstream
from budgetguard.testing import FakeProvider
from tests.support import ROOT

PAGE = ROOT / "docs/gateway/configuration.md"

ENVIRON = {"OPENAI_API_KEY": "sk-of-openai", "ANTHROPIC_API_KEY": "sk-of-anthropic"}

HOUSE = """
[gateway]
wait_s = 3
over_status = 422
forward = ["X-Trace"]
litellm = "/litellm"

[[upstream]]
name = "openai"
provider = "openai"
key = "env:OPENAI_API_KEY"

[[upstream]]
name = "claude"
provider = "anthropic"

[[upstream]]
name = "groq"
provider = "groq"
key = "file:groq.key"
headers = { x-team = "shop" }

[[upstream]]
name = "vertex"
provider = "vertex_ai"
project = "shop"
location = "global"
key = "env:OPENAI_API_KEY"

[[upstream]]
name = "local"
base = "http://gpu:8000"
anthropic = "http://gpu:8000"
free = true

[[model]]
name = "gpt-4o*"
upstreams = ["openai"]
fallbacks = ["fast", "claude-haiku-4-5"]

[[model]]
name = "gpt-*"
upstreams = ["local"]

[[model]]
name = "fast"
upstreams = [{ use = "groq", model = "openai/gpt-oss-20b", weight = 3 }, { use = "local", model = "qwen" }]
strategy = "weighted"
attempts = 5

[aliases]
best = "gpt-4o"

[prices.models.gemma-9b]
input = 0.1
output = 0.2

[settings]
abandoned = "held"

[[budget]]
name = "house"
limit = 500
period = "monthly"
"""


@pytest.fixture
def house(here) -> Configuration:
    """What a plain file means."""
    (here / "groq.key").write_text("gsk-of-groq\n")
    (here / "gateway.toml").write_text(HOUSE)
    return load(here / "gateway.toml", ENVIRON)


@pytest.fixture
def said(here):
    """Everything that is said of a file's text."""

    def of(text: str, **options) -> str:
        (here / "gateway.toml").write_text(text)
        return "\n".join(map(str, read(here / "gateway.toml", ENVIRON, **options).remarks))

    return of


def targets(route) -> list[tuple[str, str | None]]:
    """Of a route, which upstreams are asked for which model; what is said, where there is none."""
    assert not isinstance(route, NoRoute), route
    return [(each.upstream.name, each.model) for each in route.targets]


def test_a_file_says_who_is_asked_with_which_key_and_at_whose_prices(house):
    """A provider's row says all that an operator left out; what is stated wins over it."""
    openai, claude, groq, vertex, local = house.upstreams.values()
    assert openai.bases == {"openai": "https://api.openai.com/v1"}
    assert openai.headers == {"openai": (("authorization", "Bearer sk-of-openai"),)}
    assert claude.bases["anthropic"] == "https://api.anthropic.com/v1"
    assert claude.headers["anthropic"] == (("x-api-key", "sk-of-anthropic"), ("anthropic-version", "2023-06-01"))
    assert groq.headers["openai"] == (("authorization", "Bearer gsk-of-groq"), ("x-team", "shop"))
    assert local.bases == {"openai": "http://gpu:8000/v1", "anthropic": "http://gpu:8000/v1"}
    assert local.headers["openai"] == ()
    host = "https://aiplatform.googleapis.com/v1/projects/shop/locations/global"
    assert vertex.bases == {"openai": f"{host}/endpoints/openapi", "gemini": f"{host}/publishers/google"}
    assert vertex.headers["gemini"] == (("authorization", "Bearer sk-of-openai"),)
    assert [each.prices for each in house.upstreams.values()] == ["openai", "anthropic", "groq", "google", None]
    options = house.options
    assert (options.wait_s, options.over_status, options.forward, options.litellm) == (3, 422, ("x-trace",), "/litellm")
    assert [rule.name for rule in options.budgets] == ["house"]
    assert house.settings.abandoned == "held"
    assert house.prices.quote(None, "gemma-9b").model == "gemma-9b"


def test_no_secret_is_shown_by_what_was_read(house):
    """A configuration ends in a log sooner or later."""
    assert "sk-of" not in repr(house.upstreams) + repr(house.route("fast")) + repr(vars(house))


def test_a_model_is_found_by_its_table_an_alias_the_narrowest_glob_an_upstream_or_its_seller(house):
    """Each is how programs name models, and the first of these that fits is what the operator said."""
    assert targets(house.route("gpt-4o-mini")) == [("openai", "gpt-4o-mini")]
    assert targets(house.route("gpt-5")) == [("local", "gpt-5")]
    assert targets(house.route("fast")) == [("groq", "openai/gpt-oss-20b"), ("local", "qwen")]
    assert targets(house.route("best")) == [("openai", "gpt-4o")]
    assert targets(house.route("groq/openai/gpt-oss-20b")) == [("groq", "openai/gpt-oss-20b")]
    assert targets(house.route("anthropic/claude-haiku-4-5")) == [("claude", "claude-haiku-4-5")]
    assert targets(house.route("claude-haiku-4-5")) == [("claude", "claude-haiku-4-5")]
    assert targets(house.route("vertex/gemini-2.5-flash", "openai")) == [("vertex", "google/gemini-2.5-flash")]
    assert targets(house.route("vertex/gemini-2.5-flash", "gemini")) == [("vertex", "gemini-2.5-flash")]
    assert targets(house.route("local/whatever")) == [("local", "whatever")]


def test_a_star_stands_for_the_same_in_both_names(here, said):
    """So all models of a seller are asked for below a name of one's own, and a budget counts them by theirs."""
    text = (
        HOUSE
        + """
[[model]]
name = "quick/*"
upstreams = [{ use = "groq", model = "*" }]
"""
    )
    (here / "groq.key").write_text("gsk-of-groq")
    assert "quick" not in said(text)
    made = load(here / "gateway.toml", ENVIRON)
    route = made.route("quick/llama-3.1-8b-instant")
    assert (route.model, targets(route)) == ("llama-3.1-8b-instant", [("groq", "llama-3.1-8b-instant")])
    assert "quick/llama-3.1-8b-instant" in {card.id for card in made.models()}
    assert "a star stands for that of the name" in said(text.replace('"quick/*"', '"quick/?"'))


def test_a_base_url_may_be_in_a_variable(said, here):
    """Where a server is differs between stages, and the file does not."""
    text = "[[upstream]]\nname='x'\nbase='env:GPU'\nfree=true"
    assert "the variable GPU is not set" in said(text)
    assert (
        load(here / "gateway.toml", {"GPU": "http://gpu:8000"}).upstreams["x"].bases["openai"] == "http://gpu:8000/v1"
    )


def test_a_budget_on_a_model_is_not_passed_by_another_spelling(house):
    """Whoever writes openai/gpt-4o, or GPT-4O, would else be counted as somebody else's model."""
    assert house.route("openai/gpt-4o").model == house.route("best").model == "gpt-4o"
    for name in ("GPT-4o", "openai/GPT-4O", "gpt-4o-MINI", "claude/Claude-haiku-4-5"):
        found = house.route(name)
        assert isinstance(found, NoRoute), name
        assert found.near == (name.lower(),)
    for name in (" gpt-4o", "gpt-4o\n", "gpt\x00", "", "x" * 257):
        assert house.route(name).reason == "name"


def test_a_fallback_is_asked_for_by_its_own_name(house):
    """The request's body has the first model's."""
    route = house.route("gpt-4o", "openai")
    assert [(each.model, targets(each)) for each in route.fallbacks] == [
        ("fast", [("groq", "openai/gpt-oss-20b"), ("local", "qwen")]),
        ("claude-haiku-4-5", [("claude", "claude-haiku-4-5")]),
    ]
    assert [each.model for each in house.route("gpt-4o", "openai", "embeddings").fallbacks] == ["fast"]


def test_an_upstream_is_only_asked_by_an_api_that_it_speaks(house):
    """Nothing is translated: what nobody speaks is refused with a sentence that says how the model can be asked."""
    assert targets(house.route("fast", "anthropic")) == [("local", "qwen")]
    refused = house.route("gpt-4o", "anthropic")
    assert (refused.reason, refused.said) == (
        "dialect",
        "no upstream of 'gpt-4o' speaks Anthropic's API: it is asked for by OpenAI's API",
    )
    assert house.route("claude-haiku-4-5", "openai", "embeddings").reason == "dialect"
    assert targets(house.route("fast", "openai", "audio")) == [("groq", "openai/gpt-oss-20b"), ("local", "qwen")]


def test_who_asks_for_a_model_that_there_is_not_is_told_of_near_ones_that_the_key_may_use(house):
    """A typing mistake is seen at once, and nobody learns of names that are none of theirs."""
    refused = house.route("claude-haiku-45")
    assert refused.reason == "unknown"
    assert "Did you mean 'claude-haiku-4-5'" in refused.sentence()
    assert "Did you mean" not in refused.sentence(lambda name: name.startswith("gpt-"))


def test_wrong_names_take_nobodys_time(house):
    """Each is compared with a thousand others, while nobody else is answered: 100 of them a second were too many."""
    house.models()  # read once
    begin = time.process_time()
    for number in range(1_000):
        assert house.route(f"klaude-haiku-4-5-{number}").reason == "unknown"
    assert time.process_time() - begin < 1.5


def test_a_hundred_models_can_be_called_unlisted_and_each_that_is_listed_can_be_called(house):
    """A list that offers what is then refused is worse than none."""
    cards = list(house.models())
    assert len(cards) > 100
    for card in cards:
        assert not isinstance(house.route(card.id), NoRoute), card.id
    assert {"fast", "best", "gpt-4o", "claude-haiku-4-5"} <= {card.id for card in cards}
    assert len({card.id for card in cards}) == len(cards)


def test_models_without_a_table_can_be_turned_off(house, here):
    """An operator who lists models means these."""
    (here / "strict.toml").write_text(
        HOUSE.replace("wait_s = 3", "unlisted = false").replace(', "claude-haiku-4-5"', "")
    )
    strict = load(here / "strict.toml", ENVIRON)
    assert strict.route("claude-haiku-4-5").reason == strict.route("openai/o3").reason == "unknown"
    assert targets(strict.route("best")) == [("openai", "gpt-4o")]
    assert not any("/" in card.id for card in strict.models())


def test_names_from_outside_do_not_fill_the_memory(house):
    """Every request has a name, and whoever sends it chooses that."""
    for number in range(5_000):
        house.route(f"local/{number}")
    assert len(house._routes) <= 4_096


MISTAKES = """
pricse = "x"

[gateway]
wait = 3
over_status = 418
forward = ["Authorization"]

[[upstream]]
name = "openai"
provider = "opnai"
key = "sk-in-the-file"

[[upstream]]
name = "proxied"
base = "https://ann:sk-in-the-url@api.example.com/v1"
headers = { authorization = "Bearer sk-in-a-header", host = "other" }
api_key = "sk-at-an-unknown-key"

[[upstream]]
name = "plain"
base = "http://api.example.com/v1"
key = "env:NOT_SET"

[[model]]
name = "gpt-4o"
upstreams = ["opena", { use = "openai", weigth = 2 }]
strategy = "wieghted"
deadline_s = "soon"

[aliases]
x = 3

[[budget]]
name = "house"
limit = -1

[settings]
abandonned = "held"
"""


@pytest.mark.parametrize(
    "told",
    [
        "pricse: there is no such key (did you mean 'prices'?)",
        "[gateway] wait: there is no such key (did you mean 'wait_s'?)",
        "[gateway] over_status: 418 means something else: write one of 400",
        "[gateway] forward: authorization never goes on",
        "[[upstream]] 1 \"openai\" provider: 'opnai' is none that is known (did you mean 'openai'?)",
        '[[upstream]] 1 "openai" key: a secret is no text of this file: write "env:NAME"',
        "[[upstream]] 2 \"proxied\" base: a name or password stands before 'api.example.com'",
        '[[upstream]] 2 "proxied" headers.authorization: this header is a secret: write "env:NAME"',
        '[[upstream]] 2 "proxied" headers.host: no such header can be sent',
        '[[upstream]] 2 "proxied" api_key: write it as key',
        "[[upstream]] 3 \"plain\" base: http:// sends the key in clear to 'api.example.com'",
        '[[upstream]] 3 "plain" key: the variable NOT_SET is not set',
        "[[model]] 1 \"gpt-4o\" upstreams[1] use: no upstream is called 'opena' (did you mean 'openai'?)",
        "[[model]] 1 \"gpt-4o\" upstreams[2] weigth: there is no such key (did you mean 'weight'?)",
        "[[model]] 1 \"gpt-4o\" strategy: 'wieghted' is none that is known (did you mean 'weighted'?)",
        "[[model]] 1 \"gpt-4o\" deadline_s: 'soon' stands there: write seconds",
        "[aliases] x: write a name and the model that it means",
        '[[budget]] 1 "house": limit=-1 is negative',
        "[settings]: 'abandonned' is no setting",
    ],
)
def test_every_mistake_is_said_with_its_place_and_what_to_write(said, told):
    """A file is mended in one go, and not by one start after the other."""
    assert told in said(MISTAKES)


@pytest.mark.parametrize("name", ["key", "team", "end_user", "team gpt-4o*", "key o3"])
def test_no_budget_is_called_as_the_limits_of_an_owner_are(said, name):
    """What both counted would be one: every call of that key or team was refused as a fault of the server."""
    told = said(f'[[budget]]\nname = "{name}"\nlimit = 1\nper = ["team"]\n')
    assert any("is what the limits of keys and their owners are called" in each for each in told.splitlines())


def test_a_mistake_refuses_the_whole_file_and_no_secret_is_repeated(here):
    """Half a configuration routes calls to where nobody meant them; and errors end in logs."""
    (here / "gateway.toml").write_text(MISTAKES)
    with pytest.raises(ConfigError) as raised:
        load(here / "gateway.toml", ENVIRON)
    assert str(raised.value).count("\n") >= 19
    assert "sk-" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "[[upstream]]: there is none"),
        ("upstream = 3", "[[upstream]]"),
        ("[upstream]\nname='x'", "write each as a table of its own below [[upstream]]"),
        ("[[upstream]]\nname='x'", "nobody knows where it is: write provider ="),
        ("[[upstream]]\nname='x'\nprovider='azure'\nkey='env:OPENAI_API_KEY'", "base: it is missing: Azure OpenAI"),
        ("[[upstream]]\nname='x'\nprovider='vertex_ai'\nkey='env:OPENAI_API_KEY'", "needs a project"),
        ("[[upstream]]\nname='x'\nprovider='groq'", 'write key = "env:GROQ_API_KEY"'),
        ("[[upstream]]\nname='x'\nbase='ftp://x'", "this is no URL of a server"),
        ("[[upstream]]\nname='x'\nbase='https://x/v1?key=sk-1'", "something stands behind ? or #"),
        ("[[upstream]]\nname='x'\nbase='https://x'\nbeside=['responsess']", "'responsess' is none of them"),
        ("[[upstream]]\nname='x'\nbase='https://x'\n[[upstream]]\nname='x'\nbase='https://y'", "names are given once"),
        ("[[upstream]]\nname='x'\nbase='https://x'\n[aliases]\na='b'\nb='c'", "'b' is an alias, too"),
        ("[[upstream]]\nname='x'\nbase='https://x'\n[aliases]\na='gone'", "no model is called 'gone'"),
        (
            "[[upstream]]\nname='x'\nbase='https://x'\n[[model]]\nname='m'\nupstreams=['x']\nfallbacks=['gone']",
            "no model is called 'gone'",
        ),
        (
            "[[upstream]]\nname='x'\nbase='https://x'\n[[model]]\nname='m'\nupstreams=['x']\nover_budget=['gone']",
            "over_budget: no model is called 'gone'",
        ),
        (
            "[[upstream]]\nname='x'\nbase='https://x'\n[[model]]\nname='m'\nupstreams=['x']\nfallback='n'",
            "write fallbacks for when its upstreams fail, over_budget for when a budget has no room for it",
        ),
        (
            "[[upstream]]\nname='x'\nbase='https://x'\n[[model]]\nname='m'\nupstreams=['x']\ndegrade_at=0.5",
            "degrade_at: say which model is asked from then on",
        ),
        (
            "[[upstream]]\nname='x'\nbase='https://x'\n[[model]]\nname='m'\nupstreams=['x']\ndegrade_at=80",
            "80 stands there: write a part of the limit, above 0 and up to 1",
        ),
        (
            "[[upstream]]\nname='x'\nbase='https://x'\n[[budget]]\nname='b'\nlimit=1\nfallback='gone'",
            "[[budget]] \"b\" fallback: no model is called 'gone'",
        ),
        ("[[upstream]]\nname='x'\nbase='https://x'\n[prices.models.m]\ninput='much'", "[prices]: prices"),
        ("[[upstream]]\nname='x'\nbase='https://x'\n[prices]\nmodel={}", "did you mean 'models'?"),
    ],
)
def test_what_cannot_be_is_refused(said, text, told):
    """Each of these was a start that failed late, or a call that went to nobody."""
    assert told in said(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[model]]\nname='m'\nupstreams=['x']", "'m' has no price at 'x', so its calls are refused"),
        ("[[model]]\nname='m*'\nupstreams=['o']", "no model that has a price at 'o' is called 'm*'"),
        (
            "[[model]]\nname='gpt-4o'\nupstreams=[{use='o', weight=0}, 'x']\nstrategy='weighted'",
            "a weight of 0 is never asked first",
        ),
        ("[[model]]\nname='gpt-4o'\nupstreams=[{use='o', weight=2}]", 'weights count for nothing with "order"'),
        ("[[model]]\nname='gpt-4o'\nupstreams=['o']\nfallbacks=['gpt-4o']", "it is its own fallback"),
        (
            "[[model]]\nname='gpt-4o'\nupstreams=['o']\nfallbacks=['o1']\n"
            "[[model]]\nname='o1'\nupstreams=['o']\nfallbacks=['gpt-4o']",
            "'o1' falls back to 'gpt-4o' in turn",
        ),
        (
            "[[model]]\nname='gpt-4*'\nupstreams=['o']\n[[model]]\nname='*-mini'\nupstreams=['o']",
            "'*-mini' fits gpt-4.1-mini, gpt-4o-mini as well: the one above counts",
        ),
        (
            "[[model]]\nname='gpt-4o'\nupstreams=['o']\nover_budget=['gpt-4o']",
            "the model that there was no room for",
        ),
        (
            "[[budget]]\nname='b'\nlimit=1\nlease=true\nfallback='gpt-4o'\ndegrade_at=0.5",
            "what is spent of a budget that is leased is known to nobody call by call",
        ),
        ("[gateway]\nover_status=429", "SDKs try a 429 again"),
        ("[gateway]\nunlisted=false", "it is never asked"),
        ("", "[[budget]]: there is none, so only what keys, teams and users have of their own holds"),
        ("", "nobody knows whose prices count here"),
    ],
)
def test_what_is_hardly_meant_is_said_and_used_all_the_same(said, here, text, told):
    """A model that has no price is refused call by call: better to hear of it before."""
    both = "\n[[upstream]]\nname='o'\nprovider='openai'\n[[upstream]]\nname='x'\nbase='https://models.example'\n"
    assert told in said(text + both)
    assert load(here / "gateway.toml", ENVIRON)


def test_a_stated_base_takes_the_providers_other_apis_along_only_to_the_same_place(here):
    """A key must not go to the provider's own host for one API when the operator put a proxy before it."""

    def bases(stated: str) -> dict[str, str]:
        (here / "gateway.toml").write_text(f"[[upstream]]\nname='x'\nprovider='anthropic'\nbase='{stated}'")
        return dict(load(here / "gateway.toml", ENVIRON).upstreams["x"].bases)

    assert bases("https://proxy.example") == bases("https://proxy.example/v1/")
    assert bases("https://proxy.example") == {
        "openai": "https://proxy.example/v1",
        "anthropic": "https://proxy.example/v1",
    }
    assert bases("https://proxy.example/claude") == {"openai": "https://proxy.example/claude"}


def test_a_clients_own_base_url_does_not_point_the_gateway_at_itself(here, monkeypatch):
    """On a machine whose programs use the gateway, OPENAI_BASE_URL is the gateway's."""
    environ = {**ENVIRON, "OPENAI_BASE_URL": "http://localhost:8080/v1", "OPENAI_API_BASE": "http://localhost:8080/v1"}
    (here / "gateway.toml").write_text("[[upstream]]\nname='openai'\nprovider='openai'")
    for made in (load(here / "gateway.toml", environ), Configuration.of_environment(environ)):
        assert made.upstreams["openai"].bases["openai"] == "https://api.openai.com/v1"


def test_keys_may_be_missing_where_a_file_is_only_checked(said):
    """Its secrets are not where it is reviewed."""
    text = "[[upstream]]\nname='x'\nprovider='groq'\nkey='env:NOT_SET'"
    assert "NOT_SET" in said(text)
    assert "NOT_SET" not in said(text, secrets=False)
    assert "a secret is no text" in said("[[upstream]]\nname='x'\nprovider='groq'\nkey='sk-1'", secrets=False)


def test_without_a_file_every_provider_is_asked_whose_key_is_set():
    """A gateway runs with nothing but the keys that are there."""
    environ = {**ENVIRON, "GEMINI_API_KEY": "of-google", "AZURE_API_KEY": "of-azure", "GROQ_API_KEY": "  "}
    made = Configuration.of_environment(environ)
    assert list(made.upstreams) == ["openai", "anthropic", "gemini"]
    assert made.upstreams["gemini"].bases["gemini"] == "https://generativelanguage.googleapis.com/v1beta"
    assert dict(made.upstreams["gemini"].headers["gemini"]) == {"x-goog-api-key": "of-google"}
    assert re.match("AZURE_API_KEY is set, and yet azure is not asked: .*AZURE_API_BASE", made.passed_over[0])
    assert targets(made.route("gemini-2.5-flash")) == [("gemini", "gemini-2.5-flash")]


def test_the_demo_provider_sells_models_of_three_apis():
    """What the README shows has to work without a key."""
    with FakeProvider() as provider:
        for url in (provider.base_url, provider.root_url):
            made = Configuration.demo(url)
            for model, api in (("gpt-4o", "openai"), ("claude-haiku-4-5", "anthropic"), ("gemini-2.5-flash", "gemini")):
                (target,) = made.route(model, api).targets
                assert target.upstream.bases[api].startswith(provider.root_url + "/v1")


def test_the_pages_example_is_a_file_that_can_be_used(here):
    """It is what everybody begins with."""
    (text,) = re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    (here / "gateway.toml").write_text(text)
    found = read(here / "gateway.toml", {}, secrets=False)
    assert [str(each) for each in found.remarks] == []
    assert targets(found.configuration.route("own/llama")) == [("local", "llama")]
    assert targets(found.configuration.route("best")) == [("claude", "claude-opus-4-5")]


def test_the_page_names_every_key_that_a_file_may_have():
    """A key that nobody reads of is used by nobody."""
    text, remarks = PAGE.read_text("utf-8"), []
    for table in ("upstream", "model"):
        top = Stanza({table: [{"nothing": 1}]}, "", remarks)
        for stanza, _ in top.tables(table):
            read_upstream(stanza, Secrets({})) if table == "upstream" else read_model(stanza, {})
    read_options(Stanza({"nothing": 1}, "[gateway]", remarks), ())
    sinks = {kind: {"nothing": 1} for kind in ("webhook", "email")}
    read_alerts(Stanza({"nothing": 1, **sinks}, "[alerts]", remarks), Secrets({}))
    known = ", ".join(str(each).partition("there are ")[2] for each in remarks if "there is no such key" in str(each))
    assert {"retry_unknown", "read_s", "over_status"} <= set(known.split(", "))
    assert [key for key in known.split(", ") if f"`{key}`" not in text] == []
