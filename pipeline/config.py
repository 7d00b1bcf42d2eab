"""A whole configuration, as typed and checked values. Reading it from a file: `pipeline/config_file.py`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from engines.options import ModelOptions
from stages.options import SinkOptions, StreamOptions, TrackOptions
from vedette.secrets import Secret


class BatchOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At most how many pictures an engine call takes, and how long a lone one waits for company."""

    max: Annotated[int, msgspec.Meta(ge=1, le=256)] = 8
    wait_ms: Annotated[float, msgspec.Meta(ge=0.0, le=10000.0)] = 0.0


class HttpOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where health, status and metrics are served; anything but loopback needs a `token` or `open: true`."""

    listen: str = "127.0.0.1:8080"
    token: Secret | None = None
    open: bool = False


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that one process does. Paths in it are absolute by the time it is built."""

    version: Literal[1]
    model: ModelOptions
    batch: BatchOptions = BatchOptions()
    track: TrackOptions = TrackOptions()
    streams: Annotated[tuple[StreamOptions, ...], msgspec.Meta(min_length=1)]
    sinks: Annotated[tuple[SinkOptions, ...], msgspec.Meta(min_length=1)]
    http: HttpOptions | None = None
    shutdown_s: Annotated[float, msgspec.Meta(gt=0.0, le=600.0)] = 5.0
