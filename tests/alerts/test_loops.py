"""Loops are found and held up; batches, chats and retries in good faith are not."""

from __future__ import annotations

import random
import uuid

import pytest

from pointsman.alerts.likeness import fingerprint
from pointsman.alerts.loops import MOST_LOOPS, Loops
from pointsman.config.settings_money import LoopSettings
from pointsman.domain.call import Caller
from pointsman.domain.content import Message, Part, Role, Text, ToolCall, ToolResult
from pointsman.domain.request import ChatRequest, EmbeddingsRequest, Source

CALLER = Caller("k", app="agent", tenant="north")
RIGID = LoopSettings(repeats=10, within_s=60.0, throttle=True)


def message(role: Role, *parts: Part | str) -> Message:
    return Message(role, tuple(Text(each) if isinstance(each, str) else each for each in parts))


def chat(*messages: Message) -> ChatRequest:
    return ChatRequest("auto", messages)


def question(text: str) -> ChatRequest:
    return chat(message("system", "Be brief."), message("user", text))


def step(number: int, answer: str, task: str = "Mend the build.") -> ChatRequest:
    """An agent's conversation after `number` calls of the same tool."""
    turns = [message("system", "You are an agent."), message("user", task)]
    for at in range(number):
        call = ToolCall(f"call_{at:08x}", "run_tests", '{"path": "tests"}')
        turns.append(message("assistant", f"Let me try, attempt {at}.", call))
        turns.append(message("user", ToolResult(call.id, (Text(answer.format(at)),))))
    return chat(*turns)


def asked(loops: Loops, *requests: ChatRequest, every_s: float = 1.0) -> list[float | None]:
    return [
        loops.allows(CALLER, request, None, 1_000.0 + at * every_s)
        for at, request in enumerate(requests)
    ]


def test_an_agent_that_gets_the_same_answer_again_and_again_is_held_up() -> None:
    loops = Loops(RIGID)
    waits = asked(loops, *(step(at, "3 failed in {}.71 s") for at in range(1, 16)))
    assert waits[:10] == [None] * 10  # the tenth shows that it is one, and is the last to pass
    assert waits[10:] == [pytest.approx(10.0 - at) for at in range(1, 6)]


def test_an_agent_that_makes_progress_is_let_through() -> None:
    words = [f"file {name}.py was mended" for name in "abcdefghijklmnopqrst"]
    loops = Loops(RIGID)
    assert not any(asked(loops, *(step(2, word) for word in words)))
    assert loops.standing(1_020.0) == []


def test_the_same_question_with_another_time_or_id_is_the_same() -> None:
    texts = (
        "At 2026-01-02T03:04:05Z: is it up? (request 1b4e28ba-2fa1-11d2-883f-0016d3cca427)",
        "at 2027-11-12T13:14:15.123+01:00:  is it up?"
        " (request 6fa459ea-ee8a-3ca4-894e-db77e160355e)",
    )
    assert len({fingerprint(question(text)) for text in texts}) == 1
    epochs = ("now is 1700000000.", "now is 1700000555.")
    assert len({fingerprint(question(text)) for text in epochs}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Classify record 4711: 99.20 EUR", "Classify record 4712: 99.20 EUR"),
        ("What is 2 + 2?", "What is 2 + 3?"),
        ("Translate: cat", "Translate: dog"),
        ("a" * 5_000 + "x", "a" * 5_000 + "y"),
    ],
)
def test_questions_of_a_batch_differ(one: str, other: str) -> None:
    assert fingerprint(question(one)) != fingerprint(question(other))


def test_embeddings_are_no_conversation() -> None:
    request = EmbeddingsRequest("e", ("same",), Source("openai", b"{}"))
    assert fingerprint(request) is None
    assert Loops(RIGID).allows(CALLER, request, None, 0.0) is None


def test_without_throttle_a_loop_is_told_and_let_through() -> None:
    loops = Loops(LoopSettings(repeats=10, within_s=60.0))
    assert not any(asked(loops, *[question("again")] * 30))
    assert [sum(each.counts) for each in loops.standing(1_030.0)] == [30]


def test_one_in_ten_seconds_passes_and_it_ends_by_itself() -> None:
    loops = Loops(RIGID)
    waits = asked(loops, *[question("again")] * 40)
    assert [at for at, wait in enumerate(waits) if wait is None] == [*range(10), 19, 29, 39]
    assert loops.standing(1_085.0) != []
    assert loops.standing(1_100.0) == []  # a minute after its last request
    assert loops.allows(CALLER, question("again"), None, 1_100.0) is None


def test_who_slows_down_as_told_is_let_go() -> None:
    loops = Loops(RIGID)
    asked(loops, *[question("again")] * 11)
    now = 1_010.0
    waits = []
    for _ in range(12):
        now += 14.0
        waits.append(loops.allows(CALLER, question("again"), None, now))
    assert waits == [None] * 12
    assert loops.standing(now) == []


def test_keys_apps_users_and_runs_are_counted_apart() -> None:
    loops = Loops(RIGID)
    for at in range(60):
        caller = Caller("k", user=f"u{at % 6}")
        assert loops.allows(caller, question("hello"), None, 1_000.0 + at * 0.1) is None
        assert loops.allows(CALLER, question("hello"), f"run-{at % 7}", 1_000.0) is None
    assert len(loops.standing(1_006.0)) == 6


def test_other_workers_counts_are_added() -> None:
    loops = Loops(RIGID)
    asked(loops, *[question("again")] * 4)
    counts = loops.counts(1_004.0)
    assert list(counts.values()) == [4]
    loops.hear(dict.fromkeys(counts, 8), 1_004.0)
    assert loops.allows(CALLER, question("again"), None, 1_004.5) is None
    assert loops.allows(CALLER, question("again"), None, 1_005.0) == pytest.approx(9.5)


def test_memory_is_bounded() -> None:
    loops = Loops(RIGID)
    for at in range(MOST_LOOPS + 100):
        loops.allows(CALLER, question(f"question {at}"), None, 1_000.0)
    assert repr(loops) == f"Loops({MOST_LOOPS} watched)"
    assert len(loops.counts(1_000.0)) == 0


def test_lone_surrogates_and_odd_parts_are_read() -> None:
    assert fingerprint(question("\ud800 \x00")) is not None
    assert fingerprint(chat(message("user", ToolResult("c", ())))) is not None
    assert fingerprint(chat()) is None


@pytest.mark.slow
def test_false_positives_on_traffic_that_only_looks_alike() -> None:
    """5,000 requests of batches, chats and agents at work: none is a loop; 20 loops among them
    are all found."""
    rng = random.Random(4)
    words = "red green blue iron wood stone river cloud north south late early"
    loops = Loops(LoopSettings(repeats=10, within_s=60.0))
    now = 1_000.0
    for at in range(1_000):
        now += 0.05
        text = " ".join(rng.choices(words.split(), k=12))
        for request in (
            question(f"Label this review with a number from 1 to 5.\n\n{text}"),
            question(f"Invoice {at}: total {rng.randrange(10_000) / 100:.2f}. Is it due?"),
            chat(
                message("user", f"I need help with {text}"),
                message("assistant", "Shall I go on?"),
                message("user", "yes"),
            ),
            step(1 + at % 3, f"{text}: ok", task=f"Sort {text}"),
            step(
                2,
                f"ticket {uuid.UUID(int=at)} is {rng.choice(words.split())}",
                task=f"Close: {text}",
            ),
        ):
            loops.allows(CALLER, request, None, now)
    assert loops.standing(now) == []
    for number in range(20):
        for at in range(12):
            request = step(3, f"error {at}: no", task=f"Try {'x' * number}")
            loops.allows(CALLER, request, None, now)
    assert len(loops.standing(now)) == 20
