"""Records as bytes: nothing that is not whole is ever taken for a record."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.wal import note as notes
from pointsman.wal.note import Note
from pointsman.wal.record import (
    DISPATCH,
    SETTLE,
    Record,
    Unreadable,
    dispatch_tail,
    encode,
    read_dispatch,
    read_settle,
    records,
    settle_tail,
)

WORDS = st.text(max_size=20)
I64 = st.integers(-(2**63), 2**63 - 1)
U64 = st.integers(0, 2**64 - 1)


@given(st.sampled_from([1, 2, 3, 4]), U64, U64, st.floats(allow_nan=False), I64, WORDS, st.binary())
def test_a_record_is_read_back_as_it_was_written(
    kind: int, epoch: int, seq: int, at: float, amount: int, name: str, tail: bytes
) -> None:
    data = encode(kind, epoch, seq, at, amount, name, tail)  # type: ignore[arg-type]
    [read] = records(data)
    assert read == Record(kind, epoch, seq, at, amount, name, tail, len(data))


@pytest.mark.parametrize("tail", [b"", b"some tail", bytes(range(256)) * 3])
def test_a_log_torn_at_any_byte_of_its_last_record_ends_before_it(tail: bytes) -> None:
    first = encode(DISPATCH, 1, 1, 0.0, 5, "a-1", b"first")
    last = encode(SETTLE, 1, 2, 0.0, 5, "a-1", tail)
    for cut in range(len(last)):
        found = list(records(first + last[:cut]))
        assert [each.seq for each in found] == [1]
        assert found[-1].end == len(first)


def test_no_single_flipped_bit_goes_unnoticed() -> None:
    data = encode(DISPATCH, 3, 9, 2.5, 77, "a-1", b"the tail")
    for byte in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[byte] ^= 1 << bit
            assert not list(records(bytes(flipped)))


@given(st.binary(max_size=400))
def test_noise_is_no_record(noise: bytes) -> None:
    assert not list(records(noise))


def test_a_newer_version_is_not_guessed_at() -> None:
    from zlib import crc32

    data = bytearray(encode(DISPATCH, 1, 1, 0.0, 1, "a", b""))
    data[8] = 2
    data[4:8] = crc32(bytes(data[8:])).to_bytes(4, "little")
    with pytest.raises(Unreadable, match="version 2"):
        list(records(bytes(data)))


def test_an_id_that_no_record_can_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 255 bytes"):
        encode(DISPATCH, 1, 1, 0.0, 1, "a" * 256, b"")


def test_tails_are_read_back() -> None:
    [dispatch] = records(encode(DISPATCH, 1, 1, 0.0, 5, "a", dispatch_tail([(7, 5), (8, 5)], b"n")))
    assert (read_dispatch(dispatch).parts, read_dispatch(dispatch).note) == (((7, 5), (8, 5)), b"n")
    [settle] = records(encode(SETTLE, 1, 2, 0.0, 3, "a", settle_tail([(7, 5, 3)], True)))
    assert (read_settle(settle).charges, read_settle(settle).exact) == (((7, 5, 3),), True)


def test_a_note_is_read_back() -> None:
    note = Note(
        *("r-1", "d-1", 1.5, "chat", "auto", "auto", True, "acme/m", "acme", "m", "frontier"),
        key="k",
        tags={"a": "b"},
        expected_nano=12,
    )
    assert notes.decode(notes.encode(note)) == note
