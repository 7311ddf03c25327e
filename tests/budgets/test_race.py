"""Many at once against a limit, over several workers: nothing is overspent, little is left over."""

from __future__ import annotations

import pytest
from tests.budgets.race import Tally, ask_of, run

from pointsman.budgets.check import check
from pointsman.domain.budgets import Budget
from pointsman.domain.money import NANO
from pointsman.domain.windows import Window
from pointsman.store.database import Database
from pointsman.store.open import Store

CENT = NANO // 100
ONCE = Window("total")


@pytest.mark.slow
def test_two_thousand_cents_against_a_dollar(store: Store, db: Database) -> None:
    budget = Budget("dollar", "everyone", NANO, window=ONCE)
    account = ("dollar", "")
    tally = Tally({account: NANO})
    asks = [(f"a{n}", ask_of("x"), (account,)) for n in range(2000)]
    run(store, [budget], asks, tally, hold=CENT, cost=CENT)
    assert tally.most[account] <= NANO
    assert tally.taken[account] >= NANO * 95 // 100
    assert tally.false_denials == 0
    assert db.rows("SELECT spent, leased, over FROM budget_slice") == [(tally.taken[account], 0, 0)]
    assert check(db, [budget], quiet=True) == []


@pytest.mark.slow
@pytest.mark.parametrize("parent_cents", [1200, 5000])
def test_twenty_budgets_below_one(store: Store, db: Database, parent_cents: int) -> None:
    """Each team has a dollar, all together twelve, or more than they can spend."""
    budgets = [
        Budget("all", "everyone", parent_cents * CENT, window=ONCE),
        Budget("team", "team", NANO, window=ONCE),
    ]
    teams = [f"t{n}" for n in range(20)]
    limits = {("all", ""): parent_cents * CENT, **{("team", team): NANO for team in teams}}
    tally = Tally(limits)
    asks = [
        (f"{team}-{n}", ask_of(team), (("all", ""), ("team", team)))
        for n in range(80)
        for team in teams
    ]
    run(store, budgets, asks, tally, hold=2 * CENT, cost=2 * CENT)
    assert all(tally.most[account] <= limit for account, limit in limits.items())
    most = min(parent_cents, 2000) * CENT
    assert tally.taken["all", ""] >= most * 95 // 100
    assert tally.false_denials == 0
    assert check(db, budgets, quiet=True) == []
    ((spent,),) = db.rows("SELECT sum(amount) FROM posting WHERE account = 1")
    assert spent in (tally.taken["all", ""], tally.taken["team", "t0"])


@pytest.mark.slow
def test_holds_that_are_much_too_large_do_not_starve_others(store: Store, db: Database) -> None:
    """What is held and not spent comes back to whoever needs it, wherever that is."""
    budget = Budget("dollar", "everyone", NANO, window=ONCE)
    account = ("dollar", "")
    tally = Tally({account: NANO})
    asks = [(f"a{n}", ask_of("x"), (account,)) for n in range(300)]
    run(store, [budget], asks, tally, hold=5 * CENT, cost=CENT // 10)
    assert tally.most[account] <= NANO
    assert check(db, [budget], quiet=True) == []
