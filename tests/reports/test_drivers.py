"""What a difference is made of: exact to the nano."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pointsman.reports import Line
from pointsman.reports.drivers import Effects, drivers

lines = st.lists(
    st.builds(
        lambda name, calls, tokens, cost: Line(
            (name,), attempts=calls, input=tokens, output=tokens // 3, cost_nano=cost
        ),
        st.sampled_from("abcd"),
        st.integers(0, 10**6),
        st.integers(0, 10**9),
        st.integers(0, 10**15),
    ),
    unique_by=lambda line: line.group,
    max_size=4,
)


@given(lines, lines)
def test_effects_add_up_to_the_difference_to_the_nano(
    before: list[Line], after: list[Line]
) -> None:
    found = drivers(before, after)
    difference = sum(each.cost_nano for each in after) - sum(each.cost_nano for each in before)
    assert found.effects.total == difference == found.after_nano - found.before_nano
    for part in found.parts:
        assert part.effects.total == part.after_nano - part.before_nano
    for name in ("volume", "mix", "length", "price"):
        assert getattr(found.effects, name) == sum(getattr(p.effects, name) for p in found.parts)


def line(group: str, calls: int, tokens: int, cost: int) -> Line:
    return Line((group,), attempts=calls, input=tokens, cost_nano=cost)


def test_each_cause_alone_is_found_alone() -> None:
    before = [line("a", 100, 1_000, 5_000), line("b", 100, 1_000, 500)]
    causes = {
        "volume": [line("a", 200, 2_000, 10_000), line("b", 200, 2_000, 1_000)],
        "mix": [line("a", 200, 2_000, 10_000)],
        "length": [line("a", 100, 2_000, 10_000), line("b", 100, 2_000, 1_000)],
        "price": [line("a", 100, 1_000, 6_000), line("b", 100, 1_000, 500)],
    }
    for cause, after in causes.items():
        found = drivers(before, after)
        assert found.effects == Effects(**{cause: found.after_nano - found.before_nano})


def test_a_new_model_is_mix_and_a_first_month_is_volume() -> None:
    old, both = [line("a", 10, 10, 100)], [line("a", 5, 5, 50), line("b", 5, 5, 500)]
    assert drivers(old, both).effects == Effects(mix=450)
    assert drivers([], both).effects == Effects(volume=550)
    assert drivers(both, []).effects == Effects(volume=-550)
    assert drivers([], []).effects == Effects()
