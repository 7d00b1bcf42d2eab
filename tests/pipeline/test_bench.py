"""The benchmark's own sums: percentiles, whose CPU time is whose, what a report says and when it refuses to."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline.bench import measure, paced
from pipeline.bench.child import BenchError, NoStreamsError, Sample, StreamSample
from pipeline.bench.cpu import PARTS, by_part, part_of, thread_cpu_s
from pipeline.bench.process import measured
from pipeline.clock import process_cpu_s
from stages.options import StreamOptions
from stages.source import Connection, ConnectionInfo, Decoded, Trouble
from stages.types import Clock
from tests.support.clock import FakeClock
from tests.support.scripted import MS, Item, ScriptedConnection, at
from tests.support.tiny_models import mean_model
from vedette.cli import main as cli
from vedette.errors import SourceError
from vedette.secrets import SecretUrl

# ── whose time ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("thread_id", "kernel_name", "part"),
    [
        (1, "vedette", "other"),
        (10, "vedette", "decode"),
        (11, "vedette", "dispatch"),
        (12, "vedette", "finish"),
        (13, "vedette", "sinks"),
        (14, "vedette", "sinks"),
        (15, "vedette", "other"),
        (20, "av:h264:df0", "decode"),
        (21, "vedette", "engine"),
    ],
)
def test_every_thread_s_time_belongs_to_a_part(thread_id: int, kernel_name: str, part: str) -> None:
    names = {10: "source:cam", 11: "dispatch", 12: "finish", 13: "sink:redis", 14: "spool:redis", 15: "http"}
    assert part_of(thread_id, kernel_name, names, main_id=1) == part


def test_the_parts_together_are_the_process_and_what_has_ended_was_a_decoder_s() -> None:
    def work() -> None:
        for number in range(200_000):
            str(number)

    decoder = threading.Thread(target=work)
    decoder.start()
    decoder.join()
    before = process_cpu_s()
    parts = by_part({})
    assert set(parts) == set(PARTS)
    assert before <= sum(parts.values()) + 1e-6
    assert sum(parts.values()) <= process_cpu_s() + 1e-6
    assert parts["decode"] > 0


def test_this_thread_is_among_the_living() -> None:
    name, seconds = thread_cpu_s()[threading.get_native_id()]
    assert name
    assert seconds > 0


# ── sums ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=300))
def test_so_many_percent_do_not_exceed_a_percentile_and_it_is_a_sample(values: list[float]) -> None:
    found = measure.percentiles(values)
    for percent, value in ((50, found.p50), (95, found.p95), (99, found.p99)):
        assert value in [round(sample, 3) for sample in values]
        assert sum(sample <= value + 0.0005 for sample in values) >= len(values) * percent / 100
        assert sum(sample < value - 0.0005 for sample in values) < len(values) * percent / 100


def sample(kind: str, frames: int, *, streams: dict[str, int] | None = None, cpu_s: float = 1.0) -> Sample:
    return Sample(
        kind=kind,
        seconds=10.0,
        frames=frames,
        cpu_s=cpu_s,
        cpu_by_part_s=dict.fromkeys(PARTS, cpu_s / 6),
        streams={
            name: StreamSample(frames=count, stages_ms={"engine": [5.0, 7.0]}, overhead_ms=[1.0, 2.0])
            for name, count in (streams or {}).items()
        },
    )


class Children:
    """Stands for the processes that measure: gives what they would have found, and remembers how they were called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, pipelines: list[Sample], rooflines: dict[str, int]) -> None:
        self.calls: list[tuple[str, ...]] = []
        self._pipelines = itertools.cycle(pipelines)
        self._rooflines = rooflines
        monkeypatch.setattr(measure, "_child", self)

    def __call__(self, config: Path, kind: str, seconds: float, *more: str) -> Sample:
        self.calls.append((kind, *more))
        if kind == "roofline":
            mode = f"roofline {more[1]} {more[3]}"
            return sample(mode, self._rooflines.get(mode, 100), cpu_s=1.0)
        return next(self._pipelines)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "bench.yaml"
    streams = [{"id": "a", "url": "a.mkv"}, {"id": "cam", "url": "rtsp://cam.example/"}, {"id": "b", "url": "b.mkv"}]
    sinks = [{"kind": "jsonl", "path": "out.jsonl"}]
    path.write_text(yaml.safe_dump({"version": 1, "model": {"path": "m.onnx"}, "streams": streams, "sinks": sinks}))
    return path


def bench(config: Path, rounds: int = 3) -> measure.Report:
    return measure.bench(
        config, seconds=10.0, rounds=rounds, paced_seconds=20.0, command="the command", progress=lambda _: None
    )


def test_medians_are_compared_with_the_best_mode_and_files_are_paced_at_half_their_rate(
    monkeypatch: pytest.MonkeyPatch, config: Path
) -> None:
    pipelines = [
        sample("pipeline", frames, streams={"a": 100, "b": 60, "cam": frames - 160}, cpu_s=2.0)
        for frames in (180, 190, 400)
    ]
    children = Children(monkeypatch, pipelines, {"roofline THROUGHPUT 2": 200})
    report = bench(config)
    assert (report.fps, report.roofline_fps, report.ratio) == (19.0, 20.0, 0.95)
    assert report.roofline_mode == "roofline THROUGHPUT 2"
    assert report.overhead_cpu_ms == pytest.approx(2000 / 190 - 1000 / 200, abs=0.001)
    assert {name: figures.fps for name, figures in report.streams.items()} == {"a": 10.0, "b": 6.0, "cam": 3.0}
    assert report.stages["engine"].p50 == 5.0
    kinds = [call[0] for call in children.calls]
    assert kinds == [*(["pipeline", *["roofline"] * 4] * 3), "paced"]
    assert children.calls[-1] == ("paced", "--rate", "4.000")
    plain = msgspec.to_builtins(report)
    wanted = {
        "fps", "roofline_fps", "ratio", "overhead_cpu_ms", "overhead_ms", "stages", "versions", "command",
    }  # fmt: skip
    assert wanted <= set(plain)
    assert set(plain["overhead_ms"]) == {"p50", "p95", "p99"}
    assert plain["command"] == "the command"


def test_a_pipeline_faster_than_its_parts_is_an_error_of_the_bench(
    monkeypatch: pytest.MonkeyPatch, config: Path
) -> None:
    Children(monkeypatch, [sample("pipeline", 104, streams={"a": 104})], {})
    with pytest.raises(BenchError, match=r"came out at 1\.040 of its roofline, expected at most 1\.03"):
        bench(config)


@pytest.mark.parametrize(
    ("pipeline", "roofline", "says"),
    [(100, 0, "the engine finished no frame in 10 s"), (0, 100, "no frame reached its sink in 20 s")],
)
def test_nothing_measured_is_no_figure(
    monkeypatch: pytest.MonkeyPatch, config: Path, pipeline: int, roofline: int, says: str
) -> None:
    modes = {f"roofline {hint} {requests}": roofline for hint, requests in measure.MODES}
    Children(monkeypatch, [sample("pipeline", pipeline)], modes)
    with pytest.raises(BenchError, match=says):
        bench(config)


def test_a_measurement_that_fails_says_why_in_one_line(tmp_path: Path) -> None:
    model = mean_model(tmp_path / "mean.onnx")
    path = tmp_path / "bench.yaml"
    streams = [{"id": "a", "url": "none.mkv"}]
    sinks = [{"kind": "jsonl", "path": "out.jsonl"}]
    path.write_text(yaml.safe_dump({"version": 1, "model": {"path": str(model)}, "streams": streams, "sinks": sinks}))
    command = [sys.executable, "-m", "pipeline.bench.child", "pipeline", str(path), "--seconds", "1"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == 3
    says = "the streams did not last until the measurement was over: a: failed"
    assert ended.stderr.splitlines()[-1].startswith(says)
    with pytest.raises(NoStreamsError, match=f"^measuring pipeline failed: {says}") as caught:
        measured("pipeline.bench.child", "pipeline", path, 1.0, Sample, startup_s=100.0)
    assert caught.value.exit_status == 3


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--seconds", "0", "--seconds: expected seconds from 0.1 to 3600, got 0"),
        ("--seconds", "nan", "--seconds: expected seconds from 0.1 to 3600, got nan"),
        ("--paced-seconds", "-1", "--paced-seconds: expected seconds from 0.1 to 3600, got -1"),
        ("--rounds", "0", "--rounds: expected a whole number from 1 to 1000, got 0"),
        ("--json", "/proc/none/x.json", "--json: /proc/none/x.json cannot be written: No such file or directory"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str], config: Path, option: str, value: str, says: str
) -> None:
    assert cli.main(["bench", "pipeline", str(config), option, value]) == 2
    assert capsys.readouterr().err == f"UsageError: {says}\n"


# ── a file without an end ────────────────────────────────────────────────────────────────────────────────────────────

FILE = StreamOptions(id="clip", url=SecretUrl("clip.mkv"), mode="live", loop=True)


class Opened:
    """Opens the same script again and again; remembers with which options."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, clock: FakeClock, script: list[Item]) -> None:
        self.options: list[StreamOptions] = []
        self.connections: list[ScriptedConnection] = []
        self._clock = clock
        self._script = script
        monkeypatch.setattr(paced, "open_connection", self)

    def __call__(self, options: StreamOptions, clock: Clock, stop: threading.Event) -> Connection:
        self.options.append(options)
        info = ConnectionInfo(codec="h264", finite=True)
        self.connections.append(ScriptedConnection(self._script, info, self._clock))
        return self.connections[-1]


def test_a_file_s_time_goes_on_when_it_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stop = FakeClock(), threading.Event()
    trouble = Trouble(kind="lost", count=1)
    opened = Opened(monkeypatch, clock, [at(500), at(540), trouble, at(None), at(580)])
    connection = paced.endless({"clip"}, None)(FILE, clock, stop)
    items = list(itertools.islice(connection.pictures(), 13))
    shown = [item.pts if isinstance(item, Decoded) else "trouble" for item in items]
    assert shown == [0, 40, "trouble", None, 80, 120, 160, "trouble", None, 200, 240, 280, "trouble"]
    assert not connection.info.finite
    assert {(options.mode, options.loop) for options in opened.options} == {("file", False)}
    assert [c.closed for c in opened.connections] == [1, 1, 0]
    connection.close()
    assert opened.connections[-1].closed == 1


def test_a_paced_file_s_pictures_are_there_when_they_are_due(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stop = FakeClock(), threading.Event()
    Opened(monkeypatch, clock, [at(0), at(40), at(80)])
    connection = paced.endless({"clip"}, 20.0)(FILE, clock, stop)
    start_ns = clock.mono_ns()
    items = [item for item in itertools.islice(connection.pictures(), 7) if isinstance(item, Decoded)]
    assert [(item.mono_ns - start_ns) / 1e6 for item in items] == [0, 50, 100, 150, 200, 250, 300]
    assert all(item.decoded_ns == item.mono_ns for item in items)
    stop.set()
    assert list(connection.pictures()) == []


def test_a_file_without_a_time_stamp_ends_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    Opened(monkeypatch, clock, [at(None)])
    connection = paced.endless({"clip"}, None)(FILE, clock, threading.Event())
    with pytest.raises(SourceError, match="no picture in it has a time stamp"):
        list(connection.pictures())


def test_streams_that_are_no_files_are_opened_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    opened = Opened(monkeypatch, clock, [at(0)])
    connection = paced.endless({"other"}, 10.0)(FILE, clock, threading.Event())
    assert connection is opened.connections[0]
    assert opened.options == [FILE]
    assert [item.time_base for item in connection.pictures() if isinstance(item, Decoded)] == [Fraction(MS)]
