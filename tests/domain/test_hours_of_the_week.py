"""Hours of the week: what spans mean, and what is no span."""

from __future__ import annotations

import pytest

from pointsman.domain.hours import DAYS, covers, parse_span

MON, FRI, SAT, SUN = (DAYS.index(day) for day in ("mon", "fri", "sat", "sun"))


def minute(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


@pytest.mark.parametrize(
    ("span", "weekday", "time", "holds"),
    [
        ("mon-fri 08:00-18:00", MON, "08:00", True),
        ("mon-fri 08:00-18:00", MON, "07:59", False),
        ("mon-fri 08:00-18:00", FRI, "17:59", True),
        ("mon-fri 08:00-18:00", FRI, "18:00", False),
        ("mon-fri 08:00-18:00", SAT, "12:00", False),
        ("22:00-06:00", SUN, "23:00", True),
        ("22:00-06:00", MON, "05:59", True),
        ("22:00-06:00", MON, "06:00", False),
        ("sat,sun", SUN, "00:00", True),
        ("sat,sun", SUN, "23:59", True),
        ("sat,sun", MON, "00:00", False),
        ("fri-mon", MON, "12:00", True),
        ("fri-mon", 1, "12:00", False),
        # Past midnight a span belongs to the day on which it began.
        ("fri 22:00-06:00", SAT, "05:00", True),
        ("fri 22:00-06:00", FRI, "05:00", False),
        ("sun 22:00-06:00", MON, "05:00", True),
        ("20:00-24:00", MON, "23:59", True),
        ("20:00-24:00", MON, "00:00", False),
        ("MON 08:00-09:00", MON, "08:30", True),
        ("mon,wed-thu 08:00-09:00", 3, "08:30", True),
        ("22:00-00:00", MON, "23:00", True),
        ("22:00-00:00", MON, "00:00", False),
    ],
)
def test_a_span_holds_when_it_says(span: str, weekday: int, time: str, holds: bool) -> None:
    assert parse_span(span).covers(weekday, minute(time)) is holds


def test_one_of_several_spans_is_enough() -> None:
    spans = [parse_span("mon 08:00-09:00"), parse_span("sat")]
    assert covers(spans, SAT, 700)
    assert not covers(spans, SUN, 700)
    assert not covers([], SUN, 700)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "write days, a time, or both"),
        ("mon fri 08:00-18:00", "write days, a time, or both"),
        ("monday", "`monday` is no day"),
        ("mon-", "`` is no day"),
        ("mon,", "`` is no day"),
        ("8-18", "is no time"),
        ("08:00", "is no time"),
        ("24:00-06:00", "is no time"),
        ("08:00-25:00", "is no time"),
        ("08:00-24:01", "is no time"),
        ("08:60-09:00", "is no time"),
        ("08:00-18:00 mon", "is no time"),
        ("mon fri", "`fri` is no time"),
        ("mon 08:00-08:00", "ends as it begins"),
        ("٠٨:٠٠-١٨:٠٠", "is no time"),
    ],
)
def test_what_is_no_span_is_refused_with_a_remedy(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_span(text)
