"""Specs that nobody means well: what fuzzing found and what is known of YAML, each refused in one line."""

from __future__ import annotations

import pytest

from engines.spec_yaml import one_line, read_plain
from vedette.errors import ModelError

LAUGHS = "\n".join(
    ["gate:", "  l0: &l0 [1]"] + [f"  l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 20)]
)
MERGES = "\n".join(
    ["m0: &m0 {a: 1}"] + [f"m{i}: &m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 9)}]}}" for i in range(1, 12)]
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: !!timestamp x", "a tag (!!) that does not fit what follows it"),
        ("name: !!bool x", "a tag (!!) that does not fit what follows it"),
        ('name: !!int ""', "a tag (!!) that does not fit what follows it"),
        ("name: 2026-01-01 00:00:00 +99:00", "expected YAML: offset must be"),
        ("name: !!python/object/apply:os.system [id]", "could not determine a constructor for the tag"),
        (LAUGHS, "expected at most 50000 values, aliases counted as often as they are used"),
        (MERGES, "merge keys (<<) are not read here"),
        ("gate: &a {x: *a}", "expected at most 50 levels"),
        ("classes: &a [*a]", "classes: expected at most 50 levels"),
        ("gate: " + "[" * 60 + "]" * 60, "gate: expected at most 50 levels"),
        ('"a\\nb": 1', "expected keys of printable characters, got 'a\\nb'"),
        ('name: "\\ud800"', "name: expected text, got half a character: '\\ud800'"),
        ("gate: {1: x}", "gate: expected text as keys, got a int"),
        ("gate: {x: !!binary aGk=}", "gate.x: expected text, a number, a list or keys and values, got a bytes"),
        ("gate: {x: 2026-01-01}", "gate.x: expected text, a number, a list or keys and values, got a date"),
    ],
)
def test_hostile_yaml_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(ModelError) as error:
        read_plain(text, "m.yaml")

    assert said in error.value.message
    assert all(line.isprintable() and len(line) < 400 for line in error.value.lines())


def test_anchors_are_read_as_long_as_they_stay_small() -> None:
    assert read_plain("gate: {a: &a [1, 2], b: *a}", "m.yaml") == {"gate": {"a": [1, 2], "b": [1, 2]}}


def test_one_line_is_one_line() -> None:
    assert one_line("a\nb\x1b\ud800é") == "a\\nb\\x1b\\ud800é"
    assert len(one_line("a" * 1000)) == 300
