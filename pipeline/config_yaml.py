"""A YAML file as plain values, strictly: every key once, nothing constructed, `${NAME}` filled in.

In:  the bytes of the file and the environment.
Out: a `Document`: mappings with text keys, lists, text, numbers, true/false, None; what was wrong on the way is
     reported with its path and stands in the tree as BROKEN, so that the rest can still be checked.
YAML 1.2's core rules decide what is a number: `on`, `yes`, `12:30` and dates are text, as people expect.
Called by `pipeline/config_file.py`. Raises ConfigError (without the file's name) when there is no tree at all.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml
from yaml.composer import Composer
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from vedette.errors import ConfigError
from vedette.secrets import scrub

MAX_BYTES: Final = 1 << 20
MAX_VALUES: Final = 100_000
"""Guesses, far above any real configuration: they bound what a hostile or mistaken file can cost."""

_TAG = "tag:yaml.org,2002:"
_VARIABLE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)\}|\$\{")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_NOT_IN_URL = re.compile(r"[^A-Za-z0-9._~!$'()*+,;=-]")
# What no percent-encoded text has in it: a value with one of these is as a person types it, its % signs included.
_NOT_ENCODED = re.compile(r"%(?![0-9A-Fa-f]{2})|[^!$%'-.0-;=A-Z_a-z~]")


class Broken:
    """Stands for a value that is wrong and has been reported."""

    def __repr__(self) -> str:
        return "BROKEN"


BROKEN: Final = Broken()


class Expanded(str):
    """Text with the environment's values in it; `raw` is the text as it stands in the file, fit for showing."""

    __slots__ = ("raw",)
    raw: str


@dataclass(slots=True)
class Document:
    """The values of a file, the line of each path, and what was wrong: (path, text)."""

    root: Any = None
    lines: dict[str, int] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)


class _Loader(Reader, Scanner, Parser, Composer, BaseResolver):
    """PyYAML's reading half, without its constructors, and with the tag rules below."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)


_DIGITS = "-+0123456789"
for _name, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    # Longer runs of digits are text: they are nobody's number, and int() refuses more than 4300.
    ("int", r"[-+]?[0-9]{1,40}", list(_DIGITS)),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]{1,40}(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,4})?", list(_DIGITS + ".")),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(rf"^(?:{_pattern})$"), _first)


def read_yaml(data: bytes, environ: Mapping[str, str]) -> Document:
    """The values in `data`. Raises ConfigError if it is not YAML or not one document."""
    if len(data) > MAX_BYTES:
        msg = f"larger than {MAX_BYTES >> 20} MiB, which no configuration is"
        raise ConfigError(msg)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        msg = f"expected UTF-8 text, got byte 0x{data[error.start]:02x} at offset {error.start}"
        raise ConfigError(msg) from None
    try:
        node = _Loader(text).get_single_node()
        return _Build(environ).document(node)
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - text.rfind("\n", 0, error.position)
        msg = f"line {line}, column {column}: a control character, U+{error.character:04X}"
        raise ConfigError(msg) from None
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_syntax(error)) from None
    except RecursionError:
        msg = "nested too deeply to be a configuration"
        raise ConfigError(msg) from None
    except (ValueError, OverflowError):  # PyYAML lets chr() complain about "\UFFFFFFFF"
        msg = "an escape in double quotes stands for no character"
        raise ConfigError(msg) from None


def _syntax(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    problem = " ".join(str(error.problem or error.context or "not YAML").split())
    if problem.startswith("found undefined alias"):
        # The name is left out: it may be a password that begins with '*' and was not quoted.
        problem = "an alias (*name) without its anchor (&name); text that begins with '*' needs quotes"
    elif "found character '\\t'" in problem:
        problem = "a tab; YAML is indented with spaces"
    elif "expected a single document" in str(error.context):
        problem = "expected one document, got a second one"
    elif "flow mapping" in str(error.context) or "found unexpected end of stream" in problem:
        problem += "; text with {, }, [, ], or ${NAME} needs quotes within { } and [ ]"
    return where + scrub(problem)


class _Build:
    """Makes plain values of nodes; aliases share their nodes, so what they expand to is counted."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._out = Document()
        self._open: set[int] = set()
        self._count = 0

    def document(self, node: Node | None) -> Document:
        self._out.root = None if node is None else self._value(node, "")
        return self._out

    def _problem(self, path: str, text: str) -> Broken:
        self._out.problems.append((path, text))
        return BROKEN

    def _value(self, node: Node, path: str) -> Any:
        self._count += 1
        if self._count > MAX_VALUES:
            msg = f"more than {MAX_VALUES} values, aliases counted as often as they are used"
            raise ConfigError(msg)
        self._out.lines[path] = node.start_mark.line + 1
        if id(node) in self._open:
            return self._problem(path, "an alias that contains itself")
        self._open.add(id(node))
        try:
            if isinstance(node, ScalarNode):
                return self._scalar(node, path)
            if isinstance(node, SequenceNode) and node.tag == _TAG + "seq":
                return [self._value(item, f"{path}[{index}]") for index, item in enumerate(node.value)]
            if isinstance(node, MappingNode) and node.tag == _TAG + "map":
                return self._mapping(node, path)
        finally:
            self._open.discard(id(node))
        return self._problem(path, f"expected plain YAML, got the tag {_shown_tag(node.tag)}")

    def _mapping(self, node: MappingNode, path: str) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        first_lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == _TAG + "merge":
                self._merge(value_node, path, merged)
                continue
            if not (isinstance(key_node, ScalarNode) and key_node.tag == _TAG + "str" and _printable(key_node.value)):
                self._problem(path, f"expected a key that is a word, got another kind of key in line {line}")
                continue
            key: str = key_node.value
            inner = join(path, key)
            if key in own:
                self._problem(inner, f"given twice, in line {first_lines[key]} and again in line {line}")
                continue
            first_lines[key] = line
            own[key] = self._value(value_node, inner)
        return merged | own

    def _merge(self, node: Node, path: str, merged: dict[str, Any]) -> None:
        """`<<: *defaults`, or a list of them: keys that the mapping may override; the first of a list wins."""
        for item in node.value if isinstance(node, SequenceNode) else [node]:
            value = self._value(item, path)
            if isinstance(value, dict):
                for key, inner in value.items():
                    merged.setdefault(key, inner)
            elif value is not BROKEN:
                self._problem(path, "expected a mapping after <<")

    def _scalar(self, node: ScalarNode, path: str) -> Any:
        text: str = node.value
        match node.tag.removeprefix(_TAG):
            case "null":
                return None
            case "bool" if text.lower() in ("true", "false"):
                return text.lower() == "true"
            case "int" if re.fullmatch(r"[-+]?[0-9]{1,40}", text):
                return int(text)
            case "float" if re.fullmatch(r"[-+]?[0-9.]{1,80}(?:[eE][-+]?[0-9]{1,4})?", text):
                return float(text)
            case "str":
                return self._text(text, path)
            case "merge":
                return self._problem(path, "expected a value, got <<")
        return self._problem(path, f"expected plain YAML, got the tag {_shown_tag(node.tag)}")

    def _text(self, text: str, path: str) -> str | Broken:
        if not _printable(text):
            return self._problem(path, "expected text in one line, got a control character or a line break in it")
        if "${" not in text:
            return text
        problems = len(self._out.problems)
        expanded = Expanded(_VARIABLE.sub(lambda match: self._variable(match, text, path), text))
        expanded.raw = text
        return BROKEN if len(self._out.problems) > problems else expanded

    def _variable(self, match: re.Match[str], text: str, path: str) -> str:
        name = match["name"]
        if match[0] == "$${":
            return "${"
        if name is None:
            self._problem(path, "expected ${NAME}, a name of letters, digits and _ in braces (write $${ for ${ itself)")
            return ""
        value = self._environ.get(name)
        if value is None:
            self._problem(path, f"the environment variable {name} is not set")
        elif not value:
            self._problem(path, f"the environment variable {name} is empty")
        elif not _printable(value):
            self._problem(path, f"the environment variable {name} holds a control character or a line break")
        else:
            return _fit_for(text, match.start(), value)
        return ""


def join(path: str, key: str) -> str:
    """The path of `key` in the mapping at `path`; what looks like a secret in a key is masked."""
    shown = scrub(key)
    shown = shown if len(shown) <= 40 else shown[:37] + "..."
    shown = shown if _WORD.fullmatch(shown) else repr(shown)
    return f"{path}.{shown}" if path else shown


def _fit_for(text: str, position: int, value: str) -> str:
    """`value` as it goes into `text` at `position`: percent-encoded where it would end a URL's password or query.

    What is percent-encoded already, as a whole, stays, so that both ways of writing a password work. A ':' stays in
    front of the template's own, since `${LOGIN}@host` may hold user and password.
    """
    authority = text.find("://") + 3
    if authority < 3 or position < authority:
        return value
    end = min((at for at in (text.find(mark, authority) for mark in "/?#") if at >= 0), default=len(text))
    in_userinfo = position < end and "@" in text[position:end]
    if not in_userinfo and "?" not in text[authority:position]:
        return value
    keep = {":"} if in_userinfo and ":" not in text[authority:position] else set()
    if not _NOT_ENCODED.search(value):
        keep.add("%")
    return _NOT_IN_URL.sub(
        lambda match: match[0] if match[0] in keep else "".join(f"%{byte:02X}" for byte in match[0].encode()), value
    )


def _printable(text: str) -> bool:
    """No control characters and no lone surrogates: they break URLs, file names, logs and terminals."""
    return not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text)


def _shown_tag(tag: str) -> str:
    return scrub(tag.replace(_TAG, "!!"))[:40]
