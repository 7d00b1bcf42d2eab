"""The YAML of a model spec as plain values: it comes with model files of others, so nothing in it is believed.

In:  the text of a `.yaml` beside a model, of the ONNX metadata, or of a data set's `data.yaml`.
Out: a mapping of what JSON knows (and dates, which nothing in a spec takes), small enough to be walked, shown and
written again; or ModelError, a line a problem.
Called by `engines/spec.py` and `engines/datasets/yolo.py`, which hold the values against the types.
"""

from __future__ import annotations

import unicodedata
from typing import Any

import yaml

from vedette.errors import ModelError

DESCRIBE_HINT = "`vedette model describe --help` shows a whole spec"

# Guesses: a gate's report has some hundreds of values in five levels.
_MAX_VALUES = 50_000
_MAX_LETTERS = 4_000_000
_MAX_DEPTH = 50
_MAX_LINE = 300
_KEPT_AS_IT_IS = "gate"
# Unicode's categories: surrogates, which cannot be encoded; and what breaks lines or steers terminals, which whoever
# shows a value replaces, but a key stands in errors.
_NO_TEXT, _CONTROL = {"Cs"}, {"Cc", "Zl", "Zp"}


class _Loader(yaml.SafeLoader):
    """Without merge keys (<<): nested ones multiply, and a few lines of them keep PyYAML busy for ever."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(None, None, "merge keys (<<) are not read here", key.start_mark)


def read_plain(text: bytes | str, where: str) -> dict[Any, Any]:
    """The mapping in `text`; `where` stands for the file. Raises ModelError."""
    try:
        plain = yaml.load(text, _Loader)  # a SafeLoader: it makes nothing but plain values
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        said = one_line(str(getattr(error, "problem", None) or "it cannot be read as text"))
        msg = f"{where}:{place} expected YAML: {said}"
        raise ModelError(msg) from error
    except (ValueError, RecursionError) as error:  # not text; a date that is none; brackets without end
        msg = f"{where}: expected YAML: {one_line(str(error).splitlines()[0])}"
        raise ModelError(msg) from error
    except (LookupError, AttributeError, ArithmeticError) as error:  # PyYAML on `!!bool x`, `!!timestamp x`, `!!int ""`
        msg = f"{where}: expected YAML: a tag (!!) that does not fit what follows it, or a date that is none"
        raise ModelError(msg) from error
    if not isinstance(plain, dict):
        got = "nothing" if plain is None else f"a {type(plain).__name__}"
        msg = f"{where}: expected keys and values, got {got}"
        raise ModelError(msg, hint=DESCRIBE_HINT)
    problem = _problem(plain)
    if problem is not None:
        msg = f"{where}: {problem}"
        raise ModelError(msg, hint=DESCRIBE_HINT)
    return plain


def one_line(text: str) -> str:
    """The text without line breaks and control characters, however hostile the values in it, and not for ever."""
    safe = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
    return safe if len(safe) <= _MAX_LINE else safe[: _MAX_LINE - 3] + "..."


def _problem(plain: dict[Any, Any]) -> str | None:
    """The first thing that could not be shown, walked or written again. Aliases count as often as they are used."""
    waiting: list[tuple[Any, str, int]] = [(plain, "", 0)]
    count = letters = 0
    while waiting:
        value, path, depth = waiting.pop()
        count += 1
        if count > _MAX_VALUES:
            return f"expected at most {_MAX_VALUES} values, aliases counted as often as they are used"
        if depth > _MAX_DEPTH:
            return f"{_shown(path)}: expected at most {_MAX_DEPTH} levels"
        in_report = path.partition(".")[0] == _KEPT_AS_IT_IS
        if isinstance(value, dict):
            for key in value:
                if isinstance(key, str) and _categories(key) & (_NO_TEXT | _CONTROL):
                    return f"{_shown(path)}: expected keys of printable characters, got {one_line(ascii(key))}"
                if in_report and not isinstance(key, str):
                    return f"{_shown(path)}: expected text as keys, got a {type(key).__name__}"
            waiting += [(inner, f"{path}.{key}" if path else str(key), depth + 1) for key, inner in value.items()]
        elif isinstance(value, list):
            waiting += [(inner, path, depth + 1) for inner in value]
        elif isinstance(value, str):
            letters += len(value)
            if letters > _MAX_LETTERS:
                return f"expected at most {_MAX_LETTERS} letters, aliases counted as often as they are used"
            if _categories(value) & _NO_TEXT:
                return f"{_shown(path)}: expected text, got half a character: {one_line(ascii(value))}"
        elif in_report and not (value is None or isinstance(value, bool | int | float)):
            return f"{_shown(path)}: expected text, a number, a list or keys and values, got a {type(value).__name__}"
    return None


def _categories(text: str) -> set[str]:
    return {unicodedata.category(character) for character in text}


def _shown(path: str) -> str:
    return one_line(path) or "the whole"
