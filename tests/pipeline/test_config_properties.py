"""Whatever stands in the file: a configuration, or a ConfigError that names file and place. Never anything else."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.config import Config
from pipeline.config_file import load_config, resolved
from tests.support.bad_input import ENVIRON, GOOD
from vedette.errors import ConfigError

SECRET = ENVIRON["GATE_PASSWORD"]
# "site.yaml: streams[0].url: …", "site.yaml: line 3, column 1: …" or, of the whole, "site.yaml: expected …"
_KEY = r"(?:[A-Za-z_][\w-]*|'(?:[^'\\]|\\.)*'|\"[^\"]*\")(?:\[\d+\])*"
PLACED = re.compile(
    rf"\S*site\.yaml: (?:line \d+, column \d+: |{_KEY}(?:\.{_KEY})*: |expected |nested |more than |an escape )\S"
)

_WORDS = st.sampled_from(
    ["", "0", "-1", "true", "null", "~", "${GATE_PASSWORD}", "${NOPE}", "${", "$${", "rtsp://", "rtsp://a:b@c/d",
     "file:",
     "synthetic://street?people=1", "synthetic://[",
     "redis://x:y@z:1/2", "unix:///x", "[::1]:80",
     "0.0.0.0:1", "\n", "é", "a b",
     "2026-11-20T18:00:00Z", "9" * 50, "1e999", "file", "live", "redis", "jsonl", "id", "url", "loop"]
)  # fmt: skip
_LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12), _WORDS, st.dates().map(str)
)
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | _WORDS, inner, max_size=3),
    max_leaves=8,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] + [place for key, inner in items for place in places(inner, (*path, key))]


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """GOOD with some of its values replaced, removed, added to or renamed."""
    tree = yaml.safe_load(GOOD.replace("2026-11-20T18:00:00Z", '"2026-11-20T18:00:00Z"'))
    for _ in range(draw(st.integers(1, 3))):
        *parents, last = draw(st.sampled_from([place for place in places(tree) if place]))
        holder = tree
        for key in parents:
            holder = holder[key]
        match draw(st.sampled_from(["replace", "remove", "add", "copy"])):
            case "replace":
                holder[last] = draw(_VALUES)
            case "remove":
                del holder[last]
            case "add" if isinstance(holder, dict):
                holder[draw(st.text(max_size=8) | _WORDS)] = draw(_VALUES)
            case "copy" if isinstance(holder, list):
                holder.append(holder[last])
    return str(yaml.safe_dump(tree, allow_unicode=draw(st.booleans()), sort_keys=False))


def check(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "site.yaml"
        path.write_bytes(data)
        read: Config | ConfigError
        try:
            read = load_config(path, ENVIRON)
        except ConfigError as error:
            read = error
    if isinstance(read, Config):
        assert SECRET not in resolved(read)
        return
    assert read.problems
    for problem in read.problems:
        assert PLACED.match(problem), problem
        assert SECRET not in problem
        assert "\n" not in problem


def _edit(edit: Callable[[bytes, int, bytes], bytes]) -> st.SearchStrategy[bytes]:
    size = len(GOOD.encode())
    return st.builds(lambda at, new: edit(GOOD.encode(), at, new), st.integers(0, size), st.binary(max_size=4))


@settings(max_examples=300, deadline=None)
@given(mutated())
def test_a_changed_configuration_is_read_or_explained(text: str) -> None:
    check(text.encode("utf-8", "surrogatepass"))


@settings(max_examples=200, deadline=None)
@given(
    _edit(lambda text, at, new: text[:at] + new + text[at:])
    | _edit(lambda text, at, new: text[:at] + new)
    | _edit(lambda text, at, new: text[:at] + text[at + 1 + len(new) :])
    | st.text(alphabet="{}[]:-,&*!|>'\"%@` \n\t#a0~<\\U", max_size=40).map(str.encode)
)
@example(b"0'\":")  # a key that holds both kinds of quotes
def test_a_damaged_file_is_read_or_explained(data: bytes) -> None:
    check(data)
