"""Budgets are steered from the page, without scripts: each form does what it says from the very next call on."""

from __future__ import annotations

import pytest

from budgetguard import Budget
from budgetguard.budgets.steering.audit import changes
from budgetguard.budgets.steering.declared import declare
from budgetguard.budgets.users import Users
from budgetguard.ledger import Store
from budgetguard.server.keys import KeyRing
from tests.support.browsing import Browsing


@pytest.fixture
def steered(shop: Store) -> Users:
    """The budgets of a project in which ann has one of her own."""
    users = Users(shop)
    users.put("ann", Budget("users", 10, "monthly"))
    declare(shop, [Budget("team", 100, "monthly", per=("team",))])
    return users


def steer(admin: Browsing, verb: str, target: str, **form: str) -> str:
    """Ask for the form from the list's own link, send it, and read what is said then."""
    path = f"/ui/steer?verb={verb}&target={target}"
    assert f'action="{path.replace("&", "&amp;")}"' in admin.get(path).text.replace("%2F", "/")
    seen = admin.send(path, **form)
    return seen.plain


def test_the_menu_of_a_budget_leads_to_pages_that_ask(steered: Users, admin: Browsing) -> None:
    """Nothing is done by a link: whoever follows one by mistake is asked first."""
    seen = admin.get("/ui/budgets")
    for verb in ("raise", "top-up", "pause", "reset", "remove", "take-away"):
        assert f"/ui/steer?verb={verb}&amp;target=users%2Fann" in seen.text
        asked = admin.get(f"/ui/steer?verb={verb}&target=users/ann")
        assert asked.status == 200
        assert "Leave it as it is" in asked.plain
    assert not steered.get("ann").steer.paused


def test_a_limit_is_raised_until_a_moment(steered: Users, admin: Browsing) -> None:
    """With what the list shows afterwards, and who did it and why in the audit."""
    told = steer(admin, "raise", "users/ann", limit="25", until="2h", note="launch")
    assert "its limit is $25.00" in told
    assert steered.get("ann").steer.limit_until_ms is not None
    assert "$25.00" in admin.get("/ui/budgets?search=ann").plain
    [change] = changes(steered.store, limit=1)
    assert (change.what, change.target, change.note, change.via) == ("raise", "users/ann", "launch", "page")
    assert change.who


def test_a_budget_is_paused_and_resumed(steered: Users, admin: Browsing) -> None:
    """The list says it in a word."""
    assert "it is paused" in steer(admin, "pause", "users/ann", note="incident 12")
    assert steered.get("ann").steer.paused
    seen = admin.get("/ui/budgets?search=ann")
    assert "paused" in seen.plain
    assert "/ui/steer?verb=resume&amp;target=users%2Fann" in seen.text
    assert "calls pass again" in steer(admin, "resume", "users/ann")
    assert not steered.get("ann").steer.paused


def test_a_budget_is_topped_up_reset_and_as_it_was_again(steered: Users, admin: Browsing) -> None:
    """The three that are left."""
    assert "is added to its limit" in steer(admin, "top-up", "users/ann", amount="5")
    assert "it begins again" in steer(admin, "reset", "users/ann")
    assert steered.get("ann").epoch == 1
    assert "it is as its rule says again" in steer(admin, "remove", "users/ann")
    assert steered.get("ann").steer.extra == 0


def test_a_users_own_budget_is_taken_away(steered: Users, admin: Browsing) -> None:
    """Not a rule: that is a program's, which would go on to hold it."""
    assert "no budget of their own any more" in steer(admin, "take-away", "users/ann", note="has left")
    assert steered.find("ann") is None
    [change] = changes(steered.store, limit=1)
    assert (change.what, change.subject, change.note, change.via) == ("remove", "ann", "has left", "page")
    assert "it is a rule" in steer(admin, "take-away", "team/red")


def test_one_subject_of_a_rule_is_steered_and_so_are_all(steered: Users, admin: Browsing) -> None:
    """Those that were never seen among them."""
    assert "team/red: it is paused" in steer(admin, "pause", "team/red")
    assert 'href="/ui/steer?verb=pause&amp;target=team"' not in admin.get("/ui/budgets").text
    assert 'href="/ui/steer?verb=pause&amp;target=team"' in admin.get("/ui/budgets?budget=team").text
    asked = admin.get("/ui/steer?verb=pause&target=team")
    assert "for all subjects of the rule" in asked.plain
    assert "team: it is paused" in steer(admin, "pause", "team")


@pytest.mark.parametrize(
    ("verb", "target", "form", "said"),
    [
        ("raise", "users/ann", {"limit": "much"}, "is no number"),
        ("raise", "users/ann", {"limit": "5", "until": "yesterday"}, "until"),
        ("top-up", "users/ann", {"amount": "-1"}, "negative"),
        ("pause", "taem/red", {}, "did you mean"),
        ("pause", "users/nobody", {}, "no budget was created"),
        ("reset", "users/ann", {"note": "x" * 501}, "at most 500"),
    ],
)
def test_what_cannot_be_done_is_said_above_the_same_form(
    steered: Users, admin: Browsing, verb: str, target: str, form: dict[str, str], said: str
) -> None:
    """With what was typed still in it."""
    path = f"/ui/steer?verb={verb}&target={target}"
    admin.get(path)
    seen = admin.send(path, **form)
    assert said in seen.plain
    assert seen.path == path
    for value in form.values():
        assert value in seen.text
    assert list(changes(steered.store, target=target)) == [] or target == "users/ann"


def test_a_form_for_nothing_is_refused(steered: Users, admin: Browsing) -> None:
    """An address that was cut off."""
    for path in ("/ui/steer", "/ui/steer?verb=pause", "/ui/steer?verb=explode&target=users/ann"):
        assert admin.get(path).status == 400
        admin.get("/ui/budgets")
        assert admin.send(path).status == 400


def test_whoever_may_only_look_sees_no_menu(steered: Users, page_ring: KeyRing, browser: Browsing) -> None:
    """And the page that asks is not for them either."""
    browser.sign_in(page_ring.create("shop", "read")[1])
    assert "/ui/steer" not in browser.get("/ui/budgets").text
    assert browser.get("/ui/steer?verb=pause&target=users/ann").status == 403
