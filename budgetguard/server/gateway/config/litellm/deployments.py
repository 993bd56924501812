"""
LiteLLM's `model_list`: each way to an upstream becomes one, and the deployments of a name its candidates.

Two deployments have one upstream where they are at the same place with the same key and time-out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import gcd
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from .....providers.table import ProviderRow, by_prefix
from ..secrets import read_url
from .draft import Draft, DraftTable, listed, plain

_SPELT = {
    "text-completion-openai": "openai",
    "custom_openai": "openai",
    "openai_like": "openai",
    "azure_text": "azure",
    "vertex_ai_beta": "vertex_ai",
    "text-completion-codestral": "codestral",
}
"""Names of LiteLLM's for other ways to the same provider."""
_BEGINNINGS = (("claude", "anthropic"), ("gemini", "gemini"), ("command", "cohere"), ("mistral", "mistral"))
"""Whose a model without a provider is, by how its name begins; else it is OpenAI's."""
_PRICES = ("input_cost_per_", "output_cost_per_", "cache_read_input_token_cost", "cache_creation_input_token_cost")
_KNOWN = frozenset({"model", "api_key", "api_base", "base_url", "custom_llm_provider", "weight", "order", "rpm", "tpm"})
_PARTS = {
    "vertex_project": "project",
    "vertex_location": "location",
    "aws_region_name": "region",
}
_HERE = frozenset({*_KNOWN, *_PARTS, "timeout", "api_version"})
_LIMITS = frozenset({"max_budget", "budget_duration"})
_UNUSED_INFO = frozenset({"id", "mode", "base_model", "max_output_tokens", "max_input_tokens", "max_tokens"})


class OldDeployment(NamedTuple):
    """One entry of the list, as far as it can be had here."""

    name: str
    upstream: str
    model: str
    params: Mapping[str, Any]
    weight: float | None
    order: int


class DeploymentReader:
    """Reads the list into a draft; `found` are the deployments of each name."""

    def __init__(self, draft: Draft) -> None:
        self.found: dict[str, list[OldDeployment]] = {}
        self._draft = draft
        self._upstreams: dict[tuple[Any, ...], str] = {}

    def read(self, raw: object) -> None:
        """Take one entry over, or say why it is left out."""
        params = raw.get("litellm_params") if isinstance(raw, dict) else None
        name = raw.get("model_name") if isinstance(raw, dict) else None
        if not isinstance(raw, dict) or not isinstance(params, dict) or not isinstance(name, str):
            self._draft.note("model_list", "an entry without model_name and litellm_params is left out")
            return
        model = params.get("model")
        if not isinstance(model, str) or not model:
            self._draft.note(f"model {plain(name)}", "it is left out: its litellm_params name no model")
            return
        row, sent = self._provider(name, model, params)
        info = raw.get("model_info") if isinstance(raw.get("model_info"), dict) else {}
        if row is None or not sent or not self._fits(name, row, sent):
            return
        if row.name == "vertex_ai" and sent.startswith("claude"):
            told = "it is left out: Claude is reached there by rawPredict alone, which is not spoken here"
            self._draft.note(f"model {plain(name)}", told)
            return
        upstream = self._upstream(row, params)
        limits = {**{key: raw[key] for key in ("rpm", "tpm") if key in raw}, **params}
        deployment = OldDeployment(name, upstream, sent, limits, _weight(limits), _whole(params.get("order")) or 0)
        self.found.setdefault(name, []).append(deployment)
        self._price(deployment, {**(info or {}), **params})
        self._rest(name, params, info or {})

    def _provider(self, name: str, model: str, params: Mapping[str, Any]) -> tuple[ProviderRow | None, str]:
        """Whose a model is, and what it is called there."""
        prefix, slash, rest = model.partition("/")
        stated = params.get("custom_llm_provider")
        if isinstance(stated, str) and stated:
            prefix, rest = stated, rest if slash and prefix == stated else model
        elif not slash:
            begun = (whose for beginning, whose in _BEGINNINGS if model.startswith(beginning))
            prefix, rest = next(begun, "openai"), model
        row = by_prefix().get(_SPELT.get(prefix, prefix))
        if row is None:
            told = f"it is left out: {plain(prefix)} is no provider that is asked here"
            self._draft.note(f"model {plain(name)}", told)
        elif not rest:
            self._draft.note(f"model {plain(name)}", "it is left out: its model is not named")
        return row, rest

    def _fits(self, name: str, row: ProviderRow, sent: str) -> bool:
        """Whether a pattern can be had: a star at the end of both names, and nowhere else."""
        stars = [each.count("*") for each in (name, sent)]
        if stars in ([0, 0], [1, 1]) and all(each.endswith("*") for each in (name, sent) if "*" in each):
            return True
        told = f"it is left out: a pattern has one star, at its end, in its own name as in {row.name}'s"
        self._draft.note(f"model {plain(name)}", told)
        return False

    def _upstream(self, row: ProviderRow, params: Mapping[str, Any]) -> str:
        """The upstream of a deployment, made with the first that needs it."""
        stated = params.get("api_base") or params.get("base_url")
        parts = {part: str(params[key]) for key, part in _PARTS.items() if part in row.parts and params.get(key)}
        timeout = _number(params.get("timeout"))
        key = (row.name, str(stated), str(params.get("api_key")), tuple(parts.items()), timeout)
        if key in self._upstreams:
            return self._upstreams[key]
        taken = {*self._upstreams.values()}
        name = next(each for each in _names(row.name) if each not in taken)
        self._upstreams[key] = name
        table = DraftTable("[[upstream]]", {"name": name, "provider": row.name})
        self._place(table, row, stated)
        self._parts(table, row, parts)
        self._key(table, row, name, params.get("api_key"))
        if timeout:
            table.values["read_s"] = timeout
        if params.get("api_version") is not None:
            table.notes.append(f"{name}: its v1 API is asked, which has no api_version")
        self._draft.upstreams.append(table)
        return name

    def _place(self, table: DraftTable, row: ProviderRow, stated: object) -> None:
        """Its base URL: as it was stated, in a variable, or the provider's own."""
        if isinstance(stated, str) and stated:
            if variable := _variable(stated):
                table.values["base"] = f"env:{variable}"
                return
            parts = urlsplit(stated) if "[" not in stated else urlsplit("")
            bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
            url, lacking = read_url(bare, insecure=True)
            table.values["base"] = url
            if row.name == "openai" and not lacking:
                table.values.pop("provider")  # a server of its protocol, and not OpenAI
            if bare != stated:
                table.notes.append("a name, password or query stood in its URL: write it as key, or in headers")
            if lacking:
                table.values["base"] = "https://write-the-base-url.invalid/v1"
                table.notes.append(f"its base URL could not be used: {lacking}")
            elif read_url(bare, insecure=False)[1]:
                table.values["insecure"] = True
                table.notes.append("http:// to this host sends the key in clear")
        elif not row.base:
            table.values["base"] = f"env:{row.bases[0]}"

    def _parts(self, table: DraftTable, row: ProviderRow, said: Mapping[str, str]) -> None:
        """The region or project of its URL; what the file does not say is in a variable, or has to be written."""
        for part, names in row.parts.items():
            stated = said.get(part, "")
            if variable := _variable(stated):
                table.notes.append(f"its {part} was in the variable {variable}: write it here, or set {names[0]} to it")
            elif stated:
                table.values[part] = stated
            elif part not in row.defaults and "base" not in table.values:
                table.notes.append(f'its {part} is not in the old file: write {part} = "...", or set {names[0]}')
        if row.note:
            table.notes.append(row.note)

    def _key(self, table: DraftTable, row: ProviderRow, name: str, stated: object) -> None:
        variable = _variable(stated)
        if variable:
            table.values["key"] = f"env:{variable}"
        elif isinstance(stated, str) and stated and stated.lower() not in {"none", "not-needed", "dummy"}:
            variable = f"{''.join(letter if letter.isalnum() else '_' for letter in name).upper()}_KEY"
            table.values["key"] = f"env:{variable}"
            table.notes.append(f"its key stood in the file as text: set the variable {variable} to it")
        elif "provider" in table.values and not row.open:
            table.values["key"] = f"env:{row.keys[0]}"

    def _price(self, deployment: OldDeployment, said: Mapping[str, Any]) -> None:
        """What it costs, where the file says that, in LiteLLM's words; else whose price it has."""
        name = deployment.model
        price = {key: value for key, value in said.items() if key.startswith(_PRICES) and _number(value) is not None}
        tokens = [key for key in price if key.endswith(("_token", "_token_cost"))]
        if dropped := sorted(set(price) - set(tokens)):
            self._draft.note(
                f"model {plain(deployment.name)}", f"{listed(dropped)} is no price of tokens, and left out"
            )
        if tokens and "*" not in name:
            found = {key: price[key] for key in tokens}
            if self._draft.prices.setdefault(name, found) != found:
                self._draft.note(f"model {plain(name)}", "it has two prices in the old file: the first is written down")
        base = said.get("base_model")
        if not tokens and isinstance(base, str) and base and base != name:
            self._draft.deployments.setdefault(name, base.rpartition("/")[2])

    def _rest(self, name: str, params: Mapping[str, Any], info: Mapping[str, Any]) -> None:
        if params.get("max_budget") is not None:
            told = "its max_budget is left out: write a [[budget]] with match = { upstream = ..., model = ... }"
            self._draft.note(f"model {plain(name)}", told)
        left = [key for key in params if key not in _HERE | _LIMITS and not key.startswith(_PRICES)]
        if left:
            told = f"{listed(left)} of its litellm_params has no counterpart: requests are passed on as they are"
            self._draft.note(f"model {plain(name)}", told)
        kept = [key for key in info if key not in _UNUSED_INFO and not key.startswith(_PRICES)]
        if kept:
            self._draft.note(f"model {plain(name)}", f"{listed(kept)} of its model_info is not used here")


def write_models(
    draft: Draft, found: Mapping[str, list[OldDeployment]], strategy: str, common: Mapping[str, Any]
) -> None:
    """A table for every name, with the deployments as candidates."""
    for name, deployments in found.items():
        ordered = sorted(deployments, key=lambda each: each.order)
        how = "order" if len({each.order for each in deployments}) > 1 else strategy
        weights = _weights([each.weight for each in ordered]) if how == "weighted" else [1] * len(ordered)
        table = DraftTable("[[model]]", {"name": name})
        table.values["upstreams"] = [_target(name, each, weight) for each, weight in zip(ordered, weights, strict=True)]
        if len(ordered) > 1:
            table.values["strategy"] = how
        table.values.update(common)
        draft.models.append(table)
        _limit(draft, name, ordered)


def _target(name: str, each: OldDeployment, weight: int) -> Any:
    model = {} if each.model == name else {"model": each.model}
    more = {**model, **({"weight": weight} if weight != 1 else {})}
    return {"use": each.upstream, **more} if more else each.upstream


def _limit(draft: Draft, name: str, deployments: list[OldDeployment]) -> None:
    """The rates of its deployments, as one for the name: a budget of requests or tokens in any minute."""
    for key, unit in (("rpm", "requests"), ("tpm", "tokens")):
        rates = [_whole(each.params.get(key)) for each in deployments]
        if not any(rates):
            continue
        if not all(rates):
            draft.note(f"model {plain(name)}", f"its {key} is left out: not all of its deployments have one")
            continue
        if "*" in name:
            draft.note(f"model {plain(name)}", f"its {key} is left out: it is none of a single model")
            continue
        values = {"name": f"{key} of {name}", "limit": sum(filter(None, rates)), "unit": unit, "period": "rolling 1m"}
        table = DraftTable("[[budget]]", {**values, "match": {"model": name}})
        if len(rates) > 1:
            table.notes.append(f"what all of its {len(rates)} deployments may have together")
        draft.budgets.append(table)


def _names(stem: str) -> Iterator[str]:
    yield stem
    number = 2
    while True:
        yield f"{stem}-{number}"
        number += 1


def _variable(stated: object) -> str | None:
    """The variable that LiteLLM's `os.environ/NAME` names."""
    if not isinstance(stated, str) or not stated.startswith("os.environ/"):
        return None
    name = stated.removeprefix("os.environ/").strip()
    return name if name and all(letter.isalnum() or letter == "_" for letter in name) else None


def _weight(params: Mapping[str, Any]) -> float | None:
    """LiteLLM draws by `weight`, else by `rpm`, else by `tpm`."""
    return next((value for key in ("weight", "rpm", "tpm") if (value := _number(params.get(key))) is not None), None)


def _weights(stated: list[float | None]) -> list[int]:
    """Whole weights in the same proportion; all alike where some have none."""
    if any(each is None or each <= 0 for each in stated):
        return [1] * len(stated)
    whole = [max(round((each or 0) * 1000), 1) for each in stated]
    common = gcd(*whole)
    return [min(each // common, 1_000_000) for each in whole]


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def _whole(value: object) -> int | None:
    number = _number(value)
    return None if number is None or number != int(number) or number < 1 else int(number)
