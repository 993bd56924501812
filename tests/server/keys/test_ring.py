"""Keys and their owners as they are stored and changed."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from budgetguard.errors import ConfigError
from budgetguard.ledger import Store
from budgetguard.server.keys import ADMIN, CALL, Grant, Key, KeyRing, Owners
from budgetguard.server.keys.limits import allowance, owner_limits

LIMITS = owner_limits([allowance("5", "monthly"), allowance(1, "daily", model="o3*")], rpm=60, tpm="100000")
GRANT = Grant(
    note="what for",
    alias="search in production",
    user="ann",
    team="search",
    tags={"env": "prod"},
    models=("gpt-4o*", "anthropic/*"),
    endpoints=("batches",),
    expires_ms=1_900_000_000_000,
    limits=LIMITS,
    extra={"metadata": "{}"},
)


def test_what_a_key_may_is_kept(ring: KeyRing) -> None:
    """Every field, or a limit is gone when the next server reads it."""
    key, _ = ring.create("shop", CALL, grant=GRANT)
    assert ring.find(key.prefix) == key
    assert key.grant == GRANT


def test_a_key_of_an_earlier_version_is_read(own: Store, ring: KeyRing) -> None:
    """Whoever upgrades goes on with the keys that programs have; and an older server reads new ones."""
    text = {"digest": "d", "project": "shop", "scope": "admin", "created": "2026", "note": "old", "revoked": None}
    own.put_terms("keys/0123456789", json.dumps(text))
    key = ring.get("0123456789")
    assert (key.note, key.grant, key.blocked) == ("old", Grant(note="old"), False)
    assert json.loads(ring.create("shop", ADMIN, "new")[0].to_text()).keys() >= text.keys()


def test_what_two_change_at_once_is_lost_by_neither(ring: KeyRing, owners: Owners) -> None:
    """Each reads, changes one thing and writes: the second must not write what the first changed back."""
    key, _ = ring.create("shop", CALL)

    def add(number: int) -> None:
        ring.regrant(key.prefix, lambda grant: replace(grant, tags={**grant.tags, f"t{number}": "x"}))
        owners.change("shop", "team", "a", lambda team: replace(team, extra={**team.extra, f"t{number}": "x"}))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(12)))
    assert len(ring.get(key.prefix).grant.tags) == 12
    assert len(owners.get("shop", "team", "a").extra) == 12


def test_a_key_that_was_rotated_keeps_its_name_and_what_it_may(ring: KeyRing) -> None:
    """Its budgets count by its name: another one would have spent nothing yet."""
    key, text = ring.create("shop", CALL, grant=GRANT)
    new, shown = ring.rotate("bg_" + key.prefix, grace_s=60)
    assert (new.prefix, new.grant, new.project) == (key.prefix, GRANT, "shop")
    assert shown != text
    assert shown.startswith(f"bg_{key.prefix}_")
    assert new.former is not None
    assert new.former.digest == key.digest
    assert ring.rotate(key.prefix)[0].former is None


def test_revoking_is_always_possible(own: Store, ring: KeyRing) -> None:
    """Also of a key that says what this version would not let it say."""
    odd = Key("0123456789", "d", "shop", CALL, "2026", Grant(user="\n"))
    own.put_terms("keys/0123456789", odd.to_text())
    first = ring.revoke("0123456789").revoked
    assert first
    assert ring.revoke("0123456789").revoked == first


def test_only_the_hash_of_a_key_is_stored(own: Store, ring: KeyRing) -> None:
    """Whoever reads the store cannot call models with it."""
    texts = [ring.create("shop", CALL)[1], ring.create("shop", CALL, text="sk-1234567890abcdefghij")[1]]
    texts.append(ring.rotate(next(ring.all()).prefix, grace_s=9)[1])
    stored = " ".join(str(terms) for terms in own.all_terms())
    assert not [text for text in texts if text in stored or text.rpartition("_")[2] in stored]


def test_a_key_that_was_made_elsewhere_is_let_in_by_its_digest(ring: KeyRing) -> None:
    """Nobody has to hand out new keys who comes from another gateway; the second time is a mistake, and said."""
    digest = hashlib.sha256(b"sk-anything").hexdigest()
    key = ring.adopt(digest, "shop", grant=Grant(user="ann"))
    assert (key.scope, key.grant.user, key.digest) == (CALL, "ann", digest)
    with pytest.raises(ConfigError, match="is there already"):
        ring.adopt(digest, "shop")
    for wrong in ("", "abc", digest.upper(), digest + "0", "sk-anything"):
        with pytest.raises(ConfigError, match="64 hexadecimal digits"):
            ring.adopt(wrong, "shop")


@pytest.mark.parametrize(
    "text",
    ["sk-1234", "sk-" + "a" * 40, "sk-1234567890 abcdefghij", "sk-1234567890abcdefghi\n", "ключ" * 9, "x1" * 300],
)
def test_a_key_that_can_be_guessed_is_refused(ring: KeyRing, text: str) -> None:
    """By name; what was tried as one is not said back."""
    with pytest.raises(ConfigError, match=r"^key: ") as refused:
        ring.create("shop", CALL, text=text)
    assert text not in str(refused.value)
    assert list(ring.all()) == []


@pytest.mark.parametrize(
    ("grant", "told"),
    [
        (Grant(user=""), "user=''"),
        (Grant(user="ann\r\nx-evil: 1"), "printable"),
        (Grant(team="x" * 501), "up to 500 printable letters"),
        (Grant(tags={"user": "bob"}), "'user' is said of a call by the gateway"),
        (Grant(tags={"key": "other"}), "'key' is said of a call by the gateway"),
        (Grant(tags={"a": "\ud83d"}), "printable"),
        (Grant(models=("gpt-4o/../x",)), "write a model's name, or a glob"),
        (Grant(models=("",)), "write a model's name, or a glob"),
        (Grant(endpoints=("",)), "endpoints="),
        (Grant(expires_ms=10**18), "expires="),
        (Grant(extra={"a": "x" * 100_001}), "more than 100,000 letters"),
        (Grant(models=("m",) * 501), "at most 500"),
    ],
)
def test_what_no_key_can_be_is_said(ring: KeyRing, grant: Grant, told: str) -> None:
    """Before it is stored: a server that finds it could only refuse every call, or take it for no limit."""
    with pytest.raises(ConfigError, match=told):
        ring.create("shop", CALL, grant=grant)
    key, _ = ring.create("shop", CALL)
    with pytest.raises(ConfigError, match=told):
        ring.regrant(key.prefix, lambda _: grant)
    assert ring.get(key.prefix) == key


@pytest.mark.parametrize("name", ["user", "team", "tags", "models", "endpoints", "limits"])
def test_only_a_key_that_calls_has_limits(ring: KeyRing, name: str) -> None:
    """A limit on a key of another scope would hold nothing: that is not kept in silence."""
    grant = Grant(**{name: getattr(GRANT, name)})
    with pytest.raises(ConfigError, match=f"^{name}: only a key of scope call "):
        ring.create("shop", ADMIN, grant=grant)


def test_a_users_dollars_have_one_place(owners: Owners) -> None:
    """They hold for the library and the gateway together: two budgets of one user would each be spent."""
    with pytest.raises(ConfigError, match="budgetguard budget set"):
        owners.change("shop", "user", "ann", lambda user: replace(user, limits=owner_limits([allowance(5)])))
    limits = owner_limits([allowance(5, model="o3*")], rpm=3)
    assert owners.change("shop", "user", "ann", lambda user: replace(user, limits=limits)).limits == limits


def test_owners_belong_to_a_project_and_a_kind(owners: Owners) -> None:
    """Names say nothing: a team and a customer of one name are two, and so are those of two projects."""
    for project, kind, name in (
        ("a", "team", "x"),
        ("a", "end_user", "x"),
        ("a", "team", "y/../z"),
        ("b", "team", "x"),
    ):
        owners.change(project, kind, name, lambda owner: replace(owner, alias=owner.kind))
    assert [team.name for team in owners.all("a", "team")] == ["x", "y/../z"]
    assert [team.name for team in owners.all("a", "team", after="x")] == ["y/../z"]
    owners.remove("a", "team", "x")
    assert owners.find("a", "team", "x") is None
    assert owners.get("b", "team", "x").alias == "team"
    assert owners.get("a", "end_user", "x").alias == "end_user"
    with pytest.raises(ConfigError, match="nothing is set for it"):
        owners.remove("a", "team", "x")
    owners.change("a", "team", "x", lambda owner: owner)
    assert owners.get("a", "team", "x").alias == ""
