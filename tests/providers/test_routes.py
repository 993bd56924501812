"""The table of providers, and where a model is asked for that names one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import budgetguard
from budgetguard import ConfigError, PriceBook
from budgetguard.providers.routes import api_key, base_url, named
from budgetguard.providers.table import ProviderRow, by_prefix, providers
from tests.support.commands import exit_code

FILE = Path(budgetguard.__file__).parent / "providers" / "providers.toml"
SAID = {
    "AWS_REGION_NAME": "eu-west-1",
    "AZURE_AI_API_BASE": "https://shop.services.ai.azure.com",
    "AZURE_API_BASE": "https://shop.openai.azure.com",
    "DATABRICKS_API_BASE": "https://shop.cloud.databricks.com",
    "LITELLM_PROXY_API_BASE": "https://proxy.shop.example",
    "VERTEXAI_PROJECT": "shop",
}
"""What has to be said of the providers that are elsewhere for everybody."""


def test_every_row_has_a_source_and_a_date():
    """A fact that nobody can look up again is none."""
    rows = tomllib.loads(FILE.read_text("utf-8")).values()
    assert all(row["source"] and row["date"].year >= 2026 for row in rows)
    assert {field for row in rows for field in row} <= {*ProviderRow.__dataclass_fields__, "source", "date"}


def test_no_prefix_is_that_of_two_providers():
    """Whose key a call takes must not depend on the order of a file."""
    assert len(by_prefix()) == sum(1 + len(each.aliases) for each in providers().values())


@pytest.mark.parametrize("name", providers())
def test_a_provider_is_priced_as_itself_at_its_own_host(name):
    """Else a call of its own name would cost what another provider takes, or be refused."""
    provider = providers()[name]
    url = urlsplit(base_url(provider, SAID))
    assert url.scheme == "https" or provider.open
    found = PriceBook().provider(url.hostname or "", url.path)
    if provider.prices is not None:
        assert found == provider.prices


@pytest.mark.skipif(find_spec("litellm") is None, reason="litellm is not installed")
def test_names_keys_and_hosts_are_litellms():
    """A program that was written for it finds the same provider, with the key that it has set."""
    home = Path(next(iter(find_spec("litellm").submodule_search_locations)))
    files = [home / "main.py", home / "litellm_core_utils/get_llm_provider_logic.py", home / "types/utils.py"]
    common = "".join(each.read_text("utf-8") for each in [*files, home / "llms/openai_like/providers.json"])
    differ = {"name": set(), "key": set(), "host": set()}
    for name, provider in providers().items():
        text = common + "".join(each.read_text("utf-8") for each in (home / "llms" / name).rglob("*.py"))
        url = urlsplit(provider.base)
        if f'"{name}"' not in text:
            differ["name"].add(name)
        if not provider.open and not any(f'"{key}"' in text for key in provider.keys):
            differ["key"].add(name)
        if not (provider.open or provider.parts) and url.hostname and url.hostname not in text:
            differ["host"].add(name)
    # Ours alone; litellm has Google's credentials in a file; GitHub's and Meta's older hosts, which went on.
    assert differ == {"name": {"sglang"}, "key": {"vertex_ai"}, "host": {"github"}}


def test_a_name_says_who_is_asked_and_for_what():
    """These are the names that people write."""
    known = providers()
    for model, expected in {
        "gpt-4o": ("openai", "gpt-4o"),
        "openai/gpt-4o": ("openai", "gpt-4o"),
        "anthropic/claude-haiku-4-5": ("anthropic", "claude-haiku-4-5"),
        "openrouter/meta-llama/llama-3.3-70b-instruct": ("openrouter", "meta-llama/llama-3.3-70b-instruct"),
        "together/meta-llama/Llama-3.3-70B": ("together_ai", "meta-llama/Llama-3.3-70B"),
        "vertex_ai/gemini-2.5-flash": ("vertex_ai", "google/gemini-2.5-flash"),
        "vertex_ai/meta/llama-4-scout": ("vertex_ai", "meta/llama-4-scout"),
        "Groq/llama-3.1-8b-instant": ("groq", "llama-3.1-8b-instant"),
        "ollama/llama3.2:3b": ("ollama", "llama3.2:3b"),
    }.items():
        assert named(model, placed=False) == (known[expected[0]], expected[1])
    assert named("meta-llama/Llama-3-70b", placed=True) == (known["openai"], "meta-llama/Llama-3-70b")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("grok/grok-4", "Did you mean groq/?"),
        ("meta-llama/Llama-3-70b", "base_url= or OPENAI_BASE_URL"),
        ("antropic/claude-haiku-4-5", "anthropic/"),
        ("groq/", "'groq/name-of-the-model'"),
        ("cloudflare/llama", "no provider is called 'cloudflare'. There are"),
    ],
)
def test_a_name_that_means_nobody_is_told_of_before_anything_is_sent(model, said):
    """OpenAI would be asked for it, with OpenAI's key, and say that it has no such model."""
    with pytest.raises(ConfigError, match=re.escape(said)):
        named(model, placed=False)


@pytest.mark.parametrize(
    ("name", "environ", "expected"),
    [
        ("groq", {"GROQ_API_BASE": "http://proxy:1/groq/"}, "http://proxy:1/groq/"),
        ("ollama", {"OLLAMA_API_BASE": "http://gpu:11434"}, "http://gpu:11434/v1"),
        ("ollama", {"OLLAMA_API_BASE": "http://gpu:11434/"}, "http://gpu:11434/v1"),
        ("gemini", {"GEMINI_API_BASE": "https://proxy"}, "https://proxy/v1beta/openai"),
        ("azure", {"AZURE_API_BASE": "https://shop.openai.azure.com"}, "https://shop.openai.azure.com/openai/v1"),
        ("azure", {"AZURE_OPENAI_ENDPOINT": "https://a.example/openai/v1/"}, "https://a.example/openai/v1/"),
        ("bedrock", {"AWS_REGION": "us-west-2"}, "https://bedrock-runtime.us-west-2.amazonaws.com/openai/v1"),
        (
            "vertex_ai",
            {"GOOGLE_CLOUD_PROJECT": "p", "VERTEXAI_LOCATION": "global"},
            "https://aiplatform.googleapis.com/v1/projects/p/locations/global/endpoints/openapi",
        ),
        (
            "vertex_ai",
            {"GOOGLE_CLOUD_PROJECT": "p"},
            "https://us-central1-aiplatform.googleapis.com/v1/projects/p/locations/us-central1/endpoints/openapi",
        ),
    ],
)
def test_variables_say_where_a_provider_is(name, environ, expected):
    """A proxy, a region, a resource of one's own: the variables are those that people have set."""
    assert base_url(providers()[name], environ) == expected


def test_what_is_not_said_is_asked_for_by_the_variable_to_set():
    """Whoever reads the message knows the next line to write."""
    known = providers()
    for raising, said in (
        (lambda: base_url(known["azure"], {}), "set AZURE_API_BASE"),
        (lambda: base_url(known["bedrock"], {}), "needs a region: set AWS_REGION_NAME or AWS_REGION"),
        (lambda: base_url(known["bedrock"], {"AWS_REGION": "evil.example/x"}), "is no region"),
        (lambda: base_url(known["ollama"], {"OLLAMA_API_BASE": "localhost:11434"}), "begins with http://"),
        (lambda: base_url(known["groq"], {}, "http://[::1"), "begins with http://"),
        (lambda: api_key(known["groq"], {"GROQ_API_KEY": " "}), "set GROQ"),
        (lambda: api_key(known["groq"], {}), "set GROQ_API_KEY"),
        (lambda: api_key(known["gemini"], {}), "GEMINI_API_KEY (or GOOGLE_API_KEY)"),
        (lambda: api_key(known["vertex_ai"], {}), "gcloud auth print-access-token"),
    ):
        with pytest.raises(ConfigError, match=re.escape(said)):
            raising()
    assert api_key(known["ollama"], {}) == "none"


def test_the_command_lists_them_and_shows_no_key(monkeypatch, capsys):
    """Which key is set is shown by its variable; a password in a base URL is nobody's business either."""
    monkeypatch.setenv("GROQ_API_KEY", "gsk-secret")
    monkeypatch.setenv("HOSTED_VLLM_API_BASE", "http://me:secret@gpu:8000/v1")
    assert exit_code("providers", "--json") == 0
    text = capsys.readouterr().out
    listed = {each["provider"]: each for each in json.loads(text)}
    assert exit_code("providers") == 0
    shown = capsys.readouterr().out
    assert "secret" not in text + shown
    assert listed.keys() == providers().keys()
    assert listed["groq"]["key"] == "GROQ_API_KEY"
    assert listed["hosted_vllm"]["base_url"] == "http://gpu:8000/v1"
    assert listed["anthropic"]["anthropic_base_url"] == "https://api.anthropic.com"
    assert "responses" in listed["groq"]["speaks"]
    assert "together_ai/ together/" in shown


def test_a_server_can_use_the_table():
    """A gateway routes by it, in a process in which nothing is patched and no SDK is loaded."""
    program = (
        "import sys; from budgetguard.providers import routes, table; table.providers(); "
        "print([name for name in sys.modules if name.startswith(('budgetguard.sdks', 'budgetguard.completions')) "
        "or name in {'openai', 'wrapt'}])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
