"""The reports of `vedette bench isolation` and `vedette bench staleness`."""

from __future__ import annotations

import msgspec

from pipeline.bench.shares.view import Figures


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One promise: whether it held, what was found, what was allowed.

    `timed`: what was found depends on how fast and how busy the machine is, and is no matter of counting.
    """

    promise: str
    holds: bool
    found: str
    limit: str
    timed: bool = False


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """One phase: seconds after the first one's begin; the ages of what came in it, and how many frames were missing.

    `fps`: frames a second of the slowest judged camera; `file_fps`: of the file, where there is one.
    """

    kind: str
    begins_s: float
    ends_s: float
    ages_ms: Figures
    missed: int
    fps: float
    file_fps: float | None = None


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """Where and with what: cores of the process under judgement and of everything else, what was served."""

    command: str
    version: str
    versions: dict[str, str]
    machine: dict[str, str]
    model: str
    engine: str
    judged_cores: list[int]
    other_cores: list[int]
    longest_lapse_ms: float
    """The longest that a wait of the command's own took beyond what it asked for: what the machine did to all of it."""


class Own(msgspec.Struct, frozen=True, kw_only=True):
    """What the process itself says of a stage (`pipeline.latency.STAGES`), in milliseconds since its start."""

    p50: float
    p95: float
    p99: float


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a run: its checks, the pooled ages by kind of phase, and the phases that they are pooled from.

    `engine_call_ms`: the median of submission to completion. `own_ms`: by stage what the process says of the judged
    cameras since its start, the camera in the middle; for a file beside cameras: of the lives with the file, and in
    `own_calm_ms` of those without.
    """

    checks: list[Check]
    ages_ms: dict[str, Figures]
    phases: list[Phase]
    cameras: int
    fps: float
    engine_call_ms: float
    own_ms: dict[str, Own]
    own_calm_ms: dict[str, Own] | None = None


class IsolationReport(msgspec.Struct, frozen=True, kw_only=True):
    """`struck`: one of eight cameras in trouble; `file`: a file at full speed beside four. None: was not asked for."""

    verdict: str
    setting: Setting
    struck: Part | None
    file: Part | None


class QueueSample(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes that the kernel holds for the cameras' connections, sent and not yet read, at a moment."""

    at_s: float
    unsent: int
    unread: int


class StalenessReport(msgspec.Struct, frozen=True, kw_only=True):
    """`capacity_fps`: what the engine did with a file alone, before and after. `offered_fps`: all cameras together.

    `older`: analysed frames that were older than `limit_ms`. `from_capture_ms`: ages counted from when the camera
    began to send the picture: one frame period more.
    """

    verdict: str
    setting: Setting
    checks: list[Check]
    cameras: int
    fps: float
    seconds: float
    capacity_fps: list[float]
    offered_fps: float
    decoded_fps: float
    published_fps: float
    superseded: int
    engine_call_ms: float
    own_ms: dict[str, Own]
    limit_ms: float
    older: int
    ages_ms: Figures
    from_capture_ms: Figures
    ages_by_tenth_ms: list[Figures]
    slowest_camera_fps: float
    fastest_camera_fps: float
    queues: list[QueueSample]


def encode(report: IsolationReport | StalenessReport) -> bytes:
    """The report as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"
