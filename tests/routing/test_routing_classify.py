"""Content signals: right often enough on our own labelled set, and fast on hostile text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from re._constants import MAXREPEAT  # type: ignore[import-not-found]
from re._parser import parse  # type: ignore[import-not-found]
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.routing import language, sensitive, task
from pointsman.routing.classify import (
    LANGUAGES,
    found_in,
    language_of,
    sensitivity_of,
    task_of,
)

SAMPLES = [
    json.loads(line)
    for line in (Path(__file__).parent / "classify_samples.jsonl").read_text("utf-8").splitlines()
]
"""Written and labelled by us, null where a label does not apply. The word lists were tuned with
them at hand, so the floors say that nothing broke, not how well strangers' text is told."""


def accuracy(label: str, classify: Callable[[str], str]) -> float:
    rows = [sample for sample in SAMPLES if sample[label] is not None]
    right = sum(1 for row in rows if classify(row["text"]) == row[label])
    return right / len(rows)


def test_the_labelled_set_is_large_enough_to_mean_something() -> None:
    assert len(SAMPLES) >= 120
    assert len({sample["language"] for sample in SAMPLES} - {None}) >= 15


def test_tasks_are_told_in_many_languages() -> None:
    assert accuracy("task", task_of) >= 0.95


def test_languages_are_told_by_script_and_common_words() -> None:
    assert accuracy("language", language_of) >= 0.94


def test_secrets_and_personal_data_are_found_and_lookalikes_left() -> None:
    assert accuracy("sensitive", sensitivity_of) >= 0.98


@pytest.mark.parametrize("text", ["REFACTOR THIS PYTHON FUNCTION", "refactor this python function"])
def test_case_does_not_matter(text: str) -> None:
    assert task_of(text) == "code"


def test_only_what_is_asked_for_counts_not_what_is_quoted() -> None:
    story = "The wind rose and the old captain looked at the harbour. " * 60
    assert task_of(f"Summarize this text. {story}") == "summary"
    assert task_of(f"{story} Translate the text above into French.") == "translation"


def test_too_little_to_go_by_is_an_undetermined_language() -> None:
    assert language_of("") == language_of("42 + 17") == language_of("xyzzy") == "und"


def test_code_in_fences_does_not_speak_for_a_language() -> None:
    text = "Pourquoi est-ce que ce programme ne marche pas ?\n```\nthe of and is not\n```"
    assert language_of(text) == "fr"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("key sk-ant-api03-9fK2mQ7xLr3TzV8wYb1N", "api key"),
        ("AKIAIOSFODNN7EXAMPLE", "aws key"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "private key"),
        ("amqp://svc:Zx81pp@queue/v", "connection string"),
        ('{"password": "Zx81ppq"}', "password"),
        ("j.doe@mail.example.org", "e-mail"),
        ("4111-1111-1111-1111", "card"),
        ("DE89370400440532013000", "IBAN"),
        ("078-05-1120", "US social security number"),
        ("+44 20 7946 0958", "phone"),
        ("my phone number is 5550147899", "phone"),
    ],
)
def test_what_was_found_is_named_and_never_shown(text: str, name: str) -> None:
    found = found_in(text)
    assert found is not None
    assert found[1] == name


@pytest.mark.parametrize(
    "text",
    [
        "5550147899",
        "ticket 2025550147",
        "4111 1111 1111 1112",
        "DE88370400440532013000",
        "1-078-05-1120-9",
        "2026-11-22 14:03:59",
        "version 4.11.1111.1111",
        "password: ${DB_PASSWORD}",
        "secret = os.environ['X1']",
        "git@github.com",
    ],
)
def test_a_number_is_not_personal_by_its_length_nor_a_reference_a_secret(text: str) -> None:
    assert found_in(text) is None


HOSTILE = {
    "letters": "a",
    "digits": "1",
    "spaced digits": "1 ",
    "dashed digits": "12-",
    "jwt": "eyJ",
    "jwt parts": "eyJabcdefghi.",
    "at": "a@",
    "domains": "a@a.",
    "api keys": "sk-",
    "assignments": 'password = "',
    "keywords without spaces": "密码是",
    "secrets": "client_secret_key",
    "urls": "a://b:",
    "bearers": "bearer ",
    "pluses": "+1 ",
    "brackets": "(",
    "open groups": "(1",
    "key blocks": "-----BEGIN RSA ",
    "phones": "tel 1",
    "ibans": "de12 ",
    "iban blocks": "de12abcd",
    "dots": "a.",
    "blanks": " ",
    "lines": "\n",
    "quotes": "```",
    "accents": "é",
    "dotted capital i": "İ",
}


def repeats(parsed: object, around: int = 1) -> Iterator[tuple[int, int, bool]]:
    """Each repeat of a parsed pattern: (most times, with those around it multiplied; members that
    may match; whether something follows it)."""
    items = list(parsed)  # type: ignore[call-overload]
    for index, (kind, argument) in enumerate(items):
        if str(kind) in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            _, most, body = argument
            most = int(most) if most != MAXREPEAT else UNBOUNDED
            yield most * around, len(body), index + 1 < len(items)
            yield from repeats(body, most * around)
        elif str(kind) == "SUBPATTERN":
            yield from repeats(argument[-1], around)
        elif str(kind) == "BRANCH":
            for branch in argument[1]:
                yield from repeats(branch, around)
        elif str(kind) in ("ASSERT", "ASSERT_NOT"):
            yield from repeats(argument[1], around)


UNBOUNDED = 10**9
PATTERNS = {
    f"{module.__name__.rpartition('.')[2]}: {pattern.pattern[:50]}": pattern
    for module in (sensitive, task, language)
    for value in vars(module).values()
    for pattern in (
        [value]
        if isinstance(value, re.Pattern)
        else [each[1] for each in value if isinstance(each, tuple) and len(each) == 2]
        if isinstance(value, tuple)
        else []
    )
    if isinstance(pattern, re.Pattern)
}


def test_the_patterns_are_found() -> None:
    assert len(PATTERNS) > 40


@pytest.mark.parametrize("name", PATTERNS)
def test_no_pattern_can_backtrack_beyond_a_bound(name: str) -> None:
    """A repeat without bound stands alone at the end, over one character; any other is bounded,
    with those that it stands in: so a place in the text costs a bounded number of steps."""
    for most, members, is_followed in repeats(parse(PATTERNS[name].pattern)):
        if most >= UNBOUNDED:
            assert (members, is_followed) == (1, False)
        else:
            assert most <= 8000


def seconds(classify: Callable[[str], object], text: str) -> float:
    started = process_time()
    classify(text)
    return process_time() - started


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_no_text_makes_it_slower_than_linear(name: str) -> None:
    """Eight times the text takes about eight times as long; quadratic would be 64 times."""
    unit = HOSTILE[name]
    short, long = (unit * (size // len(unit)) for size in (8_000, 64_000))
    for classify in (sensitivity_of, task_of, language_of):
        once = min(seconds(classify, short) for _ in range(5))
        many = min(seconds(classify, long) for _ in range(3))
        assert many <= 24 * once + 0.002


@given(st.text(max_size=300))
def test_any_text_gets_an_answer(text: str) -> None:
    assert language_of(text) in LANGUAGES
    assert sensitivity_of(text) in ("", "pii", "secret")
    task_of(text)
