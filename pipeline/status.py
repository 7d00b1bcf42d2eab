"""What the machine can say about itself at one moment: plain data, filled in by the pipeline, read by everyone.

`/status` shows it as JSON, `/metrics` renders it (`pipeline/metrics.py`), the demo's table and the summary at exit
print it, so that none of them can say something else than the others. Nothing here holds a password: URLs are masked
before they get in.
"""

from __future__ import annotations

from typing import Any

import msgspec

from pipeline.ledger import LedgerTotals, SinkTotals, StreamTotals
from vedette.json_text import json_bytes
from vedette.messages import ClockName, ReasonName, StreamStateName


class Quantiles(msgspec.Struct, frozen=True, kw_only=True):
    """One stage's latency in milliseconds, over all frames of the run."""

    p50: float
    p95: float
    p99: float
    count: int
    sum_ms: float


class StreamReport(msgspec.Struct, frozen=True, kw_only=True):
    """One stream at this moment.

    `since_s`: how long it has been in `state`. `url` is masked. `size`, `codec` and `clock` are None until the first
    frame. `fps_decoded` and `fps_published` are of the last seconds. `note` is for people: the last trouble, in a
    line. `decoder`: where pictures are decoded, if a GPU was asked for it: `GPU 0`, or `CPU:` and why. `latency_ms`: by
    stage, in the order of the stages, and `total` (packet's arrival to the slowest sink's acknowledgement). `objects`
    are those of the last frame, whose time of capture is `last_wall_ns`.
    """

    state: StreamStateName
    reason: ReasonName | None
    since_s: float
    epoch: int
    url: str
    run: str
    size: tuple[int, int] | None
    codec: str | None
    decoder: str | None = None
    fps_decoded: float
    fps_published: float
    frozen: bool
    clock: ClockName | None
    clock_error_ms: float | None
    note: str
    latency_ms: dict[str, Quantiles]
    objects: int
    last_wall_ns: int | None
    totals: StreamTotals


class SinkReport(msgspec.Struct, frozen=True, kw_only=True):
    """One sink at this moment; `problem` is None while all is well."""

    problem: str | None
    totals: SinkTotals


class ProcessReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the process uses: CPU seconds so far, resident memory, open files."""

    cpu_s: float
    rss_bytes: int
    open_files: int


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The whole machine at one moment. `engine` is the engine's own description; `threads` are the living ones' names.

    `ledger_problems` is empty while every account balances.
    """

    version: str
    started_wall_ns: int
    uptime_s: float
    model: str
    engine: str
    run: str
    streams: dict[str, StreamReport]
    sinks: dict[str, SinkReport]
    published: int
    events: int
    ledger_problems: list[str]
    threads: list[str]
    process: ProcessReport

    @property
    def ledger(self) -> LedgerTotals:
        """The ledger that this status was made from."""
        return LedgerTotals(
            streams={name: stream.totals for name, stream in self.streams.items()},
            sinks={name: sink.totals for name, sink in self.sinks.items()},
            published=self.published,
            events=self.events,
        )


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether frames are flowing; if not, why not, one line a reason."""

    ready: bool
    reasons: list[str]


def as_json(value: Status | Readiness | dict[str, Any]) -> bytes:
    """The JSON that the HTTP endpoints and `--json` show."""
    return json_bytes(value)
