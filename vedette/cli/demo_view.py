"""What the demo shows: a table of the streams, and below it the latest events as a subscriber gets them.

On a terminal a live picture, elsewhere (and with `--plain`) lines now and then. Called by `vedette/cli/demo.py`.
"""

from __future__ import annotations

import datetime
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from vedette.client import Gap
from vedette.messages import GapEvent, RunStarted, StreamState, TrackEnded, TrackStarted

if TYPE_CHECKING:
    from pipeline.status import Quantiles, Status
    from stages.types import Clock

_REFRESH_S = 0.25
_PLAIN_REFRESH_S = 5.0
_PLAIN_EVENTS = 5
_MAX_EVENTS = 15
_AROUND_EVENTS = 10  # lines of the picture that are neither streams nor events
_STATE_STYLES = {
    "streaming": "green",
    "connecting": "yellow",
    "waiting": "yellow",
    "stalled": "red",
    "failed": "bold red",
}


class EventLog:
    """The latest events, in words; filled by the subscriber's thread, read by the view's."""

    def __init__(self, size: int = _MAX_EVENTS) -> None:
        self._lines: deque[str] = deque(maxlen=size)
        self._lock = threading.Lock()
        self._total = 0

    @property
    def total(self) -> int:
        """How many there were."""
        with self._lock:
            return self._total

    def add(self, line: str) -> None:
        with self._lock:
            self._lines.append(line)
            self._total += 1

    def latest(self, count: int, *, after: int = 0) -> list[str]:
        """The last `count` of those that came after the first `after`, oldest first."""
        with self._lock:
            count = max(0, min(count, self._total - after, len(self._lines)))
            return list(self._lines)[len(self._lines) - count :]


def describe(event: object) -> str:
    """One event as a line for people."""
    stream = getattr(event, "stream", "")
    match event:
        case RunStarted():
            what = f"run {event.run} began"
        case TrackStarted():
            what = f"{event.class_} #{event.track} appeared"
        case TrackEnded():
            what = f"{event.class_} #{event.track} left after {event.seen_s:.1f} s"
        case StreamState():
            what = event.state + (f" ({event.reason})" if event.reason else "")
        case GapEvent():
            what = f"{event.count} {event.what} were dropped ({event.reason})"
        case Gap():
            what = "events were missed" if event.count is None else f"{event.count} events were missed"
        case _:
            what = str(getattr(event, "kind", type(event).__name__))
    wall_ns = getattr(event, "wall_ns", None)
    time = _clock_time(wall_ns) if wall_ns is not None else ""
    return f"{time:<10}  {stream:<16} {what}"


def show(
    status: Callable[[], Status], log: EventLog, clock: Clock, stop: threading.Event, *, redis_url: str, plain: bool
) -> None:
    """Show the machine until `stop`, and once more as it is then."""
    console = Console(file=sys.stdout)
    if plain or not console.is_terminal:
        _show_lines(status, log, clock, stop)
        return

    def picture() -> Group:
        return _picture(status(), log, redis_url, console.height)

    with Live(picture(), console=console, refresh_per_second=8, vertical_overflow="crop") as live:
        while not clock.wait(stop, _REFRESH_S):
            live.update(picture())
        live.update(picture())


def _show_lines(status: Callable[[], Status], log: EventLog, clock: Clock, stop: threading.Event) -> None:
    told, over = 0, False
    while not over:
        over = clock.wait(stop, _PLAIN_REFRESH_S)
        total = log.total
        new = log.latest(min(_PLAIN_EVENTS, total - told), after=told)
        for line in _lines(status()):
            print(line)
        if total - told > len(new):
            print(f"         {total - told - len(new)} events, and then:")
        for line in new:
            print(f"         {line}")
        sys.stdout.flush()
        told = total


def _lines(status: Status) -> list[str]:
    return [
        f"{status.uptime_s:5.0f} s  {name:<16} {_state(stream.state, stream.reason):<18} "
        f"{stream.fps_published:5.1f} fps  {_ms(stream.latency_ms.get('total'), 'p50'):>7}  "
        f"{stream.objects:3} objects  {stream.totals.published:6} published"
        for name, stream in status.streams.items()
    ]


def _picture(status: Status, log: EventLog, redis_url: str, height: int) -> Group:
    """The whole picture, at most `height` lines as long as there are not too many streams for that."""
    engine = status.engine.partition(" (")[0]  # why it was taken is in the log of `vedette run`
    head = Text.assemble(
        (f"Vedette {status.version}", "bold"), f"   {status.model}   {engine}   {status.uptime_s:.0f} s"
    )
    head.no_wrap, head.overflow = True, "ellipsis"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("stream", no_wrap=True, overflow="ellipsis")
    table.add_column("state", no_wrap=True, min_width=10)
    for name in ("fps", "p50 ms", "p95 ms", "objects", "published", "superseded"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, stream in status.streams.items():
        total = stream.latency_ms.get("total")
        table.add_row(
            name,
            Text(_state(stream.state, stream.reason), style=_STATE_STYLES.get(stream.state, "dim")),
            f"{stream.fps_published:.1f}",
            _ms(total, "p50", unit=""),
            _ms(total, "p95", unit=""),
            str(stream.objects),
            str(stream.totals.published),
            str(stream.totals.superseded),
        )
    view = Text(f"What a subscriber sees at {redis_url}, {log.total} events so far", style="bold")
    room = max(3, height - len(status.streams) - _AROUND_EVENTS)
    lines = log.latest(room) or ["…"]
    events = Text("\n".join(lines + [""] * (min(room, _MAX_EVENTS) - len(lines))), no_wrap=True, overflow="ellipsis")
    return Group(head, table, view, events, Text("Ctrl-C stops in order.", style="dim"))


def _state(state: str, reason: str | None) -> str:
    return f"{state} ({reason})" if reason and reason != "operator" else state


def _ms(latency: Quantiles | None, which: str, *, unit: str = " ms") -> str:
    """Arrival to the sink's acknowledgement; a dash before the first frame."""
    return "–" if latency is None else f"{getattr(latency, which):.0f}{unit}"


def _clock_time(wall_ns: int) -> str:
    return datetime.datetime.fromtimestamp(wall_ns / 1e9, datetime.UTC).strftime("%H:%M:%S.%f")[:-5]
