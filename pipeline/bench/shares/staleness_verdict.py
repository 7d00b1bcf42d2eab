"""Holds an overload to what is promised of it: bounded age, cameras that go on being read, nothing uncounted. Pure.

A frame's age is that of `view.py`. It may be one frame period, which is how old the newest frame of a camera can be
when the engine is free, and three engine calls. One call is the median from submission to completion in this run.
Machines that are shared stand still now and then: all but one frame in a thousand must keep to it, and how the worst
did is in the report.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.bench.shares.isolation_verdict import count, engine_call_ms, ledger, own_figures
from pipeline.bench.shares.report import Check, QueueSample, Setting, StalenessReport
from pipeline.bench.shares.view import Figures, View, figures, percentile
from pipeline.status import Status

FACTOR = 3.0
CALLS = 3
PERCENT = 99.9
_TENTHS = 10
_DRAINED = 0.01
# Growth: what lies about in the last third, in the middle, less what did in the first; a few packets' worth.
_GROWTH_BYTES = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Overload:
    """What was seen from `begin_ns` to `end_ns`. `sent`: pictures that the servers sent meanwhile, all cameras."""

    fps: float
    begin_ns: int
    end_ns: int
    frames: Sequence[View]
    sent: int
    queues: Sequence[QueueSample]
    before: Status
    after: Status
    summary: Any

    @property
    def seconds(self) -> float:
        return (self.end_ns - self.begin_ns) / 1e9


def judge_staleness(seen: Overload, *, capacity_fps: Sequence[float], setting: Setting) -> StalenessReport:
    """The verdict. Raises ValueError if no frame was analysed."""
    cameras = list(seen.after.streams)
    offered_fps = len(cameras) * seen.fps
    decoded, superseded, published = (_grown(seen, what) for what in ("decoded", "superseded", "published"))
    call_ms = engine_call_ms([seen.after], cameras)
    limit_ms = 1e3 / seen.fps + CALLS * call_ms
    ages = figures(seen.frames)
    oldest_ms = percentile(sorted(view.age_ns / 1e6 for view in seen.frames), PERCENT)
    older = sum(view.age_ns / 1e6 > limit_ms for view in seen.frames)
    rates = [sum(view.stream == name for view in seen.frames) / seen.seconds for name in cameras]
    again = sum(sum(report.totals.reconnections.values()) for report in seen.after.streams.values())
    checks = [
        Check(
            promise=f"the cameras offer {FACTOR:g} times what the engine can do",
            holds=offered_fps >= FACTOR * max(capacity_fps),
            found=f"{offered_fps / max(capacity_fps):.2f} times: {offered_fps:g} frames a second",
            limit=f"at least {FACTOR:g} times {max(capacity_fps):.1f}",
            timed=True,
        ),
        Check(
            promise="an analysed frame is at most one frame period and three engine calls old",
            holds=oldest_ms <= limit_ms,
            found=f"{PERCENT:g} % are at most {oldest_ms:.1f} ms old (p50 {ages.p50:.1f}, p99 {ages.p99:.1f}, max "
            f"{ages.max:.1f}); {older} of {ages.frames} are older than the limit",
            limit=f"{limit_ms:.1f} ms: {1e3 / seen.fps:.0f} and {CALLS} times {call_ms:.2f}",
            timed=True,
        ),
        _drained(seen, decoded),
        _flat(seen.queues),
        Check(
            promise="what was not analysed is counted as superseded",
            holds=superseded > 0 and abs(decoded - published - superseded) <= 2 * len(cameras),
            found=f"{decoded} decoded = {published} published + {superseded} superseded + what is on its way",
            limit=f"within {2 * len(cameras)}",
        ),
        count("nothing connects again", again),
        ledger([seen.summary], [seen.before, seen.after]),
    ]
    return StalenessReport(
        verdict="held" if all(check.holds for check in checks) else "broken",
        setting=setting,
        checks=checks,
        cameras=len(cameras),
        fps=seen.fps,
        seconds=round(seen.seconds, 1),
        capacity_fps=[round(fps, 1) for fps in capacity_fps],
        offered_fps=offered_fps,
        decoded_fps=round(decoded / seen.seconds, 1),
        published_fps=round(published / seen.seconds, 1),
        superseded=superseded,
        engine_call_ms=round(call_ms, 2),
        own_ms=own_figures([seen.after], cameras),
        limit_ms=round(limit_ms, 2),
        older=older,
        ages_ms=ages,
        from_capture_ms=_older(ages, 1e3 / seen.fps),
        ages_by_tenth_ms=_by_tenth(seen),
        slowest_camera_fps=round(min(rates), 2),
        fastest_camera_fps=round(max(rates), 2),
        queues=list(seen.queues),
    )


def _grown(seen: Overload, what: str) -> int:
    return sum(
        getattr(seen.after.streams[name].totals, what) - getattr(seen.before.streams[name].totals, what)
        for name in seen.after.streams
    )


def _drained(seen: Overload, decoded: int) -> Check:
    """Every picture that was sent is decoded, but for those at the edges of the window."""
    slack = len(seen.after.streams) * 2 + seen.sent * _DRAINED
    lost = sum(report.totals.packets_lost for report in seen.after.streams.values())
    lost -= sum(report.totals.packets_lost for report in seen.before.streams.values())
    return Check(
        promise="the cameras go on being read: all that they send is decoded",
        holds=abs(seen.sent - decoded) <= slack and not lost,
        found=f"{seen.sent} sent, {decoded} decoded, {lost} packets lost",
        limit=f"within {slack:.0f}, none lost",
        timed=True,
    )


def _flat(queues: Sequence[QueueSample]) -> Check:
    third = max(1, len(queues) // 3)
    held = [sample.unsent + sample.unread for sample in queues]
    first, last = statistics.median(held[:third]), statistics.median(held[-third:])
    return Check(
        promise="the servers' send queues and ours do not grow",
        holds=last - first <= _GROWTH_BYTES,
        found=f"{first:.0f} bytes in the first third, in the middle, {last:.0f} in the last, at most {max(held)}",
        limit=f"{_GROWTH_BYTES} bytes more",
        timed=True,
    )


def _older(ages: Figures, by_ms: float) -> Figures:
    return Figures(
        frames=ages.frames,
        p50=round(ages.p50 + by_ms, 2),
        p95=round(ages.p95 + by_ms, 2),
        p99=round(ages.p99 + by_ms, 2),
        max=round(ages.max + by_ms, 2),
    )


def _by_tenth(seen: Overload) -> list[Figures]:
    """Ages in each tenth of the time that had frames: whether they grow."""
    width_ns = max(1, (seen.end_ns - seen.begin_ns) // _TENTHS)
    tenths: dict[int, list[View]] = {}
    for view in seen.frames:
        tenths.setdefault(min(_TENTHS - 1, (view.at_ns - seen.begin_ns) // width_ns), []).append(view)
    return [figures(tenths[number]) for number in sorted(tenths)]
