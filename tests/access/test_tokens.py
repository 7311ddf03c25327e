"""What a key looks like, and that what is not one never gets further."""

from __future__ import annotations

import re

import pytest

from pointsman.access.tokens import digest, mint, public_id


def test_a_new_key_has_the_form_that_scanners_know() -> None:
    minted = mint()
    assert re.fullmatch(r"pm_[0-9A-Za-z]{57}", minted.text)
    assert minted.text.startswith(f"pm_{minted.id}")


def test_its_public_id_is_read_from_it() -> None:
    minted = mint()
    assert public_id(minted.text.encode()) == minted.id


def test_a_thousand_keys_are_a_thousand_secrets_and_ids() -> None:
    made = [mint() for _ in range(1000)]
    assert len({each.text for each in made}) == len({each.id for each in made}) == 1000


def test_every_single_misspelling_is_noticed() -> None:
    text = mint().text
    for at in range(len(text)):
        other = "A" if text[at] != "A" else "B"
        assert public_id((text[:at] + other + text[at + 1 :]).encode()) is None


@pytest.mark.parametrize(
    "shown",
    [b"", b"pm_", b"sk-123", b"pm_" + b"0" * 57, b"pm_" + b"\xff" * 57, b"x" * 10_000],
)
def test_what_is_no_key_has_no_id(shown: bytes) -> None:
    assert public_id(shown) is None


def test_more_or_less_around_a_key_makes_it_none() -> None:
    text = mint().text.encode()
    for shown in (text + b"x", b" " + text, text[:-1], text + b"\n"):
        assert public_id(shown) is None


def test_another_pepper_gives_another_digest() -> None:
    token = mint().text.encode()
    assert digest(b"a" * 32, token) != digest(b"b" * 32, token)
    assert len(digest(b"a" * 32, token)) == 32
