"""Keys and prices are changed from the page as by the command line, and it is written down who did."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from budgetguard.budgets.steering.audit import changes
from budgetguard.ledger import Entry, Store, new_id
from budgetguard.server.keys import KeyRing
from tests.support.browsing import Browsing, SeenPage
from tests.support.hosting import Hosted

TEXT = re.compile(r"bg_[0-9a-f]{10}_[\w-]{43}")


def text_in(seen: SeenPage) -> str:
    [found] = TEXT.findall(seen.text)
    return str(found)


def test_a_new_key_is_shown_once(admin: Browsing, page_ring: KeyRing, shop: Store) -> None:
    """It is right, nobody can read it again, and the audit says who made it."""
    admin.get("/ui/keys")
    text = text_in(admin.send("/ui/keys/create", scope="read", alias="finance", note="monthly", expires="90d"))
    [key] = [each for each in page_ring.all("shop") if each.grant.alias == "finance"]
    assert (key.scope, key.note, key.grant.expires_ms is None) == ("read", "monthly", False)
    assert Browsing(admin.port).sign_in(text).path.startswith("/ui/")
    seen = admin.get("/ui/keys")
    assert f"bg_{key.prefix}" in seen.text
    assert text not in seen.text + admin.get("/ui/keys.json").text + admin.get("/ui/changes").text
    [change] = changes(shop)
    assert (change.via, change.what, change.target) == ("page", "create", f"keys/bg_{key.prefix}")
    assert change.who.startswith("bg_"), "the key that was signed in with"


def test_what_cannot_be_a_key_is_refused_with_a_sentence(admin: Browsing, page_ring: KeyRing) -> None:
    """As the command line says it, and nothing is made."""
    admin.get("/ui/keys")
    before = len(list(page_ring.all("shop")))
    assert "only a key of scope call" in admin.send("/ui/keys/create", scope="read", user="ann").plain
    assert admin.send("/ui/keys/create", scope="emperor").status == 400
    assert "expires" in admin.send("/ui/keys/create", scope="read", expires="soon").plain
    assert len(list(page_ring.all("shop"))) == before


def test_a_form_that_was_refused_keeps_what_was_typed(admin: Browsing, page_ring: KeyRing) -> None:
    """Whoever mistyped the day would type all of it again. The links of the page lead to the list, not to the form."""
    admin.get("/ui/keys")
    seen = admin.send("/ui/keys/create", scope="read", alias="finance & co", note="monthly", expires="soon")
    assert seen.status == 400
    assert "write how long, such as 90d" in seen.plain
    for kept in ('value="finance &amp; co"', 'value="monthly"', 'value="soon"', '<option value="read" selected>'):
        assert kept in seen.text
    assert "keys/create" not in seen.text.replace('action="/ui/keys/create"', "")
    assert text_in(admin.send("/ui/keys/create", scope="read", alias="finance & co", expires="90d"))


@pytest.mark.parametrize("path", ["keys/create", "keys/rotate", "keys/revoke", "prices/write"])
def test_the_address_of_a_form_leads_to_its_view(admin: Browsing, path: str) -> None:
    """It is in the address bar once a form was answered: loaded again, or with another time zone, it was not found."""
    seen = admin.get(f"/ui/{path}?zone=Europe/Berlin")
    assert (seen.status, seen.path) == (200, f"/ui/{path.partition('/')[0]}?zone=Europe%2FBerlin")


def test_a_key_is_rotated_and_its_old_text_right_for_a_while(admin: Browsing, page_ring: KeyRing, shop: Store) -> None:
    """Programs get the time to take the new one."""
    key, old = page_ring.create("shop", "admin")
    seen = admin.get(f"/ui/key?prefix={key.prefix}")
    assert "Rotate" in seen.plain
    new = text_in(admin.send("/ui/keys/rotate", prefix=key.prefix, grace="1h", why="who had it left"))
    assert new != old
    for text in (new, old):
        assert Browsing(admin.port).sign_in(text).path.startswith("/ui/")
    assert next(changes(shop)).note == "who had it left"


def test_a_revoked_key_is_out_of_use(admin: Browsing, page_ring: KeyRing) -> None:
    """It is said, and the key is only among all keys from then on."""
    key, text = page_ring.create("shop", "read", "the old laptop")
    admin.get(f"/ui/key?prefix={key.prefix}")
    seen = admin.send("/ui/keys/revoke", prefix=key.prefix)
    assert f"bg_{key.prefix} is revoked" in seen.plain
    assert "the old laptop" not in seen.plain
    assert f"bg_{key.prefix} is revoked" not in admin.get("/ui/keys").plain, "it is said once"
    assert "the old laptop" in admin.get("/ui/keys?revoked=yes").plain
    assert Browsing(admin.port).sign_in(text).status == 401


@pytest.mark.parametrize("verb", ["rotate", "revoke"])
def test_a_key_of_another_project_is_out_of_reach(admin: Browsing, page_ring: KeyRing, verb: str) -> None:
    """Its prefix is no secret."""
    key, _ = page_ring.create("bank", "admin")
    admin.get("/ui/keys")
    assert admin.send(f"/ui/keys/{verb}", prefix=key.prefix).status == 404
    assert admin.get(f"/ui/key?prefix={key.prefix}").status == 404
    found = page_ring.find(key.prefix)
    assert found is not None
    assert (found.digest, found.revoked) == (key.digest, None)


def test_a_sentence_of_what_was_done_cannot_be_planted(admin: Browsing) -> None:
    """A cookie can be set by others on the same host; the sentence has a mark that only the visit's own can have."""
    admin.cookies[f"budgetguard-{admin.port}-told"] = "0" * 32 + ".Y2FsbCAwMTIz"
    assert "call 0123" not in admin.get("/ui/keys").plain


@pytest.fixture
def machine(books_url: str, shop: Store, here: Path) -> Iterator[Browsing]:
    """A server for this machine, before books with a model of unknown price."""
    entry = Entry(
        new_id(), 0, (), shop.now_ms(), {"user": "ann"}, "together", "house-model", flags=frozenset({"unpriced"})
    )
    shop.load(entries=[entry])
    made = Hosted(books_url, open_mode=True, project="shop")
    yield Browsing(made.port)
    made.stop()


def test_a_price_is_said_on_the_page(machine: Browsing, here: Path) -> None:
    """The file is the one of the command line, and the view goes by it once programs do."""
    assert "not known" in machine.get("/ui/prices").plain
    seen = machine.send("/ui/prices/write", model="house-model", how="price", input="0.20", output="0.80")
    assert "house-model is in" in seen.plain
    assert tomllib.loads((here / "prices.toml").read_text())["models"] == {"house-model": {"input": 0.2, "output": 0.8}}
    (here / "budgetguard.toml").write_text('prices = "prices.toml"\n')
    row = json.loads(machine.get("/ui/prices.json").text)["rows"][0]
    assert (row["model"], row["priced"]) == ("house-model", True)


@pytest.mark.parametrize(
    "form",
    [{"how": "price", "input": "1"}, {"how": "price", "input": "much", "output": "1"}, {"how": "alias", "other": ""}],
)
def test_a_price_that_is_none_is_not_written(machine: Browsing, here: Path, form: dict[str, str]) -> None:
    """A file that cannot be read stops every program that reads it."""
    machine.get("/ui/prices")
    seen = machine.send("/ui/prices/write", model="house-model", **form)
    assert seen.status == 400
    for kept in (f'value="{form["how"]}" checked', 'value="house-model"', f'value="{form.get("input", "")}"'):
        assert kept in seen.text, "what was typed"
    assert not (here / "prices.toml").exists()


def test_the_key_of_a_project_writes_no_price(admin: Browsing, here: Path) -> None:
    """The file is one for all projects of a server."""
    seen = admin.get("/ui/prices")
    assert "budgetguard prices set" in seen.plain
    assert admin.send("/ui/prices/write", model="gpt-4o", how="free").status == 403
    assert not (here / "prices.toml").exists()
