"""Two keys of one provider: the one that is refused is put aside, and no caller sees it."""

from __future__ import annotations

import logging

import pytest

from pointsman.config.settings import Secret
from pointsman.providers.keys import AGAIN_S, Key, KeyChain
from pointsman.testing import FakeClock


def chain(*secrets: str, clock: FakeClock | None = None) -> KeyChain:
    return KeyChain("oa", [Secret(each) for each in secrets], (clock or FakeClock()).now)


def taken(keys: KeyChain) -> Key:
    key = keys.take()
    assert key is not None
    return key


def secret(key: Key | None) -> str | None:
    return None if key is None else key.secret.reveal()


def test_a_provider_without_a_key_has_none_to_show() -> None:
    assert chain().take() is None


def test_the_first_key_is_used_until_it_is_refused() -> None:
    keys = chain("new", "old")
    assert secret(keys.take()) == "new"
    assert secret(keys.refused(taken(keys))) == "old"
    assert secret(keys.take()) == "old"


def test_a_refused_key_is_tried_again_after_its_rest() -> None:
    clock = FakeClock()
    keys = chain("new", "old", clock=clock)
    keys.refused(taken(keys))
    clock.advance(AGAIN_S - 1)
    assert secret(keys.take()) == "old"
    clock.advance(1)
    assert secret(keys.take()) == "new"


def test_where_all_are_refused_the_longest_rested_is_used_and_none_is_next() -> None:
    clock = FakeClock()
    keys = chain("new", "old", clock=clock)
    keys.refused(taken(keys))
    clock.advance(1)
    assert keys.refused(taken(keys)) is None
    assert secret(keys.take()) == "new"


def test_one_that_is_taken_after_all_is_the_first_again() -> None:
    keys = chain("new", "old")
    first = taken(keys)
    keys.refused(first)
    keys.refused(taken(keys))
    keys.accepted(first)
    assert secret(keys.take()) == "new"
    assert keys.aside == 1


def test_a_refusal_that_comes_after_a_renewal_holds_against_that_key_only() -> None:
    keys = chain("a", "b")
    old = taken(keys)
    keys.renew([Secret("c"), Secret("a")])
    assert secret(keys.refused(old)) == "c"
    assert secret(keys.take()) == "c"
    gone = Key(0, Secret("z"))
    assert secret(keys.refused(gone)) == "c"
    assert keys.aside == 1


def test_a_renewal_tries_the_same_keys_anew() -> None:
    keys = chain("new", "old")
    keys.refused(taken(keys))
    keys.renew([Secret("new"), Secret("old")])
    assert secret(keys.take()) == "new"


def test_one_line_a_transition_and_never_the_secret(caplog: pytest.LogCaptureFixture) -> None:
    keys = chain("sk-canary-1", "sk-canary-2")
    first = taken(keys)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            keys.refused(first)
    assert [record.getMessage() for record in caplog.records] == [
        "key.refused provider=oa key=1 of=2 usable=1"
    ]
    assert "canary" not in repr(keys) + repr(first) + caplog.text
