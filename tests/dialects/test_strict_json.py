"""Reading and rewriting a client's JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.dialects import strict_json
from pointsman.dialects.strict_json import MAX_DEPTH, parse_object, raw_fields, splice
from pointsman.errors import InvalidRequest

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


def nested(depth: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    return b'{"a":' + opening * (depth - 1) + b"1" + closing * (depth - 1) + b"}"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b'"a"',
        b"{",
        b'{"a":}',
        b'{"a":1}x',
        b'{"a":1}{"b":2}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e400}',
        b'{"a":-1e400}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":"\\ud800"}',
        b'{"a":"\\udc00\\ud800"}',
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        b'{"a":"\x00"}',
        b'{"a":01}',
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a" 1}',
    ],
)
def test_what_is_not_a_json_object_is_the_callers_mistake(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as error:
        parse_object(body)
    assert error.value.status == 400


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"b"}',
        b'{"model": "a", "model": "a"}',
        b'{"a":{"b":1,"b":1}}',
        b'{"a":[{"b":1},{"b":1,"c":2,"b":3}]}',
        b'{"a":1,"\\u0061":2}',
        b'{"a":{"x":[1,{"y":2}]},"a":1}',
        b'{"a" :1,"b":2,"b":3}',
        b'{"text":"\\u0022:","b":2,"b":3}',
        b'{"text":"\\\\","b":2,"b":3}',
        b'{"text":"a\\"b:c","b":2,"b":3}',
        b'{"":1,"":2}',
    ],
)
def test_a_key_that_stands_twice_is_refused_and_named(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="twice"):
        parse_object(body)


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b' \n{ "a" : [ 1 , 2.0 , 1e-7 ] } ',
        b'{"a":"x: y, \\"b\\": 1","b":":::"}',
        b'{"a":"\\\\","b":"\\\\\\"","c":1}',
        b'{"a":{"k":1},"b":{"k":1}}',
        b'{"a":"\\u0000\\u00e9\\ud83d\\ude00"}',
    ],
)
def test_what_is_legal_is_read_as_json_reads_it(body: bytes) -> None:
    assert parse_object(body) == json.loads(body)


def test_an_integer_beyond_64_bits_is_read_roughly_and_passed_on_exactly() -> None:
    body = b'{"a":12345678901234567890123,"model":"x"}'
    assert parse_object(body)["a"] == pytest.approx(1.2345678901234568e22)
    assert b"12345678901234567890123" in splice(body, {"model": b'"y"'})


@pytest.mark.parametrize("depth", [MAX_DEPTH - 1, MAX_DEPTH])
def test_nesting_up_to_the_limit_is_read(depth: int) -> None:
    assert parse_object(nested(depth))
    assert parse_object(nested(depth, b'{"a":', b"}"))


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 1_000, 1_025, 10_000, 1_000_000])
def test_nesting_above_the_limit_is_refused(depth: int) -> None:
    for body in (nested(depth), nested(depth, b'{"a":', b"}"), nested(depth, b"[", b"")):
        with pytest.raises(InvalidRequest):
            parse_object(body)


def test_many_brackets_in_strings_and_side_by_side_are_not_deep() -> None:
    body = b'{"a":"' + b"[{" * 500 + b'","b":[' + b",".join([b"[]"] * 500) + b"]}"
    assert len(parse_object(body)["b"]) == 500  # type: ignore[arg-type]


def test_a_body_of_very_many_values_is_refused() -> None:
    most = strict_json.MAX_CONTAINERS
    parse_object(b'{"a":[' + b",".join([b"[]"] * (most - 2)) + b"]}")
    with pytest.raises(InvalidRequest, match="more than 50000 objects and lists"):
        parse_object(b'{"a":[' + b",".join([b"[]"] * (most - 1)) + b"]}")
    parse_object(b'{"a":[' + b",".join([b"1"] * (2 * most)) + b"]}")  # one list


@given(st.binary())
def test_random_bytes_raise_nothing_but_invalid_request(body: bytes) -> None:
    try:
        parse_object(body)
    except InvalidRequest:
        pass


@pytest.mark.slow
@given(st.dictionaries(TEXT, JSON, max_size=5), st.sampled_from([None, 1, "\t"]), st.booleans())
def test_every_object_comes_back_whatever_its_layout(
    value: dict[str, object], indent: str | int | None, ascii_only: bool
) -> None:
    body = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    assert parse_object(body) == value


@pytest.mark.slow
@given(st.dictionaries(TEXT, JSON, min_size=1, max_size=5), st.sampled_from([None, 2]))
def test_every_repeated_member_is_found(value: dict[str, object], indent: int | None) -> None:
    inner = json.dumps(value, indent=indent)
    key = json.dumps(next(iter(value)))
    body = f'{{"outer":{inner.rstrip()[:-1]},{key}:null}}}}'.encode()
    with pytest.raises(InvalidRequest, match="twice"):
        parse_object(body)


def test_splice_leaves_the_bytes_of_other_values_alone() -> None:
    body = b'{"model":"a", "n": 1.0 ,"tiny":1e-7,"big":12345678901234567890123,"t":"\\u00e9\\/"}'
    spliced = splice(body, {"model": b'"b"', "stream_options": b"{}", "n": None})
    assert spliced == (
        b'{"model":"b","tiny":1e-7,"big":12345678901234567890123,"t":"\\u00e9\\/",'
        b'"stream_options":{}}'
    )


def test_splice_of_the_last_field_leaves_an_empty_object() -> None:
    assert splice(b'{"a":1}', {"a": None}) == b"{}"


@pytest.mark.slow
@given(st.dictionaries(TEXT, JSON, max_size=5))
def test_splicing_nothing_changes_no_value(value: dict[str, object]) -> None:
    body = json.dumps(value).encode()
    assert json.loads(splice(body, {})) == value
    assert {key: json.loads(raw) for key, raw in raw_fields(body).items()} == value
