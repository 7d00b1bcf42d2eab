"""Messages put into a Redis as Vedette's sinks would, for tests of whoever reads them."""

from __future__ import annotations

from typing import Any

import redis

from vedette.messages import (
    EventMessage,
    FrameMessage,
    StreamState,
    TrackedObject,
    TrackStarted,
    encode_message,
)


def frame(n: int, stream: str = "gate", run: str = "run-1", **changes: Any) -> FrameMessage:
    """Frame number `n` of a run, with one person in it."""
    person = TrackedObject(
        track=12, class_="person", score=0.91, box=(10.0, 20.0, 30.5, 80.25), state="confirmed", age_ms=400
    )
    values: dict[str, Any] = {
        "stream": stream,
        "run": run,
        "epoch": 0,
        "seq": n - 1,
        "n": n,
        "pts": 3600 * n,
        "time_base": (1, 90000),
        "wall_ns": 1_795_284_127_000_000_000 + 40_000_000 * n,
        "clock": "rtcp",
        "clock_error_ms": 1.0,
        "size": (1920, 1080),
        "model": "yolo_nas_n",
        "objects": (person,),
    }
    return FrameMessage(**{**values, **changes})


def event(n: int, producer: str = "spool-1", stream: str = "gate") -> TrackStarted:
    """Event number `n` of a producer."""
    return TrackStarted(
        producer=producer,
        n=n,
        stream=stream,
        run="run-1",
        wall_ns=1_795_284_127_000_000_000,
        track=n,
        class_="car",
        box=(1.0, 2.0, 3.0, 4.0),
        score=0.5,
    )


def frame_id(n: int) -> str:
    """The id under which `publish_frames` puts frame `n`."""
    return f"{1_795_284_127_000 + 40 * n}-0"


def publish_frames(
    client: redis.Redis, *numbers: int, stream: str = "gate", run: str = "run-1", maxlen: int | None = None
) -> None:
    """Add these frames under ids of their capture time."""
    for n in numbers:
        entry = {"v": "1", "m": encode_message(frame(n, stream, run))}
        client.xadd(f"vedette:frames:{stream}", entry, id=frame_id(n), maxlen=maxlen, approximate=False)


def publish_events(client: redis.Redis, *numbers: int, producer: str = "spool-1") -> None:
    """Add these events of one producer under ids of the server."""
    for n in numbers:
        publish_event(client, event(n, producer))


def publish_event(client: redis.Redis, message: EventMessage, entry_id: str = "*") -> None:
    client.xadd("vedette:events", {"v": "1", "m": encode_message(message)}, id=entry_id)


def announce(client: redis.Redis, *streams: str) -> None:
    """Note these streams' latest state, as the sink does for each stream that it publishes."""
    for stream in streams:
        state = StreamState(producer="spool-1", n=1, stream=stream, run="run-1", wall_ns=1, state="streaming", epoch=0)
        client.hset("vedette:streams", stream, encode_message(state))
