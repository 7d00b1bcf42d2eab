"""Draws the schedule of faults: a pure function of seed and minutes.

In:  a seed, how many minutes, which kinds can be done here. Out: faults in order of their beginning.
Each lane is drawn for itself: cameras, Redis, process, disk, the host's clock. Within one no two faults overlap,
between them they do: a camera is cut while Redis hangs and the process is killed. Each kind of a lane comes once before
any comes again. Every lane ends so early that the last recovery is over when the time is.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

import msgspec

CAMERAS = ("cam-1", "cam-2", "cam-3", "cam-4")
FILE = "archive"

Lane = Literal["camera", "redis", "process", "disk", "host"]
FaultKind = Literal[
    "camera-kill", "camera-stop", "camera-cut", "camera-hush", "camera-drop", "camera-corrupt", "camera-garble",
    "camera-jump", "camera-clock", "camera-size", "camera-password",
    "redis-kill", "redis-stop", "redis-pause", "redis-slow", "redis-cut", "redis-full", "redis-empty",
    "redis-failover", "lease-taken",
    "process-term", "process-kill",
    "disk-full", "disk-limit", "disk-read-only",
    "host-clock",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What can be drawn of one kind. `for_s`, `amount`: uniformly between the two (what it means: `site.py`).

    `steep`: of `amount` the order of magnitude is uniform, and the sign either. `needs_s`: how much time has to be left
    after its end.
    """

    name: FaultKind
    lane: Lane
    for_s: tuple[float, float]
    amount: tuple[float, float] = (0.0, 0.0)
    steep: bool = False
    needs_s: float = 4.0


KINDS: tuple[Kind, ...] = (
    Kind(name="camera-kill", lane="camera", for_s=(0.2, 4.0)),
    Kind(name="camera-stop", lane="camera", for_s=(0.5, 5.0)),
    Kind(name="camera-cut", lane="camera", for_s=(0.2, 4.0)),
    Kind(name="camera-hush", lane="camera", for_s=(0.5, 5.0)),
    Kind(name="camera-drop", lane="camera", for_s=(1.0, 4.0), amount=(0.02, 0.4)),
    Kind(name="camera-corrupt", lane="camera", for_s=(1.0, 4.0), amount=(0.02, 0.4)),
    Kind(name="camera-garble", lane="camera", for_s=(0.2, 1.0), amount=(0.05, 0.5)),
    Kind(name="camera-jump", lane="camera", for_s=(1.0, 3.0), amount=(-20_000.0, 20_000.0)),
    Kind(name="camera-clock", lane="camera", for_s=(5.0, 8.0), amount=(-2_000_000.0, 2_000_000.0)),
    Kind(name="camera-size", lane="camera", for_s=(1.0, 3.0)),
    Kind(name="camera-password", lane="camera", for_s=(2.0, 4.0), needs_s=40.0),
    Kind(name="redis-kill", lane="redis", for_s=(0.2, 4.0)),
    Kind(name="redis-stop", lane="redis", for_s=(0.3, 4.0)),
    Kind(name="redis-pause", lane="redis", for_s=(0.3, 3.0)),
    Kind(name="redis-slow", lane="redis", for_s=(1.0, 4.0), amount=(0.02, 0.35)),
    Kind(name="redis-cut", lane="redis", for_s=(0.2, 3.0)),
    Kind(name="redis-full", lane="redis", for_s=(0.5, 3.0)),
    Kind(name="redis-empty", lane="redis", for_s=(0.2, 3.0)),
    Kind(name="redis-failover", lane="redis", for_s=(0.2, 2.0)),
    Kind(name="lease-taken", lane="redis", for_s=(4.0, 6.0), needs_s=8.0),
    Kind(name="process-term", lane="process", for_s=(0.0, 2.0), needs_s=8.0),
    Kind(name="process-kill", lane="process", for_s=(0.0, 2.0), needs_s=8.0),
    Kind(name="disk-full", lane="disk", for_s=(0.5, 4.0)),
    Kind(name="disk-limit", lane="disk", for_s=(0.5, 4.0)),
    Kind(name="disk-read-only", lane="disk", for_s=(0.5, 4.0)),
    Kind(name="host-clock", lane="host", for_s=(0.5, 5.0), amount=(1.0, 200_000.0), steep=True),
)
ALL: frozenset[FaultKind] = frozenset(kind.name for kind in KINDS)
ENDING: frozenset[FaultKind] = frozenset({"process-term", "process-kill", "lease-taken"})
"""After these there is another process; a soak does without them, so that one process lives through all of it."""

MOUNTED: frozenset[FaultKind] = frozenset({"disk-full", "disk-read-only"})
"""These need a disk of the spool's own (`disk.py`)."""


def lane_of(kind: FaultKind) -> Lane:
    return next(known.lane for known in KINDS if known.name == kind)


# Seconds between two faults of one lane: mostly long enough to see a recovery whole, at times not.
_BETWEEN_S: dict[Lane, tuple[float, float]] = {
    "camera": (1.0, 5.0), "redis": (2.0, 8.0), "process": (6.0, 14.0), "disk": (3.0, 9.0), "host": (3.0, 9.0),
}  # fmt: skip
_BEFORE_S = 2.0


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One fault: `at_s` after the beginning, for `for_s`; `target` is a stream's id or empty."""

    at_s: float
    for_s: float
    kind: FaultKind
    target: str
    amount: float

    def __str__(self) -> str:
        whom = f" {self.target}" if self.target else ""
        much = f" ({self.amount:g})" if self.amount else ""
        return f"{self.kind}{whom}{much} at {self.at_s:.1f} s for {self.for_s:.1f} s"


def draw(seed: int, minutes: float, kinds: frozenset[FaultKind] = ALL) -> tuple[Fault, ...]:
    """The schedule of `seed` for so many minutes: the same values give the same faults, on any machine."""
    span_s = minutes * 60.0
    faults = [fault for lane in _BETWEEN_S for fault in _draw_lane(lane, seed, span_s, kinds)]
    return tuple(sorted(faults, key=lambda fault: (fault.at_s, fault.kind, fault.target)))


def _draw_lane(lane: Lane, seed: int, span_s: float, kinds: frozenset[FaultKind]) -> list[Fault]:
    rng = random.Random(f"vedette faults {seed} {lane}")
    faults: list[Fault] = []
    bag: list[Kind] = []
    now_s = _BEFORE_S + rng.uniform(0.0, _BETWEEN_S[lane][1] / 2)
    while True:
        # Drawn whether it fits or not, so that a longer run begins with the shorter one's choices where it can.
        if not bag:
            bag = [kind for kind in KINDS if kind.lane == lane and kind.name in kinds]
            rng.shuffle(bag)
        fitting = [kind for kind in bag if now_s + kind.for_s[1] + kind.needs_s <= span_s]
        if not fitting:
            rest = [kind for kind in KINDS if kind.lane == lane and kind.name in kinds]
            fitting = [kind for kind in rest if now_s + kind.for_s[1] + kind.needs_s <= span_s]
            if not fitting:
                return faults
            bag = list(fitting)
            rng.shuffle(bag)
            fitting = bag
        kind = fitting[-1]
        bag.remove(kind)
        for_s = round(rng.uniform(*kind.for_s), 2)
        amount = round(_amount(rng, kind), 4)
        whom = rng.choice(CAMERAS)
        target = whom if lane == "camera" or kind.name == "lease-taken" else ""
        faults.append(Fault(at_s=round(now_s, 2), for_s=for_s, kind=kind.name, target=target, amount=amount))
        now_s += for_s + rng.uniform(*_BETWEEN_S[lane])


def _amount(rng: random.Random, kind: Kind) -> float:
    least, most = kind.amount
    if not kind.steep:
        return rng.uniform(least, most)
    sign, share = rng.choice((-1.0, 1.0)), rng.random()
    return float(sign * least * (most / least) ** share)
