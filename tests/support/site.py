"""A whole run in a folder of its own: its configuration, its process, and what its subscribers find in Redis.

    site = Site(folder, redis_server)
    with site.run({"id": "gate", "url": "..."}) as run:
        run.states.wait("gate", "streaming")
        ...
        assert run.terminate() == 0
    run.check()

Nothing here sleeps: it waits for log lines, for entries in Redis (blocking XREAD) and for what /status says.
"""

from __future__ import annotations

import json
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import redis
import yaml

from stages.types import State
from tests.support.process import VedetteProcess
from tests.support.redis_server import RedisServer
from vedette.messages import (
    EventMessage,
    FrameMessage,
    GapEvent,
    StreamState,
    UnknownEvent,
    decode_message,
)

MODEL = Path(__file__).parents[2] / "engines/weights/vedette-n-seed_640x384.onnx"
PATIENCE_S = 120.0

_STATES = {state.value for state in State}
_CHANGE = re.compile(r"^stream \S+ \(.*?\): (?P<state>[a-z]+)(?: \((?P<reason>[a-z_]+)\))?(?:: .*)?$", re.DOTALL)


def camera(name: str, *, seed: int = 1, fps: int = 5, **query: object) -> dict[str, Any]:
    """A small synthetic camera: a stream that no fault of the network can touch."""
    more = "".join(f"&{key}={value}" for key, value in query.items())
    return {
        "id": name,
        "url": f"synthetic://street?people=2&vehicles=0&bikes=0&size=256x144&fps={fps}&seed={seed}{more}",
    }


def looping(name: str, clip: Path) -> dict[str, Any]:
    """A short clip played for ever as a camera would: a steady source of events, one at each beginning."""
    return {"id": name, "url": str(clip), "mode": "live", "loop": True}


class Followed:
    """One stream of messages in Redis, read as a subscriber reads it, from its beginning."""

    def __init__(self, server: RedisServer, key: str) -> None:
        self._server = server
        self._key = key
        self._last = "0"
        self.messages: list[Any] = []

    def wait_for(self, what: str, done: Callable[[Sequence[Any]], bool], timeout_s: float = PATIENCE_S) -> None:
        """Read until `done` is true of all messages so far."""
        end_s = time.monotonic() + timeout_s
        with self._server.client() as client:
            while not done(self.messages):
                left_ms = int((end_s - time.monotonic()) * 1000)
                assert left_ms > 0, f"no {what} within {timeout_s:g} s; {self._key} has {self.messages[-20:]}"
                self._read(client, min(left_ms, 5000))

    def all(self) -> list[Any]:
        """Everything that is there now."""
        with self._server.client() as client:
            while self._read(client, None):
                pass
        return self.messages

    def _read(self, client: redis.Redis, block_ms: int | None) -> bool:
        answer: Any = client.xread({self._key: self._last}, count=500, block=block_ms)
        for _, entries in answer or ():
            for entry_id, fields in entries:
                self._last = entry_id
                self.messages.append(decode_message(fields["m"]))
        return bool(answer)


class Events(Followed):
    """The events of all streams."""

    def wait_state(self, stream: str, state: str, *, reason: str | None = None, after: int = 0) -> int:
        """Wait until a stream gets into a state; returns the index after that event."""

        def found() -> int | None:
            for index, event in enumerate(self.messages[after:], after):
                if not isinstance(event, StreamState) or (event.stream, event.state) != (stream, state):
                    continue
                if reason is None or event.reason == reason:
                    return index + 1
            return None

        self.wait_for(f"{stream}: {state} ({reason})", lambda _: found() is not None)
        index = found()
        assert index is not None
        return index

    def changes(self, stream: str) -> list[str]:
        """The stream's states in order, `state` or `state(reason)`."""
        states = [event for event in self.messages if isinstance(event, StreamState) and event.stream == stream]
        return [f"{event.state}({event.reason})" if event.reason else event.state for event in states]

    def gaps(self, stream: str | None = None, *, what: str = "frames") -> list[GapEvent]:
        gaps = [event for event in self.messages if isinstance(event, GapEvent) and event.what == what]
        return [gap for gap in gaps if stream is None or gap.stream == stream]


class Run(VedetteProcess):
    """A running `vedette run`, with the questions that tests of faults have."""

    def get(self, path: str) -> tuple[int, Any]:
        """The HTTP status and the JSON of /status or /readyz."""
        line = self.log_lines[self.wait_log("health, status and metrics at") - 1]
        match = re.search(r"at (http://[^\"\s]+)", line)
        assert match is not None
        try:
            with urllib.request.urlopen(match[1] + path, timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def wait_status(self, what: str, done: Callable[[Any], bool], path: str = "/status") -> Any:
        """Ask until the answer is as wanted; returns it."""
        end_s, pause = time.monotonic() + PATIENCE_S, threading.Event()
        while not done(answer := self.get(path)[1]):
            assert time.monotonic() < end_s, f"no {what} within {PATIENCE_S:g} s: {answer}\n{self.log}"
            pause.wait(0.02)
        return answer

    @property
    def records(self) -> list[dict[str, Any]]:
        """The log as it was written, a JSON object a line."""
        return [json.loads(line) for line in self.log.splitlines()]

    def said(self, *words: str) -> list[dict[str, Any]]:
        """The records whose message holds all `words`."""
        return [record for record in self.records if all(word in record["message"] for word in words)]

    def logged_changes(self, stream: str) -> list[str]:
        """The changes of a stream's state as the log tells them, one line each."""
        told = []
        for record in self.records:
            match = _CHANGE.match(record["message"]) if record.get("stream") == stream else None
            if match is not None and match["state"] in _STATES:
                told.append(f"{match['state']}({match['reason']})" if match["reason"] else match["state"])
        return told

    def check(self, events: Events | None = None) -> None:
        """What must hold after every run that was not killed: the ledger balances, the log is whole and calm.

        With `events`: the log tells each change of a stream's state, once and in order.
        """
        summary = self.summary
        assert summary["ledger_problems"] == []
        for name, totals in summary["ledger"]["streams"].items():
            assert totals["in_flight"] == 0, f"{name}: {totals}"
        assert not any("exception" in record for record in self.records), self.log
        assert "Traceback" not in self.log
        if events is not None:
            events.all()
            for name in summary["ledger"]["streams"]:
                logged, published = self.logged_changes(name), events.changes(name)
                if f"source:{name}" in summary["left_behind"]:
                    logged.append("stopped(operator)")  # it cannot say so itself; the log tells that it is left behind
                assert logged == published, f"{name}: logged {logged}, published {published}\n{self.log}"

    def sink(self, name: str = "redis") -> Any:
        """The sink's side of the ledger at the end; it balances."""
        totals = self.summary["ledger"]["sinks"][name]
        got = sum(totals[key] for key in ("accepted_frames", "accepted_events", "recovered", "gaps"))
        assert got == totals["delivered"] + sum(totals["dropped"].values()) + totals["spooled"] + totals["waiting"]
        assert totals["waiting"] == 0
        return totals

    def stream(self, name: str) -> Any:
        """The stream's side of the ledger at the end."""
        return self.summary["ledger"]["streams"][name]


@dataclass
class Site:
    """A folder with configurations, their spools, and the Redis that they publish to."""

    folder: Path
    redis: RedisServer
    _count: int = field(default=0, init=False)

    def run(
        self,
        *streams: Mapping[str, Any],
        name: str = "site",
        redis_url: str | None = None,
        spool: Mapping[str, Any] | None = None,
        sinks: Sequence[Mapping[str, Any]] = (),
        program: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        **rest: Any,
    ) -> Run:
        """A run that has not been started. Runs of one `name` share a configuration file and a spool.

        `sinks`: more of them beside Redis. `program`: the command in place of `python -m vedette`. `rest`: sections.
        """
        redis_sink = {
            "kind": "redis",
            "url": redis_url or self.redis.url,
            "spool": {"path": f"{name}-spool", **(spool or {})},
        }
        config = {
            "version": 1,
            "model": {"path": str(MODEL), "threads": 2},
            "streams": [dict(stream) for stream in streams],
            "sinks": [redis_sink, *map(dict, sinks)],
            "http": {"listen": "127.0.0.1:0"},
            **rest,
        }
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(config))
        return Run(path, program=program, env=env)

    def events(self) -> Events:
        return Events(self.redis, "vedette:events")

    def frames(self, stream: str) -> Followed:
        return Followed(self.redis, f"vedette:frames:{stream}")


def assert_once_and_in_order(events: Sequence[EventMessage | UnknownEvent], *, first: int | None = 1) -> None:
    """Each producer's events are there once, in order, without a hole, from `first` on (None: from wherever)."""
    numbers: dict[str, list[int]] = {}
    for event in events:
        numbers.setdefault(event.producer, []).append(event.n)
    for producer, got in numbers.items():
        begin = got[0] if first is None else first
        assert got == list(range(begin, begin + len(got))), f"{producer}: {got}"


def assert_whole(frames: Sequence[FrameMessage], *, first: int | None = 1) -> None:
    """One run's frames are in order, none is missing: `n` without a hole, `seq` rising, epochs never falling."""
    assert frames
    begin = frames[0].n if first is None else first
    assert [frame.n for frame in frames] == list(range(begin, begin + len(frames)))
    assert_in_order(frames)


def assert_in_order(frames: Sequence[FrameMessage]) -> None:
    """One run's frames are in order; some may be missing."""
    for earlier, later in pairwise(frames):
        assert earlier.run == later.run
        assert earlier.n < later.n
        assert earlier.seq < later.seq
        assert earlier.epoch <= later.epoch
        assert earlier.wall_ns < later.wall_ns or earlier.epoch < later.epoch


def missing(frames: Sequence[FrameMessage], upto: int) -> set[int]:
    """The numbers up to `upto` that are not there."""
    return set(range(1, upto + 1)) - {frame.n for frame in frames}


def told(gaps: Sequence[GapEvent]) -> set[int]:
    """The numbers that these gaps span."""
    return {n for gap in gaps if gap.first is not None and gap.last is not None for n in range(gap.first, gap.last + 1)}
