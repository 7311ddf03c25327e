"""What YAML we read, and that values remember their lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.config.problems import Problem
from pointsman.config.yaml_marks import MAX_NODES, YamlProblem, line_of, plain, read_yaml


def value_of(text: str) -> object:
    node, problems = read_yaml(text)
    assert not problems
    return plain(node)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", {}),
        ("# only a comment", {}),
        ("a: 1", {"a": 1}),
        ("a: -1.5e3", {"a": -1500.0}),
        ("a: .59", {"a": 0.59}),
        ("a: 1_000", {"a": 1000}),
        ("a: true\nb: False", {"a": True, "b": False}),
        ("a: ~\nb:\nc: null", {"a": None, "b": None, "c": None}),
        ("a: no\nb: on\nc: 12:30", {"a": "no", "b": "on", "c": "12:30"}),
        ("a: 2026-11-01", {"a": "2026-11-01"}),
        ("a: '1'\nb: \"true\"", {"a": "1", "b": "true"}),
        ("a: .inf\nb: .nan", {"a": ".inf", "b": ".nan"}),
        ("a: 0x10\nb: 010", {"a": "0x10", "b": 10}),
        ("a: [1, {b: 2}]", {"a": [1, {"b": 2}]}),
        ("1: a", {"1": "a"}),
        ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
        ("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}", {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}),
        ("d: {<<: [{a: 1}, {a: 2, b: 2}]}", {"d": {"a": 1, "b": 2}}),
        ("d: {'<<': 1}", {"d": {"<<": 1}}),
    ],
)
def test_plain_values_follow_the_core_schema(text: str, value: object) -> None:
    assert value_of(text) == value


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("a: 1\nb: [1", 2, "not YAML"),
        ("a: 1\n\tb: 2", 2, "not YAML"),
        ("a: 1\nb: \x01", 2, "not YAML"),
        ("a: 1\n---\nb: 2", 2, "second document"),
        ("a: *x", 1, "before its anchor"),
        ("a: &x [*x]", 1, "before its anchor"),
        ("a: 1\n[b]: 2", 2, "a key that is not a word"),
        ("a: " + "[" * 40 + "]" * 40, 1, "deeper than"),
        ("a: " + "x" * 1_100_000, 1, "over 1024 KiB"),
    ],
)
def test_what_is_no_tree_is_refused_with_its_line(text: str, line: int, part: str) -> None:
    with pytest.raises(YamlProblem) as caught:
        read_yaml(text)
    assert caught.value.problem.line == line
    assert part in caught.value.problem.what


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3", Problem(3, "a", "written twice (first on line 1)", "keep one")),
        ("x:\n  a: 1\n  a: 2", Problem(3, "x.a", "written twice (first on line 2)", "keep one")),
        ("a: !!str 1", Problem(1, "a", "the tag `tag:yaml.org,2002:str`", "")),
        ("a:\n  - !python/object:os.system x", Problem(2, "a[0]", "the tag `!python/", "")),
        ("a: {<<: 1}", Problem(1, "a", "`<<` needs a mapping", "")),
    ],
)
def test_what_leaves_a_tree_is_reported_beside_it(text: str, problem: Problem) -> None:
    _, problems = read_yaml(text)
    assert [(p.line, p.path) for p in problems] == [(problem.line, problem.path)]
    assert problems[0].what.startswith(problem.what)


def test_aliases_may_not_blow_a_file_up() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 8)]
    with pytest.raises(YamlProblem, match=f"beyond {MAX_NODES}"):
        read_yaml("\n".join(lines))


def test_a_path_leads_to_the_line_of_its_key() -> None:
    root, _ = read_yaml("a: 1\nroutes:\n  - name: x\n    fallback:\n      chain: [\n        y]\n")
    assert line_of(root, ("routes",)) == 2
    assert line_of(root, ("routes", 0)) == 3
    assert line_of(root, ("routes", 0, "fallback", "chain")) == 5
    assert line_of(root, ("routes", 0, "fallback", "chain", 0)) == 6
    assert line_of(root, ("routes", 0, "fallback", "missing")) == 4
    assert line_of(root, ("routes", 7)) == 2


@given(st.text(max_size=60))
def test_no_text_at_all_does_more_than_complain(text: str) -> None:
    try:
        node, _ = read_yaml(text)
    except YamlProblem as problem:
        assert problem.problem.line >= 1
    else:
        plain(node)
