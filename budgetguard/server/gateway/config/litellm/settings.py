"""LiteLLM's other sections: what they say of routing and of budgets is taken over, of the rest the names are said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .....errors import ConfigError
from ....problems import Refused
from ...litellm.durations import period_of
from .deployments import DeploymentReader, write_models
from .draft import Draft, DraftTable, listed, plain

_STRATEGIES = {
    "simple-shuffle": "weighted",
    "least-busy": "least_busy",
    "latency-based-routing": "fastest",
    "cost-based-routing": "cheapest",
    "usage-based-routing": "weighted",
    "usage-based-routing-v2": "weighted",
}
_MOST_ATTEMPTS = 100
_TAKEN = {
    "router_settings": {
        "routing_strategy",
        "fallbacks",
        "default_fallbacks",
        "num_retries",
        "timeout",
        "model_group_alias",
        "provider_budget_config",
    },
    "litellm_settings": {
        "max_budget",
        "budget_duration",
        "max_end_user_budget",
        "fallbacks",
        "default_fallbacks",
        "num_retries",
        "request_timeout",
        "model_alias_map",
    },
    "general_settings": {"master_key", "database_url", "global_max_parallel_requests"},
}


def draft_of(config: Mapping[str, Any]) -> Draft:
    """A gateway's file of LiteLLM's; raises `ConfigError` for what is none of its."""
    if not isinstance(config, Mapping) or not isinstance(config.get("model_list"), list):
        raise ConfigError("it has no model_list: is it a configuration of LiteLLM Proxy?")
    draft = Draft()
    router, settings, general = (_section(config, name, draft) for name in _TAKEN)
    deployments = DeploymentReader(draft)
    for raw in config["model_list"]:
        deployments.read(raw)
    strategy = _strategy(router, draft)
    write_models(draft, deployments.found, strategy, _common({**settings, **router}))
    _fallbacks(draft, [router, settings])
    _aliases(draft, {**_table(settings, "model_alias_map"), **_table(router, "model_group_alias")})
    _budgets(draft, settings, router)
    _parallel(draft, general.get("global_max_parallel_requests"))
    _general(draft, general)
    others = [key for key in config if key not in {*_TAKEN, "model_list", "environment_variables"}]
    if others:
        draft.note(listed(others), "these sections have no counterpart")
    if variables := _table(config, "environment_variables"):
        draft.note("environment_variables", f"set these for the gateway yourself: {listed(variables)}")
    if not draft.upstreams:
        raise ConfigError("none of its models can be asked here: " + "; ".join(draft.notes))
    return draft


def _section(config: Mapping[str, Any], name: str, draft: Draft) -> Mapping[str, Any]:
    found = _table(config, name)
    left = [key for key in found if key not in _TAKEN[name]]
    if left:
        draft.note(name, f"these have no counterpart: {listed(left)}")
    return found


def _strategy(router: Mapping[str, Any], draft: Draft) -> str:
    stated = router.get("routing_strategy", "simple-shuffle")
    if str(stated).startswith("usage-based"):
        draft.note(
            f"routing_strategy {plain(stated)}", "weighted comes nearest: nobody counts what a deployment has left"
        )
    if stated not in _STRATEGIES:
        draft.note(f"routing_strategy {plain(stated)}", "it has no counterpart: weighted stands for it")
    return _STRATEGIES.get(str(stated), "weighted")


def _common(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What every model has: how often and how long it is tried."""
    made: dict[str, Any] = {}
    retries, timeout = settings.get("num_retries"), settings.get("timeout", settings.get("request_timeout"))
    if isinstance(retries, int) and not isinstance(retries, bool) and retries >= 0:
        made["attempts"] = min(retries + 1, _MOST_ATTEMPTS)
    if isinstance(timeout, int | float) and not isinstance(timeout, bool) and 0 < timeout <= 86_400:
        made["deadline_s"] = timeout
    return made


def _fallbacks(draft: Draft, sections: list[Mapping[str, Any]]) -> None:
    models = {table.values["name"]: table for table in draft.models}
    for model, names in _pairs(each.get("fallbacks") for each in sections):
        default = model == "*"
        for table in models.values() if default else [models[model]] if model in models else []:
            _add(table, names, models, draft)
        if not default and model not in models:
            draft.note(f"fallbacks of {plain(model)}", "no model of the list is called so")
    for section in sections:
        stated = section.get("default_fallbacks")
        everywhere: list[Any] = stated if isinstance(stated, list) else []
        for table in models.values() if everywhere else ():
            _add(table, everywhere, models, draft)


def _pairs(stated: Any) -> Iterator[tuple[str, list[Any]]]:
    """LiteLLM's `[{model: [others]}]`."""
    for each in stated:
        for entry in each if isinstance(each, list) else ():
            for model, names in entry.items() if isinstance(entry, dict) else ():
                yield str(model), names if isinstance(names, list) else [names]


def _add(table: DraftTable, names: list[Any], models: Mapping[str, DraftTable], draft: Draft) -> None:
    own = table.values.setdefault("fallbacks", [])
    for name in names:
        if not isinstance(name, str) or name not in models or "*" in name:
            draft.note(f"fallback {plain(name)} of {plain(table.values['name'])}", "no model of the list is called so")
        elif name not in own and name != table.values["name"]:
            own.append(name)
    if not own:
        del table.values["fallbacks"]


def _aliases(draft: Draft, stated: Mapping[str, Any]) -> None:
    names = {table.values["name"] for table in draft.models}
    for alias, meant in stated.items():
        model = meant.get("model") if isinstance(meant, dict) else meant
        if not isinstance(model, str) or model not in names or alias in names or "*" in f"{alias}{model}":
            draft.note(f"alias {plain(alias)}", f"{plain(model)} is no model of the list that it can stand for")
        else:
            draft.aliases[str(alias)] = model


def _budgets(draft: Draft, settings: Mapping[str, Any], router: Mapping[str, Any]) -> None:
    if settings.get("max_budget") is not None:
        _budget(draft, "proxy", settings["max_budget"], settings.get("budget_duration"), {})
    if settings.get("max_end_user_budget") is not None:
        _budget(draft, "end users", settings["max_end_user_budget"], None, {"per": ["end_user"]})
    for provider, raw in _table(router, "provider_budget_config").items():
        if isinstance(raw, dict):
            limit, period = raw.get("budget_limit", raw.get("max_budget")), raw.get("time_period")
            match = {"match": {"provider": str(provider)}}
            _budget(draft, f"provider {provider}", limit, period or raw.get("budget_duration"), match)


def _budget(draft: Draft, name: str, limit: object, duration: object, more: Mapping[str, Any]) -> None:
    """A budget of dollars; LiteLLM's durations are calendar periods, or rolling ones."""
    if isinstance(limit, bool) or not isinstance(limit, int | float) or limit < 0:
        draft.note(f"budget {plain(name)}", "its limit is no number of dollars: it is left out; write one")
        return
    values: dict[str, Any] = {"name": name, "limit": limit}
    if duration is not None:
        try:
            values["period"] = period_of(str(duration), "budget_duration")
        except Refused as error:
            draft.note(f"budget {plain(name)}", f"{error}; it is for ever until you write another period")
    draft.budgets.append(DraftTable("[[budget]]", {**values, **more}))


def _parallel(draft: Draft, most: object) -> None:
    """How many calls of all there may be at once."""
    if isinstance(most, bool) or not isinstance(most, int) or most < 0:
        if most is not None:
            draft.note("global_max_parallel_requests", "it is no whole number: it is left out; write one")
        return
    draft.budgets.append(DraftTable("[[budget]]", {"name": "parallel", "limit": most, "unit": "parallel"}))


def _general(draft: Draft, general: Mapping[str, Any]) -> None:
    if "master_key" in general:
        told = "make one for people who look after keys: budgetguard keys create PROJECT --scope admin"
        draft.note("master_key", told)
    if "database_url" in general:
        draft.note("database_url", "its keys are taken over from a dump: budgetguard gateway import-keys FILE")


def _table(section: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = section.get(name)
    return found if isinstance(found, dict) else {}
