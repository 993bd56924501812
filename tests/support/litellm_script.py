"""
A script that administers LiteLLM Proxy by LiteLLM's own client: a process of its own, which prints what it was told.

The client needs little of LiteLLM, whose package takes seconds to import: an empty one stands in its place.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import warnings
from types import ModuleType
from typing import Any

import requests

warnings.simplefilter("ignore")
spec = importlib.util.find_spec("litellm")
assert spec is not None
package = sys.modules["litellm"] = ModuleType("litellm")
package.__path__ = list(spec.submodule_search_locations or ())

from litellm.proxy.client import Client  # noqa: E402
from litellm.proxy.client.exceptions import NotFoundError, UnauthorizedError  # noqa: E402
from litellm.proxy.client.health import HealthManagementClient  # noqa: E402
from litellm.proxy.client.users import UsersManagementClient  # noqa: E402


def keys_of(client: Any) -> dict[str, Any]:
    """A key's life."""
    keys = client.keys
    made = keys.generate(models=["gpt-4o"], duration="24h", key_alias="ci", team_id="core", user_id="ann", spend=0)
    changed = keys.update(made["key"], models=["gpt-4o", "o3"], duration="7d", user_id="bob")
    info = keys.info(made["token"])
    listed = keys.list(user_id="bob", key_alias="ci", return_full_object=True, include_team_keys=False, page=1, size=5)
    deleted = keys.delete(keys=[made["key"]])
    try:
        keys.info(made["key"])
        gone = 200
    except requests.exceptions.HTTPError as error:
        gone = error.response.status_code
    return {"made": made, "changed": changed, "info": info, "listed": listed, "deleted": deleted, "gone": gone}


def users_of(users: Any) -> dict[str, Any]:
    """A user's life."""
    made = users.create_user({"user_id": "carol", "max_budget": 3.5, "budget_duration": "1d", "tpm_limit": 1_000})
    info = users.get_user("carol")
    listed = users.list_users({"user_ids": "carol"})
    deleted = users.delete_user(["carol"])
    try:
        users.get_user("carol")
        gone = False
    except NotFoundError:
        gone = True
    return {"made": made, "info": info, "listed": listed, "deleted": deleted, "gone": gone}


def refused(what: Any) -> bool:
    """Whether the client says that the key is not an administrator's."""
    try:
        what()
    except UnauthorizedError:
        return True
    return False


def main(url: str, master: str) -> dict[str, Any]:
    """All of it."""
    client = Client(url, master)
    client.http.request("POST", "/team/new", json={"team_id": "core", "team_alias": "Core", "max_budget": 50})
    text = client.keys.generate(key_alias="caller")["key"]
    caller, health = Client(url, text), HealthManagementClient(url)
    return {
        "keys": keys_of(client),
        "users": users_of(UsersManagementClient(url, master)),
        "teams": client.teams.list(),
        "models": client.models.info(),
        "model": client.models.get(model_name="claude-haiku-4-5"),
        "readiness": health.get_readiness(),
        "version": health.get_server_version(),
        "refused": [refused(caller.keys.generate), refused(caller.teams.list), refused(caller.models.info)],
        "caller": caller.keys.info(text),
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
