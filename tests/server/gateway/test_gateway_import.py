"""LiteLLM Proxy's configuration as a gateway's file: what it means is kept, what is lost said, no secret in it."""

from __future__ import annotations

import json
import re
from contextlib import closing
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import pytest

from budgetguard.budgets.accounts import read_balances
from budgetguard.server.gateway.config.file import Reading, read
from budgetguard.server.keys import KeyRing
from budgetguard.server.keys.limits import rules_of
from budgetguard.server.projects import OWN
from budgetguard.stores import open_store
from tests.support.commands import exit_code

SHOP = """
include: [more.yaml]
model_list:
  - model_name: gpt-3.5-turbo
    litellm_params:
      model: azure/chatgpt-v-2
      api_base: https://shop.openai.azure.com/
      api_version: "2023-05-15"
      api_key: os.environ/AZURE_API_KEY
      rpm: 480
    model_info: {base_model: gpt-3.5-turbo}
  - model_name: gpt-3.5-turbo
    litellm_params: {model: gpt-3.5-turbo-1106, api_key: os.environ/OPENAI_API_KEY, rpm: 960, stream_timeout: 60}
  - model_name: sagemaker
    litellm_params: {model: sagemaker/llama, input_cost_per_second: 0.00042}
  - model_name: own
    litellm_params:
      model: openai/my-model
      api_key: sk-in-the-yaml
      api_base: http://ann:sk-in-the-url@10.0.0.4:9000/
      input_cost_per_token: 0.000001
      output_cost_per_token: 0.000002
      temperature: 0.2
  - model_name: quick
    litellm_params: {model: groq/llama-3.1-8b-instant, api_key: os.environ/GROQ_API_KEY, order: 1}
  - model_name: quick
    litellm_params: {model: openai/gpt-4o-mini, api_key: os.environ/OPENAI_API_KEY, order: 2, timeout: 20}
  - model_name: claude
    litellm_params: {model: vertex_ai/claude-sonnet-4-5, vertex_project: shop}
litellm_settings:
  drop_params: true
  max_budget: 100
  budget_duration: 30d
  num_retries: 5
  request_timeout: 120
  context_window_fallbacks: [{gpt-3.5-turbo: [own]}]
  fallbacks: [{gpt-3.5-turbo: [own, gone]}]
router_settings:
  routing_strategy: simple-shuffle
  redis_password: sk-of-redis
  model_group_alias: {best: own, hidden: {model: quick, hidden: true}}
  provider_budget_config: {openai: {budget_limit: 10, time_period: 1d}}
general_settings: {master_key: sk-of-the-master, database_url: "postgresql://ann:sk-of-the-database@host/litellm"}
environment_variables: {REDIS_PASSWORD: sk-of-redis}
guardrails: [{guardrail_name: pii}]
"""
MORE = """
model_list:
  - model_name: "*"
    litellm_params: {model: "openai/*", api_key: os.environ/OPENAI_API_KEY}
  - model_name: "anthropic/*"
    litellm_params: {model: "anthropic/*", api_key: os.environ/ANTHROPIC_API_KEY}
"""


@pytest.fixture
def brought(here, capsys):
    """The text that the command makes of a file's, and what the gateway reads in it."""

    def of(text: str) -> tuple[str, Reading]:
        (here / "config.yaml").write_text(text)
        (here / "more.yaml").write_text(MORE)
        (here / "gateway.toml").unlink(missing_ok=True)
        assert exit_code("gateway", "import", "config.yaml", "-o", "gateway.toml") == 0
        capsys.readouterr()
        made = (here / "gateway.toml").read_text()
        return made, read(here / "gateway.toml", environ(made))

    return of


def environ(made: str) -> dict[str, str]:
    """Every variable that a file names, set to something."""
    known = {"GOOGLE_CLOUD_PROJECT": "shop", "AWS_REGION": "eu-west-1"}
    return known | {name: "https://x.example/v1" if "BASE" in name else "k" for name in re.findall(r"env:(\w+)", made)}


def test_what_a_configuration_means_is_kept(brought):
    """Programs go on with the names that they have, and ask the same deployments."""
    _, found = brought(SHOP)
    assert found.mistakes == []
    route = found.configuration.route
    places = {each.name: each.bases["openai"] for each in found.configuration.upstreams.values()}
    assert places["azure"] == "https://shop.openai.azure.com/openai/v1"
    assert places["openai-2"] == "http://10.0.0.4:9000/v1"
    asked = route("gpt-3.5-turbo")
    assert [tuple(each)[1:] for each in asked.targets] == [("chatgpt-v-2", 1), ("gpt-3.5-turbo-1106", 2)]
    assert (asked.strategy, asked.attempts, asked.deadline_s) == ("weighted", 6, 120)
    assert [each.model for each in asked.fallbacks] == ["own"]
    assert [each.upstream.name for each in route("quick").targets] == ["groq", "openai-3"]
    assert (route("quick").strategy, route("quick").targets[1].upstream.read_s) == ("order", 20)
    assert (route("best").model, route("hidden").model) == ("own", "quick")
    assert route("anthropic/claude-haiku-4-5").targets[0].model == "claude-haiku-4-5"
    assert route("o3").targets[0].upstream.provider == "openai"
    prices, usage = found.configuration.prices, {"input_tokens": 1_000, "output_tokens": 1_000}
    assert prices.tariff(None, "my-model", None, 0).cost(usage) == 3_000_000
    assert prices.quote("azure", "chatgpt-v-2").model == prices.quote("azure", "gpt-3.5-turbo").model


def test_budgets_and_rates_go_on(brought):
    """A limit that is lost on the way is the one thing that costs money."""
    _, found = brought(SHOP)
    rules = {each.name: each for each in found.configuration.options.budgets}
    assert (rules["proxy"].limit, rules["proxy"].period.name) == (100 * 10**9, "monthly")
    assert (rules["provider openai"].match, rules["provider openai"].period.name) == ({"provider": "openai"}, "daily")
    rate = rules["rpm of gpt-3.5-turbo"]
    assert (rate.limit, rate.unit, rate.period.name, rate.match) == (
        1440,
        "requests",
        "rolling 1m",
        {"model": "gpt-3.5-turbo"},
    )


LIMITED = """
model_list:
  - model_name: cheap
    litellm_params: {model: openai/gpt-4o-mini, api_key: os.environ/OPENAI_API_KEY, max_budget: 3, budget_duration: 1d}
litellm_settings: {max_end_user_budget: 0.5}
general_settings: {global_max_parallel_requests: 10}
"""


def test_limits_of_everybody_go_on(brought):
    """What each end user may spend, and how many calls there are at once: lost, a comment would be all that holds."""
    made, found = brought(LIMITED)
    assert found.mistakes == []
    rules = {each.name: each for each in found.configuration.options.budgets}
    assert (rules["end users"].limit, rules["end users"].per) == (10**9 // 2, ("end_user",))
    assert (rules["parallel"].limit, rules["parallel"].unit) == (10, "parallel")
    assert "these have no counterpart" not in made
    assert "model cheap: its max_budget is left out: write a [[budget]] with match = {" in made
    assert "requests are passed on as they are" not in made
    made, found = brought(LIMITED.replace("requests: 10", "requests: many"))
    assert "global_max_parallel_requests: it is no whole number: it is left out; write one" in made
    assert [each.name for each in found.configuration.options.budgets] == ["end users"]


def test_what_has_no_counterpart_is_a_comment(brought):
    """Whoever moves must know what does not hold any more, and not find out by a bill."""
    made, _ = brought(SHOP)
    comments = "\n".join(line for line in made.splitlines() if line.startswith("#"))
    for told in (
        "model sagemaker: it is left out: sagemaker is no provider",
        "model claude: it is left out: Claude is reached there by rawPredict alone",
        "model own: temperature of its litellm_params has no counterpart",
        "model gpt-3.5-turbo: stream_timeout of its litellm_params has no counterpart",
        "litellm_settings: these have no counterpart: drop_params, context_window_fallbacks",
        "router_settings: these have no counterpart: redis_password",
        "fallback gone of gpt-3.5-turbo: no model of the list is called so",
        "guardrails: these sections have no counterpart",
        "environment_variables: set these for the gateway yourself: REDIS_PASSWORD",
        "master_key: make one for people who look after keys: budgetguard keys create",
        "its key stood in the file as text: set the variable OPENAI_2_KEY to it",
        "a name, password or query stood in its URL",
        "what all of its 2 deployments may have together",
    ):
        assert told in comments, told


def test_no_secret_of_the_old_file_is_in_the_new_one(brought, capsys, here):
    """It will be put into a repository. The message about YAML that cannot be read repeats none either."""
    made, _ = brought(SHOP)
    assert "sk-" not in made
    (here / "broken.yaml").write_text("general_settings: {master_key: sk-of-the-master\n  : [")
    assert exit_code("gateway", "import", "broken.yaml") == 2
    assert "sk-" not in capsys.readouterr().err


def test_nothing_is_written_over(brought, here):
    """An operator may have worked on the file for a day."""
    brought(SHOP)
    before = (here / "gateway.toml").read_text()
    assert exit_code("gateway", "import", "config.yaml", "-o", "gateway.toml") == 2
    assert (here / "gateway.toml").read_text() == before


@pytest.mark.parametrize("text", ["", "[]", "model_list: 3", "model_list: []", "model_list: [{model_name: 3}, 4]"])
def test_what_is_no_configuration_of_litellms_is_refused(here, text):
    """An empty gateway would look like one that works."""
    (here / "config.yaml").write_text(text)
    assert exit_code("gateway", "import", "config.yaml") == 2


@pytest.mark.skipif(find_spec("litellm") is None, reason="litellm is not installed")
def test_every_configuration_that_litellm_ships_can_be_used(brought):
    """They are what people began with. Each is as it was written by others."""
    home = Path(next(iter(find_spec("litellm").submodule_search_locations))) / "proxy"
    texts = ((each, each.read_text("utf-8")) for each in home.rglob("*.yaml"))
    files = [each for each, text in texts if "litellm_params:" in text and "model_list:" in text]
    assert len(files) > 20
    for file in files:
        _, found = brought(file.read_text("utf-8").replace("include:", "x-include:"))
        assert found.mistakes == [], file.name


DIGESTS = {name: sha256(f"sk-{name}-0123456789abcdef".encode()).hexdigest() for name in ("ann", "bob", "cem", "dot")}
COLUMNS = "token,key_alias,spend,max_budget,budget_duration,user_id,team_id,models,expires,rpm_limit,metadata,budget_id"
DUMP = f"""{COLUMNS}
{DIGESTS["ann"]},ann's,4.5,5,30d,ann,,"{{gpt-4o,gpt-4o-mini}}",2031-01-01 00:00:00,60,"{{""tags"": [""env:prod""]}}",
{DIGESTS["bob"]},bob's,0,,,bob,search,"{{all-team-models}}",,,{{}},
{DIGESTS["cem"]},cem's,0,,,cem,,{{}},,,{{}},gold
sk-in-clear-0123456789,dot's,0,,,dot,,{{}},,,{{}},
"""


EMPTY = "model_max_budget,aliases,config,permissions,allowed_cache_controls,allowed_routes,policies,model_spend"
WHOLE = f"""{EMPTY},token,key_alias,models,metadata,blocked,tpm_limit,tpd_limit,max_budget,access_group_ids,budget_id
{"{}," * 8}{DIGESTS["ann"]},ann's,{{}},{{}},t,9000,,5,{{}},
{"{}," * 8}{DIGESTS["bob"]},bob's,{{}},{{}},,,70000,5,{{}},
{"{}," * 8}{DIGESTS["cem"]},cem's,{{}},{{}},,,,5,{{cheap}},
{"{}," * 8}{DIGESTS["dot"]},dot's,{{}},"{{""model_rpm_limit"": {{""o3"": 1}}}}",,,,5,{{}},
"""
"""A dump with columns that LiteLLM fills in: what is empty there is `{}`, an object's or an array's."""


@pytest.fixture
def keyed(here, capsys):
    """What the command says of a dump, and the ring of keys behind it."""

    def of(text: str, name: str = "keys.csv") -> tuple[int, dict[str, dict[str, str | None]]]:
        (here / name).write_text(text)
        code = exit_code("gateway", "import-keys", name, "--project", "shop", "--json", "--store", "sqlite:///b.db")
        return code, {each["name"]: each for each in json.loads(capsys.readouterr().out)}

    return of


def test_a_key_of_litellms_goes_on_under_its_limits_with_what_it_spent(keyed, here):
    """Its owner notices nothing, and does not get a month's money twice."""
    code, found = keyed(DUMP)
    assert code == 1
    with closing(open_store("sqlite:///b.db", namespace=OWN)) as own:
        key = KeyRing(own).get(found["ann's"]["prefix"])
    grant = key.grant
    assert (key.digest, key.project, key.scope) == (DIGESTS["ann"], "shop", "call")
    assert (grant.user, grant.models, grant.tags) == ("ann", ("gpt-4o", "gpt-4o-mini"), {"env": "prod"})
    (dollars,) = grant.limits.dollars
    assert (dollars.limit, dollars.period, grant.limits.rpm) == (5 * 10**9, "monthly", 60)
    assert grant.expires_ms == 1_924_992_000_000
    with closing(open_store("sqlite:///b.db", namespace="shop")) as books:
        rule = next(each for each in rules_of("key", grant.limits) if each.unit == "dollars")
        (balance,) = read_balances(books, [rule.account_of(key.prefix, books.now_ms())])
    assert balance.settled == 4_500_000_000


def test_a_dump_as_postgresql_writes_it_is_read(keyed, here):
    """Empty objects and empty arrays look the same in it, and every key has some: none may be lost for them."""
    _, found = keyed(WHOLE)
    assert found["ann's"]["said"] == ""
    with closing(open_store("sqlite:///b.db", namespace=OWN)) as own:
        key = KeyRing(own).get(found["ann's"]["prefix"])
    assert (key.blocked, key.grant.models, key.grant.limits.tpm) == (True, (), 9000)
    assert [(each.limit, each.model) for each in key.grant.limits.dollars] == [(5 * 10**9, "")]
    told = {name: row["said"].partition(" limits it")[0] for name, row in found.items() if row["prefix"] is None}
    assert told == {"bob's": "tpd_limit", "cem's": "access_group_ids", "dot's": "metadata.model_rpm_limit"}


def test_a_key_that_would_be_looser_is_left_out_and_said(keyed):
    """What limited it is in another table, or is no limit here: nobody would miss it before the bill."""
    _, found = keyed(DUMP)
    assert "budget_id limits it" in found["cem's"]["said"]
    assert "models of team 'search', which is not there" in found["bob's"]["said"]
    assert found["dot's"] == {"name": "dot's", "prefix": None, "said": "its token is no SHA-256 in hexadecimal digits"}


def test_a_dump_is_taken_over_once(keyed):
    """Whoever does it again, after a row was mended, does not book what was spent a second time."""
    keyed(DUMP)
    assert keyed(DUMP)[1]["ann's"]["said"] == "it is there already"
    rows = [{"token": DIGESTS["dot"], "key_alias": "new", "models": [], "spend": 0, "blocked": True}]
    assert keyed(json.dumps(rows), "keys.json")[1]["new"]["prefix"]
    assert exit_code("gateway", "import-keys", "gone.csv", "--project", "shop") == 2
