"""Plain values into the configuration's structs, against their own types, reporting everything that is wrong.

msgspec.convert stops at the first error and knows no nearest key; this walks the same types (`msgspec.inspect`) and
goes on. It also keeps every good value by its path, so that checks across fields can speak in the same run.
Called by `pipeline/config_file.py`.
"""

from __future__ import annotations

import datetime
import difflib
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from msgspec import inspect

from pipeline.config_yaml import BROKEN, Expanded, join
from vedette.secrets import Secret, SecretUrl


@dataclass(slots=True)
class Converted:
    """`given`: for each mapping's path the values in it that are of the right type (defaults are not in it).

    `shown`: for each path the value as an error text may show it, which `given` no longer knows.
    """

    value: Any = BROKEN
    given: dict[str, dict[str, Any]] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)


def convert(value: Any, type_: Any, raw_problems: Iterable[tuple[str, str]] = ()) -> Converted:
    """`value` as a `type_`; `value` of the result is BROKEN if anything was wrong."""
    walk = _Walk()
    walk.out.problems.extend(raw_problems)
    result = walk.convert(value, inspect.type_info(type_), "")
    walk.out.value = BROKEN if walk.out.problems else result
    return walk.out


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant."""
    candidates = {name.lower().replace("_", ""): name for name in known}
    key = word.lower().replace("_", "").replace("-", "").replace(" ", "")
    close = difflib.get_close_matches(key, candidates, n=1, cutoff=0.6)
    return candidates[close[0]] if close else None


def show(value: Any) -> str:
    """A value for an error text: as it stands in the file, masked, short; never what the environment held."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = str(SecretUrl(value.raw if isinstance(value, Expanded) else value))
        return f"'{text}'" if len(text) <= 80 else f"'{text[:77]}...'"
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) and abs(value) < 1e15 else str(value)[:40]
    return "a list" if isinstance(value, list) else "a mapping"


class _Walk:
    def __init__(self) -> None:
        self.out = Converted()

    def convert(self, value: Any, kind: inspect.Type, path: str) -> Any:
        if value is BROKEN:
            return BROKEN
        self.out.shown[path] = show(value)
        match kind:
            case inspect.Metadata() if _described(kind) is None:
                return self.convert(value, kind.type, path)
            case inspect.UnionType():
                return self._union(value, kind, path)
            case inspect.StructType():
                return self._struct(value, kind, path)
            case inspect.VarTupleType():
                return self._list(value, kind, path)
        problem = _problem(value, kind)
        if problem is not None:
            return self._wrong(path, problem)
        return _leaf(value, kind)

    def _wrong(self, path: str, text: str) -> Any:
        self.out.problems.append((path, text))
        return BROKEN

    def _union(self, value: Any, kind: inspect.UnionType, path: str) -> Any:
        if value is None and any(isinstance(option, inspect.NoneType) for option in kind.types):
            return None
        options = [option for option in kind.types if not isinstance(option, inspect.NoneType)]
        if len(options) == 1:
            return self.convert(value, options[0], path)
        structs = [option for option in options if isinstance(option, inspect.StructType)]
        if not isinstance(value, dict):
            return self._wrong(path, f"expected a mapping, got {show(value)}")
        tag_field = structs[0].tag_field or ""
        tags = {str(option.tag): option for option in structs}
        if tag_field not in value:
            return self._wrong(join(path, tag_field), f"missing, expected {_words(tags)}")
        tag = value[tag_field]
        if tag is BROKEN:
            return BROKEN
        if not isinstance(tag, str) or tag not in tags:
            return self._wrong(join(path, tag_field), f"expected {_words(tags)}, got {show(tag)}{_hint(tag, tags)}")
        return self._struct({key: inner for key, inner in value.items() if key != tag_field}, tags[tag], path)

    def _struct(self, value: Any, kind: inspect.StructType, path: str) -> Any:
        if not isinstance(value, dict):
            return self._wrong(path, f"expected a mapping, got {show(value)}")
        known = {item.encode_name: item for item in kind.fields}
        meant: set[str] = set()
        for key in value:
            if key not in known:
                close = nearest(key, (name for name in known if name not in value)) or nearest(key, known)
                meant.add(close or "")
                did_you_mean = f"did you mean '{close}'?" if close else f"expected one of: {', '.join(known)}"
                self._wrong(join(path, key), f"unknown key; {did_you_mean}")
        good: dict[str, Any] = {}
        self.out.given[path] = good
        whole = True
        for name, item in known.items():
            if name in value:
                result = self.convert(value[name], item.type, join(path, name))
                if result is BROKEN:
                    whole = False
                else:
                    good[name] = result
            elif item.required:
                whole = False
                if name not in meant:
                    self._wrong(join(path, name), f"missing, expected {expected(item.type)}")
        return kind.cls(**good) if whole else BROKEN

    def _list(self, value: Any, kind: inspect.VarTupleType, path: str) -> Any:
        if not isinstance(value, list):
            return self._wrong(path, f"expected a list, got {show(value)}")
        if kind.min_length and len(value) < kind.min_length:
            return self._wrong(path, "expected at least one, got an empty list")
        items = [self.convert(item, kind.item_type, f"{path}[{index}]") for index, item in enumerate(value)]
        return BROKEN if any(item is BROKEN for item in items) else tuple(items)


def expected(kind: inspect.Type) -> str:
    """What a value of this type looks like, in words."""
    match kind:
        case inspect.Metadata():
            return _described(kind) or expected(kind.type)
        case inspect.UnionType():
            return " or ".join(expected(option) for option in kind.types if not isinstance(option, inspect.NoneType))
        case inspect.LiteralType():
            return _words(kind.values)
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return "a whole number" + _limits(kind)
        case inspect.FloatType():
            return "a number" + _limits(kind)
        case inspect.StrType():
            return "text" if kind.pattern is None else f"text like {kind.pattern}"
        case inspect.DateTimeType():
            return "a time with its zone, such as 2026-11-20T18:00:00Z"
        case inspect.VarTupleType():
            return "a list"
        case inspect.CustomType():
            return "a URL" if kind.cls is SecretUrl else "text"
    return "a mapping"


def _described(kind: inspect.Metadata) -> str | None:
    """The words in which the type itself says what it takes (`msgspec.Meta(description=…)`)."""
    return (kind.extra_json_schema or {}).get("description")


def _problem(value: Any, described: inspect.Type) -> str | None:
    """What is wrong with a single value, if anything."""
    kind = described.type if isinstance(described, inspect.Metadata) else described
    match kind:
        case inspect.LiteralType():
            good = any(value == word and type(value) is type(word) for word in kind.values)
        case inspect.BoolType():
            good = isinstance(value, bool)
        case inspect.IntType():
            good = isinstance(value, int) and not isinstance(value, bool) and _within(value, kind)
        case inspect.FloatType():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            good = number and math.isfinite(value) and _within(value, kind)
        case inspect.StrType():
            good = isinstance(value, str) and bool(value) and re.search(kind.pattern or "", value) is not None
        case inspect.CustomType():
            good = isinstance(value, str) and bool(value)
        case inspect.DateTimeType():
            good = _time(value) is not None
        case _:
            good = False
    if good:
        return None
    got = show(value)
    if isinstance(kind, inspect.CustomType) and kind.cls is Secret:
        got = "nothing" if value in (None, "") else "another type; put it in quotes"
    elif isinstance(value, Expanded) and isinstance(kind, inspect.IntType | inspect.FloatType | inspect.BoolType):
        got += ", and what the environment gives is always text"
    elif isinstance(kind, inspect.StrType | inspect.CustomType) and isinstance(value, bool | int | float):
        got += ", a number; put it in quotes" if not isinstance(value, bool) else "; put it in quotes"
    elif isinstance(value, str) and _would_fit_unquoted(value, described):
        got += "; take the quotes away"
    words = [word for word in kind.values if isinstance(word, str)] if isinstance(kind, inspect.LiteralType) else []
    hint = _hint(value, words)
    return f"expected {expected(described)}, got {got}{hint}"


def _would_fit_unquoted(text: str, described: inspect.Type) -> bool:
    """Whether it is a number or a truth value in quotes, and nothing else is wrong with it."""
    try:
        plain = json.loads(text) if len(text) < 30 else None
    except ValueError:
        return False
    return isinstance(plain, bool | int | float) and _problem(plain, described) is None


def _leaf(value: Any, kind: inspect.Type) -> Any:
    """A checked single value as its field holds it."""
    match kind:
        case inspect.Metadata():
            return _leaf(value, kind.type)
        case inspect.FloatType():
            return float(value)
        case inspect.DateTimeType():
            return _time(value)
        case inspect.CustomType():
            return kind.cls(str(value))
        case inspect.StrType():
            return str(value)
    return value


def _within(value: float, kind: inspect.IntType | inspect.FloatType) -> bool:
    return (
        (kind.gt is None or value > kind.gt)
        and (kind.ge is None or value >= kind.ge)
        and (kind.lt is None or value < kind.lt)
        and (kind.le is None or value <= kind.le)
    )


def _limits(kind: inspect.IntType | inspect.FloatType) -> str:
    limits = (">", kind.gt), (">=", kind.ge), ("<", kind.lt), ("<=", kind.le)
    return " and".join(f" {sign} {limit:g}" for sign, limit in limits if limit is not None)


def _time(value: Any) -> datetime.datetime | None:
    """A time with its zone between 1970 and 2200: nanoseconds since 1970 must fit into 63 bits."""
    if not isinstance(value, str):
        return None
    try:
        time = datetime.datetime.fromisoformat(value)
        return time if time.tzinfo is not None and 1970 <= time.astimezone(datetime.UTC).year < 2200 else None
    except (ValueError, OverflowError):
        return None


def _words(words: Iterable[Any]) -> str:
    return " or ".join(f"'{word}'" if isinstance(word, str) else str(word) for word in words)


def _hint(value: Any, known: Iterable[str]) -> str:
    close = nearest(value, known) if isinstance(value, str) else None
    return f"; did you mean '{close}'?" if close else ""
