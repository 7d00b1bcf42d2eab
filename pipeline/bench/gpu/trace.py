"""What a device did in a while, out of a profiler's trace: how busy it was, and what crossed the bus.

In:  a trace as torch's profiler writes it (Chrome's trace events), in which CUPTI has noted every kernel and copy of
     the process, whoever began it: torch, TensorRT, our kernels, FFmpeg.
Out: `Trace`. It is the proof that no picture crosses the bus: the lanes' own account knows only their own copies.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

_WORK = ("kernel", "gpu_memcpy", "gpu_memset")
_COPY = re.compile(r"Memcpy (\w)to(\w)")


class _Arguments(msgspec.Struct, frozen=True):
    size: float = msgspec.field(name="bytes", default=0.0)


class _Event(msgspec.Struct, frozen=True):
    ph: str = ""
    cat: str = ""
    name: str = ""
    ts: float = 0.0
    dur: float = 0.0
    args: _Arguments | None = None


class _File(msgspec.Struct, frozen=True):
    events: tuple[msgspec.Raw, ...] = msgspec.field(name="traceEvents", default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Milliseconds and bytes. `busy_ms` is the time in which anything ran, of the `span_ms` from first to last.

    `to_device` and `to_host` are the sizes of the copies between host and device, one by one.
    """

    busy_ms: float = 0.0
    span_ms: float = 0.0
    operations: int = 0
    to_device: tuple[int, ...] = field(default=(), repr=False)
    to_host: tuple[int, ...] = field(default=(), repr=False)


def read_trace(path: Path) -> Trace:
    """The device's part of a trace file. Raises msgspec.DecodeError for what is no trace."""
    return summed(_events(msgspec.json.decode(path.read_bytes(), type=_File)))


def _events(file: _File) -> Iterable[_Event]:
    for raw in file.events:
        # Most events are the host's, and their arguments have any type at all.
        head = msgspec.json.decode(raw, type=_Head)
        if head.ph == "X" and head.cat in _WORK:
            yield msgspec.json.decode(raw, type=_Event)


class _Head(msgspec.Struct, frozen=True):
    ph: str = ""
    cat: str = ""


def summed(events: Iterable[_Event]) -> Trace:
    """`events`: complete ones of the device."""
    spans: list[tuple[float, float]] = []
    copies: dict[str, list[int]] = {"HD": [], "DH": []}
    for event in events:
        spans.append((event.ts, event.ts + event.dur))
        found = _COPY.match(event.name) if event.cat == "gpu_memcpy" else None
        if found is not None and found[1] + found[2] in copies:
            copies[found[1] + found[2]].append(0 if event.args is None else int(event.args.size))
    return Trace(
        busy_ms=covered(spans) / 1e3,
        span_ms=(max(last for _, last in spans) - min(first for first, _ in spans)) / 1e3 if spans else 0.0,
        operations=len(spans),
        to_device=tuple(copies["HD"]),
        to_host=tuple(copies["DH"]),
    )


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """How much of a line the spans (first, last) cover together."""
    total, until = 0.0, float("-inf")
    for first, last in sorted(spans):
        total += max(0.0, last - max(first, until))
        until = max(until, last)
    return total
