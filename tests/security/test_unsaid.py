"""What went to a provider in confidence does not come back in its errors."""

from __future__ import annotations

from pointsman.errors import ProviderFailure
from pointsman.providers.unsaid import confidential, quieted, unsaid, unsaid_bytes

SECRETS = confidential(
    ["0123456789abcdef", 'with"quote"inside', "short"], {"x-house": "house-1234"}
)


def test_a_secret_of_any_shape_is_taken_out_of_bytes_and_texts() -> None:
    told = b'{"error": {"code": "0123456789abcdef", "param": "with\\"quote\\"inside house-1234"}}'
    assert unsaid_bytes(told, SECRETS) == '{"error": {"code": "…", "param": "… …"}}'.encode()
    assert unsaid("key 0123456789abcdef!", SECRETS) == "key …!"


def test_what_is_too_short_to_be_a_secret_blots_out_no_words() -> None:
    assert unsaid("a short word", SECRETS) == "a short word"


def test_one_secret_inside_another_leaves_nothing_of_either() -> None:
    secrets = confidential(["0123456789", "0123456789abcdef"], {})
    assert unsaid("0123456789abcdef 0123456789", secrets) == "… …"


def test_an_error_is_quieted_in_all_its_texts() -> None:
    failure = ProviderFailure("refused", "no 0123456789abcdef", body=b"x 0123456789abcdef")
    quieted(failure, SECRETS)
    assert "0123456789abcdef" not in f"{failure} {failure!r} {failure.message} {failure.body!r}"
