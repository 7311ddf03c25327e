"""The rules for any gateway: each word has its occasion, and matters of taste have none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from matrix.compare import compare, fits, own_times
from matrix.fault import TEXT, Cell, Wire, first_tokens
from matrix.judge import judged
from matrix.reading import Got
from matrix.run import cells
from matrix.sites import Sites
from matrix.under_test import Pointsman

from pointsman.testing.journal import JournalEntry

CELLS = cells()


def cell(name: str, streamed: bool, fallback: bool = True, client: Wire = "openai") -> Cell:
    return next(
        each
        for each in CELLS
        if (each.fault.name, each.streamed, each.fallback, each.client)
        == (name, streamed, fallback, client)
    )


def call(ended: str = "done", ended_at: float = 0.0) -> JournalEntry:
    return JournalEntry(
        number=1, attempt_id="", request_id="", arrived_at=0.0, dialect="openai", operation="chat",
        path="", model="m", stream=True, connection=1, headers={}, body_bytes=0, seal="",
        ended_at=ended_at, ended=ended,  # type: ignore[arg-type]
    )  # fmt: skip


def quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def said(text: str, *, finish: str | None = None, end: str = "data: [DONE]\n\n") -> bytes:
    last = "null" if finish is None else f'"{finish}"'
    return (
        f'data: {{"choices":[{{"index":0,"delta":{{"content":"{quoted(text)}"}},'
        f'"finish_reason":{last}}}]}}\n\n{end}'
    ).encode()


def whole(text: str) -> bytes:
    message = f'{{"role":"assistant","content":"{quoted(text)}"}}'
    return f'{{"choices":[{{"message":{message},"finish_reason":"stop"}}]}}'.encode()


ERROR = 'data: {"error":{"message":"cut"}}\n\n'
UNNAMED = b'data: {"type":"error","error":{"message":"cut"}}\n\n'
NAMED = b"event: error\n" + UNNAMED
PART = first_tokens("a", 4)
CUT = "rst after four tokens"
GARBAGE = b"data: {,\n\n" + said(PART)


@pytest.mark.parametrize(
    ("case", "status", "body", "word"),
    [
        (cell("500", False), 200, whole(TEXT["b"]), "ok"),
        (cell("500", False), 500, b"{}", "lost"),
        (cell("500", False, False), 500, b"{}", "ok"),
        (cell("500", False, False), 502, b"{}", "ok"),
        (cell("500", False, False), 429, b"{}", "ok"),
        (cell("500", False, False), 400, b"{}", "wrong status"),
        (cell("500", False, False), 200, b"{}", "fake answer"),
        (cell("500", False, False), 0, b"", "no answer"),
        (cell("500 from both, once: the first is asked again", False), 500, b"{}", "ok"),
        (cell("401 of the provider", False, False), 401, b"{}", "wrong status"),
        (cell("400: the request's own fault", False, False), 400, b"{}", "ok"),
        (cell("400: the request's own fault", False, False), 500, b"{}", "wrong status"),
        (cell("500", True), 200, said(TEXT["b"], finish="stop"), "ok"),
        (cell("500", True), 200, ERROR.encode(), "lost"),
        (cell("500", True, False), 200, ERROR.encode(), "ok"),
        (cell("500", True, False), 200, b"data: [DONE]\n\n", "fake answer"),
        (cell(CUT, True), 200, said(PART, end=ERROR), "ok"),
        (cell(CUT, True), 200, said(PART, end=ERROR + "data: [DONE]\n\n"), "ok"),
        (cell(CUT, True), 200, said(PART, finish="stop"), "silent cut"),
        (cell(CUT, True), 200, said(PART, end=""), "silent cut"),
        (cell(CUT, True), 200, said(PART + TEXT["b"], finish="stop"), "continued"),
        (cell(CUT, True, False), 200, said(PART + TEXT["b"]), "silent cut"),
        (cell(CUT, True, client="anthropic"), 200, NAMED, "ok"),
        (cell(CUT, True, client="anthropic"), 200, UNNAMED, "fake answer"),
        (cell(CUT, True, client="anthropic"), 200, b"<html>", "fake answer"),
        (cell("200 with gzip", False), 200, whole("hi"), "ok"),
        (cell("200 with html", False), 200, whole("hi"), "fake answer"),
        (cell("bad_json after three tokens", True), 200, GARBAGE, "garbled"),
        (cell("length as the finish", True), 200, said(TEXT["a"], finish="stop"), "silent cut"),
        (cell("length as the finish", True), 200, said(TEXT["b"], finish="stop"), "ok"),
        (cell("usage: null", False), 500, b"{}", "lost"),
        (cell("HTTP: garbage_after", False, False), 500, b"{}", "ok"),
        (cell("client: no JSON", False), 400, b"{}", "ok"),
        (cell("client: no JSON", False), 500, b"{}", "wrong status"),
        (cell("client: no JSON", False), 200, whole(TEXT["a"]), "fake answer"),
        (cell("client: NaN", False), 200, whole(TEXT["a"]), "ok"),
        (cell("client: a model nobody knows", False), 200, whole(TEXT["a"]), "fake answer"),
    ],
)
def test_a_cell_gets_its_word(case: Cell, status: int, body: bytes, word: str) -> None:
    got = Got(status, {}, body, 0.1)
    assert judged(case, got, [call()], own_times(case), 0.0).word == word


def test_a_providers_own_400_may_be_passed_on() -> None:
    case = cell("400 that is a credit balance", False, False)
    got = Got(400, {}, b"{}", 0.1)
    assert judged(case, got, [call()], own_times(case), 0.0).word == "wrong status"
    passed = replace(call(), status=400)
    assert judged(case, got, [passed], own_times(case), 0.0).word == "ok"


def test_a_connection_that_breaks_says_so_too() -> None:
    case = cell(CUT, True)
    got = Got(200, {}, said(PART, end=""), 0.1, broken=True)
    assert judged(case, got, [call()], own_times(case), 0.0).word == "ok"


def test_what_comes_too_late_hangs() -> None:
    case = cell("hang before the head", False)
    got = Got(200, {}, whole(TEXT["b"]), 4.3)
    assert judged(case, got, [call()], own_times(case), 0.0).word == "hang"
    assert judged(case, got, [call()], own_times(case), 0.5).word == "ok"


def test_a_fourth_call_is_one_too_many() -> None:
    case = cell("500", False)
    got = Got(200, {}, whole(TEXT["b"]), 0.1)
    assert judged(case, got, [call()] * 3, own_times(case), 0.0).word == "ok"
    assert judged(case, got, [call()] * 4, own_times(case), 0.0).word == "extra attempts"


def test_a_provider_that_works_on_for_nobody_is_seen() -> None:
    case = cell("client leaves in the middle", True)
    got = Got(200, {}, b"", 0.1, left_at=100.0)
    for entry, word in (
        (call("client_left", 100.2), "ok"),
        (call("client_left", 103.0), "left running"),
        (call("done", 103.0), "left running"),
        (call("lost"), "left running"),
    ):
        assert judged(case, got, [entry], own_times(case), 0.0).word == word


async def test_two_gateways_never_share_the_scripts_of_a_cell(tmp_path: Path) -> None:
    chosen = [cell("500", False)]
    async with Sites(tmp_path) as sites:
        await compare(Pointsman(1), chosen, sites, 1, own_times)
        with pytest.raises(ValueError, match="before"):
            await compare(Pointsman(1), chosen, sites, 1, own_times)


@pytest.mark.slow
async def test_we_are_right_by_these_rules_too(tmp_path: Path) -> None:
    chosen = [each for each in CELLS if fits(each)][::23]
    async with Sites(tmp_path) as sites:
        found = await compare(Pointsman(1), chosen, sites, 1, own_times)
    assert len(found) == len(chosen)
    assert not [(each.cell.id, each.verdict) for each in found if not each.verdict.is_right]
