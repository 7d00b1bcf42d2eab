"""From the configuration's sinks to outlets: names, early errors, nothing left open behind one."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pipeline.clock import SystemClock
from pipeline.ledger import Ledger
from pipeline.outgoing import Outlet
from pipeline.outlet import build_outlets
from pipeline.spool import Directory
from stages.options import JsonlSinkOptions, SinkOptions
from stages.types import StreamId
from tests.support.outlets import redis_options
from vedette.errors import SinkError, SpoolError


def build(*sinks: SinkOptions) -> list[Outlet]:
    return build_outlets(
        sinks, streams=(StreamId("cam"),), ledger=Ledger(), clock=SystemClock(), on_leased=lambda _: None
    )


def end(outlets: list[Outlet]) -> None:
    for outlet in outlets:
        outlet.close(0)
        threads = [threading.Thread(target=body) for _, body in outlet.bodies()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def test_sinks_are_named_after_their_kind_and_numbered_from_the_second_on(tmp_path: Path) -> None:
    url = "redis://127.0.0.1:1/0"
    outlets = build(
        redis_options(url, tmp_path / "a"),
        JsonlSinkOptions(path=str(tmp_path / "1.jsonl")),
        redis_options(url, tmp_path / "b"),
        JsonlSinkOptions(path=str(tmp_path / "2.jsonl")),
    )
    assert [outlet.name for outlet in outlets] == ["redis", "jsonl", "redis-2", "jsonl-2"]
    threads = [name for outlet in outlets for name, _ in outlet.bodies()]
    assert threads == ["sink:redis", "spool:redis", "sink:jsonl", "sink:redis-2", "spool:redis-2", "sink:jsonl-2"]
    end(outlets)


def test_an_error_leaves_nothing_open(tmp_path: Path) -> None:
    held = Directory(tmp_path / "held")
    with pytest.raises(SpoolError, match="in use by another sink of this process"):
        build(
            JsonlSinkOptions(path=str(tmp_path / "1.jsonl")),
            redis_options("redis://127.0.0.1:1/0", tmp_path / "free"),
            redis_options("redis://127.0.0.1:1/0", tmp_path / "held"),
        )
    with pytest.raises(SinkError, match="Is a directory"):
        build(redis_options("redis://127.0.0.1:1/0", tmp_path / "free"), JsonlSinkOptions(path=str(tmp_path)))
    held.close()
    Directory(tmp_path / "free").close()
    end(build(JsonlSinkOptions(path=str(tmp_path / "1.jsonl"))))
