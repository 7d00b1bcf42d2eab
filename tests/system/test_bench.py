"""`vedette bench pipeline`: measures for real, as short as it can, and writes what it promises.

So short a run says nothing of speed; what is tested is that it runs and what is in the report. What it refuses is in
tests/pipeline/test_bench.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import pipeline.bench.measure as measure
from tests.support.redis_server import RedisServer
from tests.support.system import SEED_MODEL, read_redis, redis_sink, street_clip, write_config
from vedette.cli.main import main

pytestmark = pytest.mark.system

STAGES = ["decode", "wait", "prepare", "engine", "finish", "sink", "total"]
QUANTILES = ["p50", "p95", "p99"]


def test_the_report_of_a_real_measurement_has_what_it_promises(
    tmp_path: Path,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    clip = street_clip(tmp_path, seconds=2)
    config = write_config(
        tmp_path,
        model=SEED_MODEL,
        streams=[{"id": "street", "url": str(clip)}],
        sinks=[redis_sink(redis_server, tmp_path), {"kind": "jsonl", "path": "out.jsonl"}],
    )
    report = tmp_path / "reports" / "bench.json"
    words = ["bench", "pipeline", str(config), "--json", str(report)]
    words += ["--seconds", "1", "--rounds", "1", "--paced-seconds", "1"]
    # A neighbour's load may change in so short a time: any ratio is taken. And two of the roofline's modes are enough.
    monkeypatch.setattr(measure, "RATIO_LIMIT", 1000.0)
    monkeypatch.setattr(measure, "MODES", (measure.MODES[0], measure.MODES[-1]))

    status = main(words)

    said, progress = capfd.readouterr()
    assert status == 0, progress
    found = json.loads(report.read_text())
    assert all(found[key] > 0 for key in ("fps", "roofline_fps", "ratio"))
    assert f"pipeline{found['fps']:21.1f} frames/s" in said
    assert found["ratio"] == pytest.approx(found["fps"] / found["roofline_fps"], rel=0.01)
    assert isinstance(found["overhead_cpu_ms"], float)
    assert list(found["overhead_ms"]) == QUANTILES
    assert 0 < found["overhead_ms"]["p50"] <= found["overhead_ms"]["p95"] <= found["overhead_ms"]["p99"]
    assert list(found["stages"]) == STAGES
    assert all(list(stage) == QUANTILES for stage in found["stages"].values())
    assert found["streams"]["street"]["fps"] == pytest.approx(found["fps"], rel=0.01)
    assert list(found["streams"]["street"]["latency_ms"]) == STAGES
    assert {"vedette", "numpy", "av", "openvino"} <= set(found["versions"])
    assert found["command"].split()[0] == "vedette"
    assert len(found["rounds"]) == 1
    assert len(found["roofline_by_mode"]) == 2
    assert max(found["roofline_by_mode"].values()) == found["roofline_fps"]
    assert len(progress.splitlines()) == 4
    # The sinks of the configuration ran, with nothing lost: two whole runs.
    assert len(read_redis(redis_server).frames["street"]) > 10
    assert len({entry.message.run for entry in read_redis(redis_server).frames["street"]}) == 2
