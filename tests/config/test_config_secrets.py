"""Secrets come by reference only, and are never shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.config.load import Loaded
from pointsman.config.problems import looks_secret, shown

Read = Callable[..., Loaded]
Wrong = Callable[..., list[str]]

LITERAL = "sk-proj-0123456789abcdefghijABCDEFGHIJ"


def with_key(key: str) -> str:
    return f"providers:\n  openai: {{key: {key}}}\ndeployments: [{{model: openai/gpt-4.1}}]\n"


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (
            LITERAL,
            "f.yaml:2: providers.openai.key: a secret written out, or no reference; put it into "
            "an environment variable and write `env:NAME`, or `file:PATH`",
        ),
        (
            "os.environ/OPENAI_API_KEY",
            "f.yaml:2: providers.openai.key: not a reference we read; write `env:OPENAI_API_KEY`",
        ),
        (
            "'${OPENAI_API_KEY}'",
            "f.yaml:2: providers.openai.key: not a reference we read; write `env:OPENAI_API_KEY`",
        ),
        (
            "'env:NOT_THERE'",
            "f.yaml:2: providers.openai.key: the variable NOT_THERE is not set; export NOT_THERE=…",
        ),
        (
            "'env:EMPTY'",
            "f.yaml:2: providers.openai.key: env:EMPTY is empty; put the key into it",
        ),
        (
            "'env:TWO_LINES'",
            "f.yaml:2: providers.openai.key: env:TWO_LINES holds more than one line; keep the "
            "key alone in it",
        ),
        ("1234567890123456", "f.yaml:2: providers.openai.key: a secret written out"),
    ],
)
def test_a_key_that_is_no_good_reference_is_explained(key: str, message: str, wrong: Wrong) -> None:
    found = wrong(with_key(key))
    assert len(found) == 1
    assert found[0].startswith(message)
    assert LITERAL not in found[0]


def test_a_missing_file_is_named(wrong: Wrong, tmp_path: Path) -> None:
    assert wrong(with_key("'file:nowhere'")) == [
        f"f.yaml:2: providers.openai.key: there is no file {tmp_path / 'nowhere'}; create it, or "
        "correct the path"
    ]


def test_a_provider_in_use_without_a_key_says_what_to_set(wrong: Wrong) -> None:
    assert wrong("deployments: [{model: mistral/x, price: free}]") == [
        "f.yaml:1: deployments[0]: no key for provider mistral; set MISTRAL_API_KEY, or write "
        "`providers: {mistral: {key: env:NAME}}`"
    ]
    found = wrong(
        "providers: {far: {dialect: openai, url: 'https://far.example.com/v1'}}\n"
        "deployments: [{provider: far, model: x, price: free}]\n"
    )
    assert found == [
        "f.yaml:1: providers.far.key: no key for provider far; set NAME, or write "
        "`providers: {far: {key: env:NAME}}`"
    ]


def test_none_says_that_no_key_is_wanted(read: Read) -> None:
    text = with_key("none")
    assert read(text).settings.providers["openai"].key is None


def test_an_unused_provider_needs_no_key(read: Read) -> None:
    text = "providers: {mistral: {tier: frontier}}\ndeployments: [{model: openai/gpt-4.1}]\n"
    assert list(read(text).settings.providers) == ["openai"]


def test_secret_headers_come_by_reference(read: Read, wrong: Wrong) -> None:
    text = (
        "providers:\n  openai: {headers: {X-Api-Key: KEY, X-Title: shop}}\n"
        "deployments: [{model: openai/gpt-4.1}]\n"
    )
    provider = read(text.replace("KEY", "'env:APP_KEY'")).settings.providers["openai"]
    assert provider.headers == {"x-api-key": "app-key-of-the-test-0001", "x-title": "shop"}
    found = wrong(text.replace("KEY", LITERAL))
    assert found == [
        "f.yaml:2: providers.openai.headers.X-Api-Key: a secret written out; write `env:NAME` or "
        "`file:PATH`"
    ]


def test_a_url_holds_no_password(wrong: Wrong) -> None:
    found = wrong(
        "providers:\n  openai: {url: 'https://ann:secret@host/v1'}\n"
        "deployments: [{model: openai/gpt-4.1}]\n"
    )
    assert found == [
        "f.yaml:2: providers.openai.url: a URL with a password in it; give the key as "
        "`key: env:NAME`"
    ]


def test_settings_never_show_a_secret(read: Read) -> None:
    loaded = read(
        "server: {keys: [{key: 'env:APP_KEY'}]}\n"
        "providers: {openai: {headers: {x-api-key: 'env:OTHER_KEY'}}}\n"
        "deployments: [{model: openai/gpt-4.1}]\n"
    )
    text = repr(loaded.settings)
    for secret in ("openai-key-of-the-test", "app-key-of-the-test", "other-key-of-the-test"):
        assert secret not in text


PLACES = [
    "server: {{host: {0}}}\ndeployments: [{{model: openai/gpt-4.1}}]\nx: 1",
    "deployments: [{{model: {0}}}]",
    "deployments: [{{model: openai/gpt-4.1, tier: {0}}}]",
    "deployments: [{{model: openai/gpt-4.1, price: {0}}}]",
    "deployments: [{{model: openai/gpt-4.1, weight: {0}}}]",
    "deployments: [{{model: openai/gpt-4.1}}]\nroutes: [{{name: a, strategy: {0}}}]",
    "deployments: [{{model: openai/gpt-4.1}}]\nroutes: [{{name: a, aliases: {0}}}]",
    "deployments: [{{model: openai/gpt-4.1}}]\nroutes: [{{name: a, deployments: [{0}]}}]",
    "deployments: [{{model: openai/gpt-4.1}}]\nproviders: {{openai: {{url: {0}}}}}",
    "deployments: [{{model: openai/gpt-4.1}}]\nproviders: {{openai: {{key: {0}}}}}",
    "deployments: [{{model: openai/gpt-4.1}}]\nproviders: {{openai: {0}}}",
    "deployments: [{{model: openai/gpt-4.1}}]\nserver: {{keys: [{{key: {0}}}]}}",
    "deployments: [{{model: openai/gpt-4.1}}]\nserver: {{keys: [{0}]}}",
    "deployments: [{{model: openai/gpt-4.1}}]\nserver: {{{0}: 1}}",
    "deployments: [{{model: openai/gpt-4.1}}]\nproviders: {{{0}: {{}}}}",
    "deployments: [{{model: openai/gpt-4.1, name: {0}}}, {{model: openai/gpt-4.1, name: {0}}}]",
    "deployments: [{{model: openai/{0}}}]",
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("key", [LITERAL, "gsk_abcdefghijklmnop1234", "a1" * 20])
def test_a_key_in_the_wrong_place_is_not_repeated(place: str, key: str, wrong: Wrong) -> None:
    assert all(key not in line for line in wrong(place.format(key)))


@settings(max_examples=30)
@given(st.from_regex(r"sk-[A-Za-z0-9_-]{16,40}", fullmatch=True))
def test_what_looks_like_a_key_is_hidden(key: str) -> None:
    assert looks_secret(key)
    assert key not in shown(f"Bearer {key}")


@pytest.mark.parametrize(
    "word", ["openai/gpt-4.1", "accounts/fireworks/models/kimi-k3", "tier:local", "workhorse"]
)
def test_ordinary_names_are_shown(word: str) -> None:
    assert shown(word) == f"`{word}`"
