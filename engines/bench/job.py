"""What the parent of a bench tells its children, and what they answer: one JSON object a line.

A child is started with a `Job`; it answers `Ready` once its engine is open and warm. Then, for every line with a number
of seconds, it measures so long and answers a `Turn`. Instead of either it may answer `Failed`, and ends.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Mode = Literal["latency", "throughput"]
"""One request after the other, all cores to each; or as many in flight as the engine takes by itself."""


class Job(msgspec.Struct, frozen=True, kw_only=True, tag="job"):
    """One engine to open. `path` is an ONNX file; `compiled` the same network as OpenVINO's own file, if not None.

    `label` is what people call the model.
    """

    label: str
    path: str
    runtime: str
    precision: str
    mode: Mode
    batch: int = 1
    threads: int | None = None
    compiled: str | None = None


class Yardstick(msgspec.Struct, frozen=True, kw_only=True, tag="yardstick"):
    """Not to measure, but to make: NNCF's own INT8 of `path`, calibrated with `images`, as OpenVINO's file `out`.

    Here because NNCF brings torch with it, which the parent has no use for.
    """

    path: str
    images: list[str]
    out: str


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag="ready"):
    """The engine is open and warm: its own description, and how many requests it has in flight. Or the file is made."""

    description: str
    requests: int


class Turn(msgspec.Struct, frozen=True, kw_only=True, tag="turn"):
    """What was measured in one turn.

    `latencies_ms` of single requests, in order (mode latency); `requests` that came back in `seconds`; `memory_bytes`:
    the most that the process has had resident since it started.
    """

    seconds: float
    requests: int
    memory_bytes: int
    latencies_ms: list[float] = msgspec.field(default_factory=list)


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    why: str


Task = Job | Yardstick
Answer = Ready | Turn | Failed
