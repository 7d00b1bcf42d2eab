"""Made-up views and statuses for the verdicts of `vedette bench isolation` and `staleness`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from pipeline.bench.shares.view import View
from pipeline.latency import STAGES
from pipeline.ledger import StreamTotals
from pipeline.status import Quantiles, Status
from tests.support.statuses import a_status

S = 1_000_000_000
MS = 1_000_000
SUMMARY: dict[str, Any] = {"ledger_problems": []}


def a_view(stream: str, number: int, *, fps: float = 10.0, age_ms: float = 20.0, epoch: int = 0) -> View:
    """The frame of a camera that began at 0 and loses nothing."""
    media_ns = int(number * S / fps)
    age_ns = int(age_ms * MS)
    return View(
        stream=stream, at_ns=media_ns + age_ns, age_ns=age_ns, media_ns=media_ns, run="r", epoch=epoch, n=number + 1
    )


def some_views(
    streams: Iterable[str], numbers: Iterable[int], *, fps: float = 10.0, age_ms: float = 20.0
) -> list[View]:
    """In the order of arrival. Ages differ a little, as they do: the last of a hundred is 10 % older."""
    numbers = list(numbers)
    found = [
        a_view(stream, number, fps=fps, age_ms=age_ms * (1 + 0.001 * (number % 100)))
        for stream in streams
        for number in numbers
    ]
    return sorted(found, key=lambda view: view.at_ns)


def a_report(
    streams: Iterable[str],
    *,
    engine_ms: float = 10.0,
    reconnections: Mapping[str, int] | None = None,
    problems: Iterable[str] = (),
    **totals: Any,
) -> Status:
    """What the process says of these streams, all of them alike but for their reconnections."""
    again = reconnections or {}
    none = {name: 0 for name in StreamTotals.__struct_fields__ if name not in ("failed", "reconnections")}
    model = a_status().streams["gate"]
    took = Quantiles(p50=engine_ms, p95=engine_ms, p99=engine_ms, count=1, sum_ms=engine_ms)
    reports = {
        name: msgspec.structs.replace(
            model,
            latency_ms=dict.fromkeys(STAGES, took),
            totals=StreamTotals(
                **{**none, **totals}, failed={}, reconnections={"stall": again[name]} if name in again else {}
            ),
        )
        for name in streams
    }
    return msgspec.structs.replace(a_status(), streams=reports, ledger_problems=list(problems))
