"""`/model/info` and `/health`: which models there are, where they are asked for, and which upstreams answer lately."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple

from msgspec import Struct

from ....api.action import Action, Ask
from ....keys import ADMIN, CALL, Caller
from ..office import missing
from ..said import Short
from ..version import LITELLM_VERSION

MOST_LISTED = 10_000
_BOTH = frozenset({ADMIN, CALL})


class ModelPlace(NamedTuple):
    """A model at one of the upstreams where it is asked for."""

    model: str
    """What programs ask for."""
    upstream: str
    provider: str
    model_there: str
    input_cost: float | None = None
    """Dollars a token; `None`: nobody knows."""
    output_cost: float | None = None

    @property
    def id(self) -> str:
        """Its name in LiteLLM's rows and headers."""
        return f"{self.upstream}/{self.model_there}"


class ModelQuery(Struct, frozen=True):
    """Which model, by the name that answers have in `x-litellm-model-id`; `None`: all."""

    litellm_model_id: Short | None = None


class HealthQuery(Struct, frozen=True):
    """Which model."""

    model: Short | None = None


class ModelAdmin:
    """
    The endpoints over what the gateway says of itself.

    `cooling` says of upstreams that failed lately for how many seconds they are not asked.
    """

    def __init__(
        self, deployments: Callable[[], Iterable[ModelPlace]], cooling: Callable[[], Mapping[str, float]]
    ) -> None:
        self._deployments = deployments
        self._cooling = cooling

    def info(self, ask: Ask) -> dict[str, Any]:
        """Every model that this key may call, once for each upstream of it; no address and no key of one is said."""
        wanted = ask.query.litellm_model_id
        rows = [_row(each) for each in self._of(ask.caller) if wanted in {None, each.id}]
        if wanted is not None and not rows:
            raise missing(f"Model id = {wanted[:200]} not found on litellm proxy", "litellm_model_id")
        return {"data": rows}

    def health(self, ask: Ask) -> dict[str, Any]:
        """Which upstreams answered lately: nothing is sent to find it out, as that would cost something."""
        wanted, cooling = ask.query.model, self._cooling()
        healthy, unhealthy = list[dict[str, Any]](), list[dict[str, Any]]()
        for each in self._of(ask.caller):
            if wanted in {None, each.model}:
                said = {"model": f"{each.provider}/{each.model_there}", "model_id": each.id}
                if each.upstream in cooling:
                    told = f"it failed lately, and is asked again in {cooling[each.upstream]:.0f} s"
                    unhealthy.append({**said, "error": told})
                else:
                    healthy.append(said)
        return {
            "healthy_endpoints": healthy,
            "unhealthy_endpoints": unhealthy,
            "healthy_count": len(healthy),
            "unhealthy_count": len(unhealthy),
        }

    def _of(self, caller: Caller) -> list[ModelPlace]:
        allowed = (each for each in self._deployments() if caller.allows(each.model))
        return list(islice(allowed, MOST_LISTED))

    def actions(self) -> list[Action]:
        """The table."""
        return [
            Action("GET", "/model/info", self.info, dict, _BOTH, query=ModelQuery, slow=True),
            Action("GET", "/v1/model/info", self.info, dict, _BOTH, query=ModelQuery, slow=True),
            Action("GET", "/health", self.health, dict, _BOTH, query=HealthQuery, slow=True),
        ]


def readiness() -> dict[str, str]:
    """The answer of a server that can reach its store."""
    return {"status": "healthy", "db": "connected", "litellm_version": LITELLM_VERSION}


def _row(each: ModelPlace) -> dict[str, Any]:
    return {
        "model_name": each.model,
        "litellm_params": {"model": f"{each.provider}/{each.model_there}", "custom_llm_provider": each.provider},
        "model_info": {
            "id": each.id,
            "db_model": False,
            "input_cost_per_token": each.input_cost,
            "output_cost_per_token": each.output_cost,
            "litellm_provider": each.provider,
        },
    }
