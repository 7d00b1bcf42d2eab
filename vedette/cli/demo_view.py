"""What the demo shows: a table of the streams, and below it the latest events as a subscriber gets them."""

from __future__ import annotations

import datetime
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from vedette.messages import StreamState, TrackEnded, TrackStarted

if TYPE_CHECKING:
    from pipeline.status import Status
    from stages.types import Clock

_REFRESH_S = 0.25
_PLAIN_REFRESH_S = 5.0
_STATE_STYLES = {"streaming": "green", "connecting": "yellow", "waiting": "yellow", "stalled": "red", "failed": "red"}


class EventLog:
    """The last few events, in words; filled by the subscriber's thread, read by the view's."""

    def __init__(self, size: int = 9) -> None:
        self._lines: deque[str] = deque(maxlen=size)
        self._lock = threading.Lock()
        self.total = 0

    def add(self, line: str) -> None:
        with self._lock:
            self._lines.append(line)
            self.total += 1

    def lines(self) -> list[str]:
        with self._lock:
            return list(self._lines)


def describe(event: object) -> str:
    """One event as a line for people."""
    wall_ns = getattr(event, "wall_ns", 0)
    time = datetime.datetime.fromtimestamp(wall_ns / 1e9, datetime.UTC).strftime("%H:%M:%S.%f")[:-5]
    stream = getattr(event, "stream", "")
    match event:
        case TrackStarted():
            what = f"{event.class_} #{event.track} appeared"
        case TrackEnded():
            what = f"{event.class_} #{event.track} left after {event.seen_s:.1f} s"
        case StreamState():
            what = event.state + (f" ({event.reason})" if event.reason else "")
        case _:
            what = type(event).__name__
    return f"{time}  {stream:<14} {what}"


def show(
    status: Callable[[], Status], log: EventLog, clock: Clock, stop: threading.Event, *, redis_url: str, plain: bool
) -> None:
    """Show the machine until `stop`: a live table on a terminal, a line now and then elsewhere."""
    console = Console(file=sys.stdout)
    if plain or not console.is_terminal:
        while not clock.wait(stop, _PLAIN_REFRESH_S):
            for line in _plain(status(), log):
                print(line, flush=True)
        return
    with Live(_picture(status(), log, redis_url), console=console, refresh_per_second=8, screen=False) as live:
        while not clock.wait(stop, _REFRESH_S):
            live.update(_picture(status(), log, redis_url))


def _picture(status: Status, log: EventLog, redis_url: str) -> Group:
    table = Table(title=f"Vedette {status.version}   {status.model}   {status.uptime_s:.0f} s", title_justify="left")
    for name, justify in (
        ("stream", "left"), ("state", "left"), ("fps", "right"), ("latency p50", "right"), ("p95", "right"),
        ("objects", "right"), ("published", "right"), ("superseded", "right"),
    ):  # fmt: skip
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for name, stream in status.streams.items():
        total = stream.latency_ms.get("total")
        state = stream.state + (f" ({stream.reason})" if stream.reason else "")
        table.add_row(
            name,
            Text(state, style=_STATE_STYLES.get(stream.state, "")),
            f"{stream.fps_published:.1f}",
            f"{total.p50:.0f} ms" if total else "–",
            f"{total.p95:.0f} ms" if total else "–",
            str(stream.objects),
            str(stream.totals.published),
            str(stream.totals.superseded),
        )
    view = Text(f"\nWhat a subscriber sees at {redis_url}\n", style="bold")
    events = Text("\n".join(log.lines()) or "…", style="dim")
    return Group(table, view, events)


def _plain(status: Status, log: EventLog) -> list[str]:
    lines = [
        f"{status.uptime_s:5.0f} s  {name:<16} {stream.state:<10} {stream.fps_published:5.1f} fps  "
        f"{stream.objects} objects  {stream.totals.published} published"
        for name, stream in status.streams.items()
    ]
    return lines + [f"         event: {line}" for line in log.lines()[-3:]]
