"""The sections of a configuration that belong to stages: streams, tracking, sinks.

Plain typed values, with their limits as metadata: the configuration file is checked against them, its JSON Schema
is made from them, and each stage receives its own section only.
"""

from __future__ import annotations

import datetime
from typing import Annotated, Literal

import msgspec

from vedette.secrets import SecretUrl

Seconds = Annotated[float, msgspec.Meta(gt=0.0, le=86400.0)]
Name = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$", description="a name of letters, digits, _, - and ., at most 64"
    ),
]
KeyPrefix = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}$",
        description="a name of letters, digits and _-.: of at most 64",
    ),
]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class TlsOptions(_Section, frozen=True, kw_only=True):
    """How a camera's certificate is checked: against `ca` (a PEM file), the system's authorities, or not at all."""

    ca: str | None = None
    verify: bool = True


class StreamOptions(_Section, frozen=True, kw_only=True):
    """One camera or file.

    `fps` is how many frames a second are analysed (all, if absent). `mode` of a file: `file` is lossless and as fast as
    the machine goes, `live` plays it at its own pace; cameras are always live, but a synthetic one with `seconds=` may
    be read like a file. `start` is the wall-clock time of a file's first picture. `frozen_s`: after how long an
    unchanging picture is reported.
    """

    id: Name
    url: SecretUrl
    mode: Literal["live", "file"] | None = None
    loop: bool = False
    start: datetime.datetime | None = None
    fps: Annotated[float, msgspec.Meta(ge=0.001, le=1000.0)] | None = None
    decode: Literal["all", "nonkey"] = "all"
    transport: Literal["tcp", "udp"] = "tcp"
    open_timeout_s: Seconds = 10.0
    read_timeout_s: Seconds = 10.0
    frozen_s: Seconds = 60.0
    clock_tolerance_s: Seconds = 5.0
    tls: TlsOptions = TlsOptions()

    @property
    def is_file(self) -> bool:
        """Whether the frames are lossless and paced by credits (True), or live (False)."""
        return self.mode == "file"


class TrackOptions(_Section, frozen=True, kw_only=True):
    """`memory_s`: how long an unseen object is remembered; `confirm_s`: how long it must be seen to count."""

    kind: Literal["norfair"] = "norfair"
    memory_s: Seconds = 1.0
    confirm_s: Annotated[float, msgspec.Meta(ge=0.0, le=60.0)] = 0.2


class SpoolOptions(_Section, frozen=True, kw_only=True):
    """Where events are kept until Redis has them, at most how much, and how long after it has them."""

    path: str = "out/spool"
    max_mb: Annotated[float, msgspec.Meta(gt=0.0, le=1048576.0)] = 64
    retain_s: Annotated[float, msgspec.Meta(ge=0.0, le=86400.0)] = 10.0


class RedisSinkOptions(_Section, frozen=True, kw_only=True, tag_field="kind", tag="redis"):
    """`url` redis://, rediss:// or unix://; `maxlen` caps each stream; `empty: false` leaves out empty frames."""

    url: SecretUrl
    prefix: KeyPrefix = "vedette"
    maxlen: Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)] = 10000
    empty: bool = True
    spool: SpoolOptions = SpoolOptions()
    tls: TlsOptions = TlsOptions()


class JsonlSinkOptions(_Section, frozen=True, kw_only=True, tag_field="kind", tag="jsonl"):
    """One message a line, appended to `path`."""

    path: str
    empty: bool = True


SinkOptions = RedisSinkOptions | JsonlSinkOptions
