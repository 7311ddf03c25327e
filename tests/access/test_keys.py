"""Keys in the store of either engine: made, shown once, changed, rotated, revoked, audited."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pointsman.access import audit
from pointsman.access.house import ExceedsGranter, House, Taken
from pointsman.access.keys import (
    change_key,
    found_key,
    keys_since,
    listed_keys,
    make_key,
    mark_used,
    revoke_key,
    rotate_key,
)
from pointsman.access.pepper import pepper_given, settled_pepper
from pointsman.access.principal import EVERYTHING, OPERATOR, Principal, Sight
from pointsman.access.records import KeyChange, NewKey, TenantRecord, caller_of, told
from pointsman.access.rules import beside, found_rule, named_budgets, remove_rule, rules, set_rule
from pointsman.access.tenants import set_bound
from pointsman.access.tokens import digest, public_id
from pointsman.config.schema_money import BudgetBlock, KeyLimits, RateBlock
from pointsman.domain.budgets import Budget
from pointsman.errors import ConfigError, InvalidRequest, NotFound
from pointsman.store.database import Database
from pointsman.store.errors import RowRefused
from pointsman.testing import FakeClock

PEPPER = b"p" * 32
ACME = Principal("ann", "tenant-admin", "acme")
OTHER = Principal("bob", "tenant-admin", "other")


def new(name: str = "web", **fields: object) -> NewKey:
    return msgspec.convert({"name": name, **fields}, NewKey)


def test_a_key_is_kept_as_a_digest_only(database: Database, house: House) -> None:
    key, text = make_key(database, OPERATOR, new(), house, PEPPER)
    kept = found_key(database, EVERYTHING, key.id)
    assert kept == key
    assert kept.parts[0].digest == digest(PEPPER, text.encode())
    assert kept.parts[0].id == public_id(text.encode())
    assert text not in msgspec.json.encode(told(kept, 0.0)).decode()


def test_it_says_who_its_caller_is(database: Database, house: House) -> None:
    limits = {
        "budget_usd": 1.5,
        "requests_per_minute": 60,
        "max_cost_usd": 0.25,
        "budgets": ["file-shared"],
    }
    made, _ = make_key(
        database,
        OPERATOR,
        new(tenant="acme", team="t", app="a", tags={"env": "x"}, routes=["default"], limits=limits),
        house,
        PEPPER,
    )
    caller = caller_of(made)
    assert caller.key == "acme/web"
    assert (caller.tenant, caller.team, caller.app) == ("acme", "t", "a")
    assert caller.routes == frozenset({"auto"})
    assert caller.max_cost_nano == 250_000_000
    assert caller.budgets == ("file-shared",)
    assert [(b.name, b.limit, b.unit, b.tenant) for b in caller.limits] == [
        ("key acme/web", 1_500_000_000, "nano_usd", "acme"),
        ("key acme/web requests_per_minute", 60, "requests", "acme"),
    ]


@pytest.mark.parametrize("name", ["web", "from-file"])
def test_a_name_is_given_once(name: str, database: Database, house: House) -> None:
    if name == "web":
        key, _ = make_key(database, OPERATOR, new(name), house, PEPPER)
        revoke_key(database, OPERATOR, key.id)
    with pytest.raises(Taken):
        make_key(database, OPERATOR, new(name), house, PEPPER)


def test_two_tenants_may_each_have_a_key_of_one_name(database: Database, house: House) -> None:
    names = [make_key(database, who, new(), house, PEPPER)[0].name for who in (ACME, OTHER)]
    assert names == ["acme/web", "other/web"]


def test_another_tenants_key_is_not_there(database: Database, house: House) -> None:
    key, _ = make_key(database, ACME, new(), house, PEPPER)
    nobodys, _ = make_key(database, OPERATOR, new("house"), house, PEPPER)
    assert listed_keys(database, OTHER.sight) == []
    assert [each.id for each in listed_keys(database, ACME.sight)] == [key.id]
    for id in (key.id, key.name, nobodys.id, nobodys.name):
        with pytest.raises(NotFound):
            found_key(database, OTHER.sight, id)
    with pytest.raises(NotFound):
        revoke_key(database, OTHER, key.id)
    with pytest.raises(NotFound):
        rotate_key(database, OTHER, key.id, 0.0, PEPPER)
    with pytest.raises(NotFound):
        change_key(database, OTHER, key.id, KeyChange(team="x"), house)


def test_nobody_without_a_tenant_sees_what_has_none(database: Database, house: House) -> None:
    make_key(database, OPERATOR, new("house"), house, PEPPER)
    assert listed_keys(database, Sight(None)) == []
    assert not Sight(None).sees(None)


def test_a_tenants_admin_makes_keys_of_that_tenant_only(database: Database, house: House) -> None:
    with pytest.raises(ExceedsGranter):
        make_key(database, ACME, new(tenant="other"), house, PEPPER)


def test_a_tenants_admin_grants_no_more_than_the_tenant_has(
    database: Database, house: House
) -> None:
    bound = TenantRecord(routes=("cheap",), max_cost_usd=1.0, most_keys=2)
    set_bound(database, OPERATOR, "acme", bound, house)
    with pytest.raises(ExceedsGranter):
        make_key(database, ACME, new(routes=["cheap", "auto"]), house, PEPPER)
    with pytest.raises(ExceedsGranter):
        make_key(database, ACME, new(limits={"max_cost_usd": 2}), house, PEPPER)
    key, _ = make_key(database, ACME, new(), house, PEPPER)
    with pytest.raises(ExceedsGranter):
        change_key(database, ACME, key.id, KeyChange(routes=("auto",)), house)
    caller = caller_of(key, bound)
    assert caller.routes == frozenset({"cheap"})
    assert caller.max_cost_nano == 1_000_000_000
    make_key(database, ACME, new("second"), house, PEPPER)
    with pytest.raises(Taken):
        make_key(database, ACME, new("third"), house, PEPPER)


def test_unknown_routes_and_budgets_are_refused(database: Database, house: House) -> None:
    with pytest.raises(InvalidRequest, match="unknown route"):
        make_key(database, OPERATOR, new(routes=["no-such"]), house, PEPPER)
    with pytest.raises(InvalidRequest, match="no budget"):
        make_key(database, OPERATOR, new(limits={"budgets": ["no-such"]}), house, PEPPER)


def test_another_tenants_named_budget_is_not_drawn_on(database: Database, house: House) -> None:
    make_key(database, ACME, new(limits={"budgets": ["file-shared"]}), house, PEPPER)
    with pytest.raises(InvalidRequest) as refused:
        make_key(database, OTHER, new(limits={"budgets": ["file-shared"]}), house, PEPPER)
    with pytest.raises(InvalidRequest) as unknown:
        make_key(database, OTHER, new(limits={"budgets": ["no-such"]}), house, PEPPER)
    assert refused.value.message.replace("file-shared", "no-such") == unknown.value.message


def test_a_change_touches_only_what_it_names(database: Database, house: House) -> None:
    key, _ = make_key(database, OPERATOR, new(team="t", expires="2030-01-31"), house, PEPPER)
    after = change_key(database, OPERATOR, key.id, KeyChange(app="a", team=None), house)
    assert (after.record.team, after.record.app) == (None, "a")
    assert after.expires_at == key.expires_at
    assert change_key(database, OPERATOR, key.id, KeyChange(expires=None), house).expires_at is None


def test_a_rotated_key_has_two_good_secrets_until_the_old_ones_end(
    database: Database, house: House
) -> None:
    key, first = make_key(database, OPERATOR, new(), house, PEPPER)
    after, second = rotate_key(database, OPERATOR, key.id, 3600.0, PEPPER)
    old, young = after.parts
    assert (old.id, young.id) == (public_id(first.encode()), public_id(second.encode()))
    assert young.ends_at is None
    assert old.ends_at is not None and old.ends_at == pytest.approx(database.now() + 3600, abs=5)
    again, _ = rotate_key(database, OPERATOR, key.id, 60.0, PEPPER)
    assert [part.ends_at is None for part in again.parts] == [False, False, True]
    assert again.parts[0].ends_at < old.ends_at - 3000  # type: ignore[operator]


def test_what_is_revoked_stays_so(database: Database, house: House) -> None:
    key, _ = make_key(database, OPERATOR, new(), house, PEPPER)
    first = revoke_key(database, OPERATOR, key.id)
    assert revoke_key(database, OPERATOR, key.id).revoked_at == first.revoked_at
    with pytest.raises(Taken):
        rotate_key(database, OPERATOR, key.id, 0.0, PEPPER)


def test_workers_are_told_of_what_changed_after_what_they_know(
    database: Database, house: House
) -> None:
    make_key(database, OPERATOR, new("one"), house, PEPPER)
    ((number,),) = database.rows("SELECT number FROM access_change")
    two, _ = make_key(database, OPERATOR, new("two"), house, PEPPER)
    assert [each.name for each in keys_since(database, number)] == ["two"]
    revoke_key(database, OPERATOR, two.id)
    assert len(keys_since(database, -1)) == 2


def test_last_use_only_goes_forward(database: Database, house: House) -> None:
    key, _ = make_key(database, OPERATOR, new(), house, PEPPER)
    for at in (5.0, 9.0, 7.0):
        mark_used(database, {key.id: at})
    assert found_key(database, EVERYTHING, key.id).used_at == 9.0


def test_every_change_is_in_the_audit_and_the_chain_holds(database: Database, house: House) -> None:
    key, text = make_key(database, ACME, new(), house, PEPPER)
    change_key(database, OPERATOR, key.id, KeyChange(team="x"), house)
    _, second = rotate_key(database, OPERATOR, key.id, 0.0, PEPPER)
    revoke_key(database, OPERATOR, key.id)
    rows: list[Any] = list(audit.listed(database, EVERYTHING))
    assert [row["action"] for row in rows] == [
        "key.revoke",
        "key.rotate",
        "key.update",
        "key.create",
    ]
    assert rows[1]["was"]["team"] == "x" and rows[2]["was"].get("team") is None
    assert {row["who"] for row in rows} == {"ann", "operator"}
    assert audit.broken_at(database) is None
    everything = msgspec.json.encode(rows).decode()
    for secret in (text, second):
        assert secret not in everything and secret[11:] not in everything


def test_a_tenant_reads_its_own_part_of_the_audit(database: Database, house: House) -> None:
    make_key(database, ACME, new(), house, PEPPER)
    make_key(database, OPERATOR, new("house"), house, PEPPER)
    assert [row["object"] for row in audit.listed(database, ACME.sight)] == ["acme/web"]
    assert audit.listed(database, OTHER.sight) == []


def test_the_audit_is_neither_changed_nor_deleted(database: Database, house: House) -> None:
    make_key(database, OPERATOR, new(), house, PEPPER)
    for statement in ("UPDATE access_audit SET who = 'x'", "DELETE FROM access_audit"):
        with pytest.raises(RowRefused):
            database.run(statement)


def test_a_row_that_was_changed_all_the_same_is_found(database: Database, house: House) -> None:
    for name in ("one", "two", "three"):
        make_key(database, OPERATOR, new(name), house, PEPPER)
    drop = {
        "sqlite": "DROP TRIGGER access_audit_is_not_changed",
        "postgresql": "DROP TRIGGER access_audit_is_append_only ON access_audit",
    }
    database.run(drop[database.kind])
    database.run("UPDATE access_audit SET who = 'somebody else' WHERE seq = 2")
    assert audit.broken_at(database) == 2


# The pepper.


def test_a_pepper_is_made_once_and_kept(database: Database) -> None:
    made = settled_pepper(database, None)
    assert len(made) == 32 and settled_pepper(database, None) == made


def test_a_given_pepper_is_not_kept_and_must_stay_the_same(database: Database) -> None:
    assert settled_pepper(database, b"g" * 32) == b"g" * 32
    assert database.rows("SELECT pepper FROM access_pepper") == [(None,)]
    for other in (None, b"h" * 32):
        with pytest.raises(ConfigError):
            settled_pepper(database, other)


@pytest.mark.parametrize("text", ["", "short"])
def test_a_pepper_that_could_be_guessed_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        pepper_given({"POINTSMAN_KEY_PEPPER": text})
    assert pepper_given({}) is None


# Stored budgets and rates.


def budget(name: str, **fields: object) -> BudgetBlock:
    return msgspec.convert({"scope": "key", "limit_usd": 5, **fields, "name": name}, BudgetBlock)


def test_a_stored_budget_is_what_the_file_would_make_of_it(
    database: Database, house: House
) -> None:
    set_rule(database, OPERATOR, budget("daily", window="day", match=["web"]), house)
    ((found,),) = [rule.budgets() for rule in rules(database, EVERYTHING)]
    assert (found.name, found.limit, found.window.period) == ("daily", 5_000_000_000, "day")
    assert found.match == frozenset({"web"})


def test_a_stored_rate_is_a_limit_each(database: Database, house: House) -> None:
    rate = msgspec.convert(
        {"name": "r", "scope": "team", "requests_per_minute": 6, "max_in_flight": 2}, RateBlock
    )
    set_rule(database, OPERATOR, rate, house)
    found = found_rule(database, EVERYTHING, "r").budgets()
    assert [each.name for each in found] == ["r requests_per_minute", "r max_in_flight"]


def test_a_bad_rule_is_refused_with_its_field(database: Database, house: House) -> None:
    with pytest.raises(InvalidRequest) as refused:
        set_rule(database, OPERATOR, budget("b", timezone="Mars/Base"), house)
    assert refused.value.param == "timezone"


def test_the_file_wins_over_the_store(database: Database, house: House) -> None:
    with pytest.raises(Taken):
        set_rule(database, OPERATOR, budget("file-month"), house)
    file = (Budget("same", "everyone", 1),)
    assert beside(file, (Budget("same", "everyone", 9), Budget("other", "key", 2))) == (
        *file,
        Budget("other", "key", 2),
    )


def test_a_tenants_rules_count_for_it_alone(database: Database, house: House) -> None:
    rule = set_rule(database, ACME, budget("acme/mine"), house)
    assert [each.tenant for each in rule.budgets()] == ["acme"]
    with pytest.raises(ExceedsGranter):
        set_rule(database, ACME, budget("acme/mine", tenant="other"), house)
    with pytest.raises(InvalidRequest, match="acme/mine"):
        set_rule(database, ACME, budget("mine"), house)
    with pytest.raises(InvalidRequest, match="acme/mine"):
        set_rule(database, ACME, budget("other/mine"), house)
    assert rules(database, OTHER.sight) == []
    with pytest.raises(NotFound):
        remove_rule(database, OTHER, "acme/mine")


@pytest.mark.parametrize("name", ["key web", "a b", "acme/b/x", "", "x\n", "ä"])
def test_a_rules_name_meets_no_others(name: str, database: Database, house: House) -> None:
    """Not those of keys' own limits, nor those of a tenant whose name has a slash."""
    with pytest.raises((InvalidRequest, msgspec.ValidationError)):
        set_rule(database, OPERATOR, budget(name), house)
    with pytest.raises((InvalidRequest, msgspec.ValidationError)):
        set_rule(
            database, ACME, budget(name if name.startswith("acme/") else f"acme/{name}"), house
        )


def test_a_bound_that_the_house_set_is_not_the_tenants_to_move(
    database: Database, house: House
) -> None:
    set_rule(database, OPERATOR, budget("acme/cap", tenant="acme", scope="tenant"), house)
    assert [rule.name for rule in rules(database, ACME.sight)] == ["acme/cap"]
    with pytest.raises(ExceedsGranter):
        set_rule(database, ACME, budget("acme/cap", limit_usd=500), house)
    with pytest.raises(ExceedsGranter):
        remove_rule(database, ACME, "acme/cap")


def test_a_removed_rule_is_gone_and_in_the_audit(database: Database, house: House) -> None:
    set_rule(database, OPERATOR, budget("b"), house)
    remove_rule(database, OPERATOR, "b")
    assert rules(database, EVERYTHING) == []
    row = audit.listed(database, EVERYTHING)[0]
    assert (row["action"], row["became"]) == ("rule.remove", None)


def test_a_stored_named_budget_may_be_drawn_on(database: Database, house: House) -> None:
    set_rule(database, ACME, budget("acme/pot", scope="named"), house)
    assert named_budgets(database) == {"acme/pot": "acme"}
    limits = msgspec.to_builtins(KeyLimits(budgets=("acme/pot",)))
    make_key(database, ACME, new(limits=limits), house, PEPPER)
    with pytest.raises(InvalidRequest):
        make_key(database, OTHER, new(limits=limits), house, PEPPER)


def test_times_are_the_stores_own(database: Database, house: House, clock: FakeClock) -> None:
    key, _ = make_key(database, OPERATOR, new(), house, PEPPER)
    if database.kind == "sqlite":
        assert key.made_at == clock.wall()
    assert abs(key.made_at - database.now()) < 60
