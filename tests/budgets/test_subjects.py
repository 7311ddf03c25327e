"""Which accounts a request counts in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.budgets.standing import tenant_of
from pointsman.budgets.subjects import Ask, Matcher, subject
from pointsman.domain.budgets import Account, Budget, Scope
from pointsman.domain.call import Caller
from pointsman.domain.deployment import Deployment
from pointsman.errors import PermissionDenied

MODEL = Deployment("azure/gpt", "azure", "gpt", "frontier", "openai_chat", None)
CALLER = Caller("web", user="ann", app="shop", team="red", tenant="acme")
ASK = Ask(CALLER, "chat", run="r1", tags={"cost_centre": "7"}, deployment=MODEL)


def accounts(*budgets: Budget, ask: Ask = ASK, of_attempt: bool = True) -> list[Account]:
    return [account for _, account in Matcher(budgets).of(ask, of_attempt)]


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("everyone", ""),
        ("tenant", "acme"),
        ("team", "acme/red"),
        ("app", "acme/shop"),
        ("user", "acme/ann"),
        ("key", "acme/web"),
        ("tag", "acme/7"),
        ("run", "acme/r1"),
        ("route", "chat"),
        ("model", "gpt"),
        ("provider", "azure"),
    ],
)
def test_each_scope_has_its_subject(scope: Scope, expected: str) -> None:
    assert accounts(Budget("b", scope, 1, tag="cost_centre")) == [("b", expected)]


@pytest.mark.parametrize("scope", ["tenant", "team", "app", "user", "tag", "run"])
def test_what_a_request_has_not_does_not_apply(scope: Scope) -> None:
    bare = Ask(Caller("web"), "chat", deployment=MODEL)
    assert accounts(Budget("b", scope, 1, tag="cost_centre"), ask=bare) == []


def test_a_budget_for_some_does_not_count_others() -> None:
    some = frozenset({"red"})
    assert accounts(Budget("b", "team", 1, match=some)) == [("b", "acme/red")]
    assert accounts(Budget("b", "team", 1, match=frozenset({"blue"}))) == []


def test_a_tenants_budget_counts_its_own_requests() -> None:
    assert accounts(Budget("b", "everyone", 1, tenant="acme")) == [("b", "")]
    assert accounts(Budget("b", "everyone", 1, tenant="other")) == []


def test_money_counts_by_attempt_and_rates_by_request() -> None:
    budgets = (
        Budget("usd", "key", 1),
        Budget("rpm", "key", 1, unit="requests"),
        Budget("provider rpm", "provider", 1, unit="requests"),
        Budget("provider usd", "provider", 1),
    )
    assert accounts(*budgets, of_attempt=False) == [("rpm", "acme/web")]
    assert accounts(*budgets, of_attempt=True) == [
        ("provider rpm", "azure"),
        ("provider usd", "azure"),
        ("usd", "acme/web"),
    ]


def test_before_a_deployment_is_chosen_its_budgets_do_not_apply() -> None:
    ask = Ask(CALLER, "chat")
    assert accounts(Budget("m", "model", 1), Budget("all", "everyone", 1), ask=ask) == [("all", "")]


def test_a_named_budget_is_drawn_on_by_who_names_it() -> None:
    shared = Budget("shared", "named", 1)
    drawing = Ask(Caller("web", budgets=("shared",)), "chat", deployment=MODEL)
    assert accounts(shared) == []
    assert accounts(shared, ask=drawing) == [("shared", "")]
    with pytest.raises(PermissionDenied):
        accounts(ask=drawing)
    with pytest.raises(PermissionDenied):
        accounts(ask=drawing, of_attempt=False)


def test_a_keys_own_limits_are_its_own() -> None:
    own = Budget("key web", "key", 1, match=frozenset({"web"}))
    with_own = Ask(Caller("web", limits=(own,)), "chat", deployment=MODEL)
    assert accounts(ask=with_own) == [("key web", "web")]


def test_long_names_have_short_subjects_of_their_own() -> None:
    """PostgreSQL's indexes take rows of 2,700 bytes, and clients name users as they like."""
    names = ["漢" * length for length in (200, 201, 300, 9000)] + ["%" * 9000, "漢" * 300 + "x"]
    subjects = [subject("acme", name) for name in names]
    assert len(set(subjects)) == len(names)
    assert all(len(each.encode()) < 1000 for each in subjects)
    assert all(each.startswith("acme/") for each in subjects)


TEXT = st.text(max_size=8)
TENANT = st.none() | TEXT


@given(TENANT, TEXT, TENANT, TEXT)
def test_no_two_subjects_share_an_account(
    tenant: str | None, value: str, other_tenant: str | None, other: str
) -> None:
    same = (tenant, value) == (other_tenant, other)
    assert (subject(tenant, value) == subject(other_tenant, other)) == same


@given(TENANT, TEXT)
def test_an_account_tells_whose_it_is(tenant: str | None, value: str) -> None:
    assert tenant_of(Budget("b", "team", 1), subject(tenant, value)) == tenant
