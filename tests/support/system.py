"""What whole runs need: a configuration written to a file, the ledger held to its rules, what Redis and /status say.

config = write_config(tmp_path, streams=[…], sinks=[redis_sink(server, tmp_path)])
with VedetteProcess(config) as vedette: …
check_summary(vedette.summary)
contents = read_redis(server)
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml

from pipeline.ledger import LedgerTotals
from stages.source.synthetic.dataset import write_dataset
from stages.source.synthetic.options import parse_synthetic
from tests.support.redis_server import RedisServer
from tests.support.shared import SHARED
from vedette.messages import EventMessage, FrameMessage, UnknownEvent, decode_message

ROOT = Path(__file__).resolve().parents[2]
SEED = ROOT / "engines" / "weights" / "vedette-n-seed_640x384.onnx"
SEED_MODEL = {"path": str(SEED), "score": 0.3, "threads": 2}


def eyes() -> dict[str, Any]:
    """The best model at hand: the teacher of the shared folder, else the seed that ships."""
    if SHARED is None:
        return dict(SEED_MODEL)
    return {
        "path": str(SHARED / "teachers" / "yolox_nano_416.onnx"),
        "score": 0.35,
        "nms_iou": 0.65,
        "classes": ["person", "car", "bus", "truck", "bicycle", "motorcycle"],
        "threads": 2,
    }


def street_clip(folder: Path, *, seconds: float = 4, fps: int = 10, seed: int = 1) -> Path:
    """A rendered street as a video file, for machines without real clips."""
    url = f"synthetic://street?people=6&vehicles=2&bikes=1&seed={seed}&fps={fps}&seconds={seconds:g}"
    out = folder / f"street-{seed}"
    write_dataset(out, parse_synthetic(url), every=10_000, progress=lambda: None)
    return out / "video.mp4"


def write_config(folder: Path, name: str = "vedette.yaml", **sections: Any) -> Path:
    """Write a configuration; `version` is there, `model` is `eyes()` if none is given."""
    whole = {"version": 1, "model": sections.pop("model", None) or eyes(), **sections}
    path = folder / name
    path.write_text(yaml.safe_dump(whole, sort_keys=False))
    return path


def redis_sink(server: RedisServer, folder: Path, **options: Any) -> dict[str, Any]:
    """A redis sink whose streams are long enough for a whole test, its spool in `folder`."""
    spool = {"path": str(folder / "spool")}
    return {"kind": "redis", "url": server.url, "maxlen": 1_000_000, "spool": spool, **options}


def run_vedette(
    *words: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None, timeout_s: float = 120.0
) -> subprocess.CompletedProcess[str]:
    """Run one `vedette` command to its end; `env` is all of its environment if it is given."""
    command = [sys.executable, "-m", "vedette", *map(str, words)]
    return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=timeout_s, check=False)


# ── the ledger ───────────────────────────────────────────────────────────────────────────────────────────────────────


def check_summary(summary: Any, *, allow_failed: Sequence[str] = ()) -> LedgerTotals:
    """The summary of a run that can be believed: balanced, nothing in flight, nothing left waiting. Its ledger."""
    assert summary["ledger_problems"] == []
    assert summary["left_behind"] == []
    assert sorted(summary["failed"]) == sorted(allow_failed)
    ledger = msgspec.convert(summary["ledger"], LedgerTotals)
    assert ledger.problems == []
    for name, stream in ledger.streams.items():
        assert stream.in_flight == 0, name
    for name, sink in ledger.sinks.items():
        assert sink.waiting == 0, name
    return ledger


def check_status(status: Any) -> None:
    """A `/status` of whatever moment: every account balances."""
    assert status["ledger_problems"] == []
    ledger = msgspec.convert(
        {
            "streams": {name: stream["totals"] for name, stream in status["streams"].items()},
            "sinks": {name: sink["totals"] for name, sink in status["sinks"].items()},
            "published": status["published"],
            "events": status["events"],
        },
        LedgerTotals,
    )
    assert ledger.problems == []


# ── what subscribers would find ──────────────────────────────────────────────────────────────────────────────────────


class Entry(NamedTuple):
    """One entry of a Redis stream; `id` as the pair that Redis compares."""

    id: tuple[int, int]
    raw: bytes
    message: Any


@dataclass
class RedisContents:
    """Everything under a prefix, read without Vedette's client."""

    frames: dict[str, list[Entry]] = field(default_factory=dict)
    events: list[Entry] = field(default_factory=list)
    states: dict[str, Any] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return len(self.events) + sum(map(len, self.frames.values()))

    def messages(self, stream: str) -> list[FrameMessage]:
        return [entry.message for entry in self.frames.get(stream, [])]

    def events_of(self, stream: str) -> list[EventMessage | UnknownEvent]:
        return [entry.message for entry in self.events if entry.message.stream == stream]


def read_redis(server: RedisServer, prefix: str = "vedette") -> RedisContents:
    """Read it all and hold it to what is promised: see `check_frames` and `check_events`."""
    contents = RedisContents()
    head = f"{prefix}:frames:"
    with server.client() as client:
        client.connection_pool.connection_kwargs["decode_responses"] = False
        for key in sorted(client.scan_iter(f"{head}*", count=1000)):
            contents.frames[key.decode().removeprefix(head)] = [_entry(row) for row in client.xrange(key, "-", "+")]
        contents.events = [_entry(row) for row in client.xrange(f"{prefix}:events", "-", "+")]
        for stream, raw in client.hgetall(f"{prefix}:streams").items():
            contents.states[stream.decode()] = decode_message(raw)
    for stream, entries in contents.frames.items():
        check_frames(stream, entries)
    check_events(contents.events)
    return contents


def check_frames(stream: str, entries: Sequence[Entry]) -> None:
    """Ids strictly rising; by run, `n` from 1 without a gap and `seq` rising; all of one stream."""
    assert all(before.id < after.id for before, after in itertools.pairwise(entries)), stream
    by_run: dict[str, list[FrameMessage]] = defaultdict(list)
    for entry in entries:
        assert isinstance(entry.message, FrameMessage)
        assert entry.message.stream == stream
        by_run[entry.message.run].append(entry.message)
    for run, messages in by_run.items():
        assert [message.n for message in messages] == list(range(1, len(messages) + 1)), (stream, run)
        seqs = [message.seq for message in messages]
        assert seqs == sorted(set(seqs)), (stream, run)


def check_events(entries: Sequence[Entry]) -> None:
    """Each producer's events once each, in order, `n` from 1 without a gap."""
    by_producer: dict[str, list[int]] = defaultdict(list)
    for entry in entries:
        by_producer[entry.message.producer].append(entry.message.n)
    for producer, numbers in by_producer.items():
        assert producer
        assert numbers == list(range(1, len(numbers) + 1)), producer


def _entry(row: Any) -> Entry:
    entry_id, fields = row
    ms, _, k = entry_id.decode().partition("-")
    assert fields[b"v"] == b"1"
    return Entry((int(ms), int(k)), fields[b"m"], decode_message(fields[b"m"]))


# ── http ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def http_get(url: str, *, token: str | None = None) -> tuple[int, str]:
    """Status code and body, whatever the code."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def http_json(url: str) -> Any:
    """The body of an answer 200 as JSON."""
    code, body = http_get(url)
    assert code == 200, body
    return json.loads(body)
