"""What a subscriber saw of a camera, as figures: how old a frame was when it came, and what was missing.

A frame's age is counted from when it was whole at a receiver. The camera's own time (RTCP) says when it began to send
the picture; that it is whole a receiver knows only when the next one begins, one frame period later (RTP of H.264: no
length, no end). So age = when the subscriber had it - capture - one period: what decoding, waiting, the engine, Redis
and the way to the subscriber took, and whatever the server was late by. Server and subscriber share this host's clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import msgspec

from pipeline.bench.faults.subscriber import Seen
from vedette.messages import FrameMessage

RTCP = "rtcp"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One frame as the subscriber had it at `at_ns` (monotonic); `media_ns` is its time stamp."""

    stream: str
    at_ns: int
    age_ns: int
    media_ns: int
    run: str
    epoch: int
    n: int


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Ages of so many frames, in milliseconds."""

    frames: int
    p50: float
    p95: float
    p99: float
    max: float


def views(seen: Iterable[Seen], streams: Iterable[str], *, fps: float, wall_of_mono_ns: int) -> list[View]:
    """The frames of these cameras, in the order of arrival. `wall_of_mono_ns`: wall clock less monotonic clock."""
    wanted = frozenset(streams)
    period_ns = int(1e9 / fps)
    found = []
    for entry in seen:
        message = entry.message
        if entry.stream not in wanted or not isinstance(message, FrameMessage):
            continue
        # Before the camera's first report the times are those of the arrivals, which are of whole pictures.
        whole_ns = message.wall_ns + (period_ns if message.clock == RTCP else 0)
        found.append(
            View(
                stream=entry.stream,
                at_ns=entry.at_ns,
                age_ns=entry.at_ns + wall_of_mono_ns - whole_ns,
                media_ns=int(message.pts * Fraction(*message.time_base) * 1_000_000_000),
                run=message.run,
                epoch=message.epoch,
                n=message.n,
            )
        )
    return found


def figures(frames: Sequence[View]) -> Figures:
    """Raises ValueError without frames."""
    ages = sorted(view.age_ns / 1e6 for view in frames)
    if not ages:
        msg = "no frames to make figures of"
        raise ValueError(msg)
    p50, p95, p99 = (round(percentile(ages, percent), 2) for percent in (50, 95, 99))
    return Figures(frames=len(ages), p50=p50, p95=p95, p99=p99, max=round(ages[-1], 2))


def percentile(ordered: Sequence[float], percent: float) -> float:
    """By nearest rank: what so many percent of the values do not exceed."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def within(frames: Iterable[View], begin_ns: int, end_ns: int) -> list[View]:
    """Those that came in that time."""
    return [view for view in frames if begin_ns <= view.at_ns < end_ns]


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """So many frames of a camera that should have come before the one that came at `at_ns`, and did not."""

    stream: str
    at_ns: int
    frames: int


def missed(frames: Iterable[View], *, fps: float) -> list[Missed]:
    """What the cameras' time stamps and numbers lack between the first and the last of these.

    Whatever the reason: lost on the wire, not decoded, superseded, dropped by a sink. A frame that comes twice or out
    of order, and a new epoch, count as one, too.
    """
    period_ns = 1e9 / fps
    found = []
    last: dict[str, View] = {}
    for view in frames:
        before = last.get(view.stream)
        last[view.stream] = view
        if before is None:
            continue
        if (view.run, view.epoch) == (before.run, before.epoch):
            steps = round((view.media_ns - before.media_ns) / period_ns)
            lost = abs(steps - 1) or int(view.n - before.n != 1)
        else:
            lost = 1
        if lost:
            found.append(Missed(stream=view.stream, at_ns=view.at_ns, frames=lost))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Spell:
    """A phase: what it was, from when to when (monotonic), and what came in it of the judged cameras and of a file."""

    kind: str
    begin_ns: int
    end_ns: int
    frames: Sequence[View] = ()
    missed: int = 0
    file_frames: int = 0

    @property
    def seconds(self) -> float:
        return (self.end_ns - self.begin_ns) / 1e9

    def slowest_fps(self, cameras: Sequence[str]) -> float:
        """Frames a second of the camera that had the fewest."""
        return min(sum(view.stream == name for view in self.frames) for name in cameras) / self.seconds


def fill(spells: Iterable[Spell], seen: Sequence[View], lost: Sequence[Missed], filed: Sequence[View]) -> list[Spell]:
    """Give every phase what came in it: `seen` of the judged cameras, `lost` of them, `filed` of the file."""
    return [
        replace(
            spell,
            frames=within(seen, spell.begin_ns, spell.end_ns),
            missed=sum(gap.frames for gap in lost if spell.begin_ns <= gap.at_ns < spell.end_ns),
            file_frames=len(within(filed, spell.begin_ns, spell.end_ns)),
        )
        for spell in spells
    ]
