"""Logs: for people in a terminal, as JSON lines otherwise; no password in any, no flood of the same line.

In:  records of `logging`, with fields in `extra` (`stream=`, `frame_seq=`, `track=`, …).
Out: one line a record on standard error (and a traceback below it, if there is one).
Called once by each command that runs for long. A line that repeats an earlier one, numbers aside, is held back for
10 s and counted; the next one that is written says how many there were. Changes of state are never held back.
"""

from __future__ import annotations

import datetime
import json
import logging
import re
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TextIO

from vedette.secrets import MASK, scrub

if TYPE_CHECKING:
    from stages.types import Clock  # brings numpy, which a subscriber's machine need not have

LogFormat = Literal["auto", "human", "json"]

REPEAT_NS = 10_000_000_000
CHANGE = {"_change": True}
"""For `extra`: the record tells of a change of state. Such a one is never held back, or the last line that an operator
sees would say what is over: a camera that was lost twice within 10 s would seem to be lost still.
"""

_MAX_REMEMBERED = 4096
_OURS = ("vedette", "pipeline", "stages", "engines")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "suppressed"}
_NUMBER = re.compile(r"(?<![\w.-])[-+]?\d+(?:\.\d+)?(?![\w-])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_COLOURS = {"WARNING": "\033[33m", "ERROR": "\033[31m", "CRITICAL": "\033[31m", "DEBUG": "\033[2m"}


def configure_logging(
    *,
    level: str = "info",
    format: LogFormat = "auto",
    clock: Clock,
    stream: TextIO | None = None,
) -> LogHandler:
    """Send all logs to `stream` (standard error), ours from `level` on, other packages' from warnings on.

    Replaces what an earlier call set up. `clock` is for the limit on repeats alone.
    """
    out = sys.stderr if stream is None else stream
    human = format == "human" or (format == "auto" and out.isatty())
    handler = LogHandler(out, clock, HumanFormatter(colour=out.isatty()) if human else JsonFormatter())
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, LogHandler)]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in _OURS:
        logging.getLogger(name).setLevel(level.upper())
    logging.captureWarnings(True)
    return handler


def hide_in_logs(words: Iterable[str]) -> None:
    """From now on mask these words (passwords, tokens) wherever they stand in a log, in a URL or alone."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LogHandler):
            handler.hide(words)


def masked(text: str) -> str:
    """`text` without passwords: those of URLs in it, and all that `hide_in_logs` was told of."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LogHandler):
            text = handler.mask(text)
    return scrub(text)


@dataclass(slots=True)
class _Repeats:
    since_ns: int
    suppressed: int
    last: logging.LogRecord


class LogHandler(logging.StreamHandler[TextIO]):
    """Writes records, masked, and holds back what repeats."""

    def __init__(self, stream: TextIO, clock: Clock, formatter: logging.Formatter) -> None:
        super().__init__(stream)
        self.setFormatter(formatter)
        self._clock = clock
        self._hidden: tuple[str, ...] = ()
        self._repeats: dict[tuple[str, int, object, str], _Repeats] = {}
        self._lock = threading.Lock()

    def hide(self, words: Iterable[str]) -> None:
        """Mask these words, too; shorter ones than four letters only where they stand in a URL."""
        with self._lock:
            found = {form for word in words if len(word) >= 4 for form in (word, json.dumps(word)[1:-1])}
            self._hidden = tuple(sorted({*self._hidden, *found}, key=len, reverse=True))

    def mask(self, text: str) -> str:
        """`text` without the hidden words and without the passwords of URLs."""
        for word in self._hidden:
            text = text.replace(word, MASK)
        return scrub(text)

    def emit(self, record: logging.LogRecord) -> None:
        if self._is_due(record):
            super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        """The record as text; a record that cannot be formatted is shown as it is, never lost."""
        formatter = self.formatter or logging.Formatter()
        try:
            text = formatter.format(record)
        except (TypeError, ValueError) as error:  # arguments that do not fit the template
            record.msg, record.args = f"{record.msg!r} with {record.args!r}: {error}", None
            text = formatter.format(record)
        return self.mask(text)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name that logging calls
        """Nothing: logging would print the record's raw arguments, secrets included, where writing just failed."""

    def close(self) -> None:
        """Say what was held back and never followed by another of its kind."""
        with self._lock:
            held, self._repeats = [entry for entry in self._repeats.values() if entry.suppressed], {}
        for entry in held:
            entry.last.__dict__["suppressed"] = entry.suppressed - 1
            super().emit(entry.last)
        super().close()

    def _is_due(self, record: logging.LogRecord) -> bool:
        if record.__dict__.get("_change"):
            return True
        try:
            text = _NUMBER.sub("#", record.getMessage())
        except (TypeError, ValueError):
            text = str(record.msg)
        key = (record.name, record.levelno, record.__dict__.get("stream"), text)
        now_ns = self._clock.mono_ns()
        with self._lock:
            entry = self._repeats.get(key)
            if entry is not None and now_ns - entry.since_ns < REPEAT_NS:
                entry.suppressed += 1
                entry.last = record
                return False
            if entry is None and len(self._repeats) >= _MAX_REMEMBERED:
                del self._repeats[min(self._repeats, key=lambda old: self._repeats[old].since_ns)]
            if entry is not None and entry.suppressed:
                record.__dict__["suppressed"] = entry.suppressed
            self._repeats[key] = _Repeats(now_ns, 0, record)
        return True


class HumanFormatter(logging.Formatter):
    """`12:00:00.123 WARNING stage.source: text  stream=gate`, local time."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        time = _time(record).astimezone().strftime("%H:%M:%S.%f")[:-3]
        fields = "".join(f"  {key}={value}" for key, value in _fields(record).items())
        line = _CONTROL.sub("?", f"{time} {record.levelname:<7} {record.getMessage()}{fields}{_suppressed(record)}")
        colour = _COLOURS.get(record.levelname, "") if self._colour else ""
        trace = _trace(self, record)
        return (f"{colour}{line}\033[0m" if colour else line) + (f"\n{trace}" if trace else "")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, thread, message, the fields, exception, suppressed."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": _time(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "thread": record.threadName,
            "message": scrub(record.getMessage()),
        }
        for key, value in _fields(record).items():
            entry.setdefault(
                key, value if isinstance(value, int | float | bool) or value is None else scrub(str(value))
            )
        if "suppressed" in record.__dict__:
            entry["suppressed"] = record.__dict__["suppressed"]
        trace = _trace(self, record)
        if trace:
            entry["exception"] = scrub(trace)
        return json.dumps(entry, ensure_ascii=False)


def _time(record: logging.LogRecord) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(record.created, tz=datetime.UTC)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD and not key.startswith("_")}


def _suppressed(record: logging.LogRecord) -> str:
    count = record.__dict__.get("suppressed")
    return f"  ({count} more like this were held back)" if count else ""


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = [formatter.formatException(record.exc_info)] if record.exc_info and record.exc_info[0] else []
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return "\n".join(parts)
