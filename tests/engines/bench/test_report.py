"""The statistics of a bench, on turns that the tests make up."""

from __future__ import annotations

from pathlib import Path

import cv2
import msgspec
import pytest

from engines.bench.frontier import pareto, plot
from engines.bench.job import Job, Mode, Ready, Turn
from engines.bench.measure import Measured
from engines.bench.report import About, Row, rows_of
from vedette.errors import UsageError

ABOUT = About(size=(64, 32), file_bytes=1_500_000, gflops=1.5)


def measured(precision: str, mode: Mode, turns: list[list[float]], *, batch: int = 1, failed: str = "") -> Measured:
    """A candidate whose requests took `turns` milliseconds, round by round."""
    return Measured(
        job=Job(label="m", path="m.onnx", runtime="openvino", precision=precision, mode=mode, batch=batch),
        ready=Ready(description="an engine", requests=2),
        turns=[
            Turn(
                seconds=sum(turn) / 1e3,
                requests=len(turn),
                memory_bytes=100_000_000 + number,
                latencies_ms=turn if mode == "latency" else [],
            )
            for number, turn in enumerate(turns)
        ],
        failed=failed,
    )


def rows(*candidates: Measured) -> tuple[list[Row], list[str]]:
    about = {(one.job.label, one.job.runtime, one.job.precision): ABOUT for one in candidates}
    return rows_of(candidates, about)


def both(precision: str, turns: list[list[float]], *, batch: int = 1) -> list[Measured]:
    return [measured(precision, mode, turns, batch=batch) for mode in ("latency", "throughput")]


def test_p50_is_the_median_of_the_rounds_medians_and_the_tail_is_of_all_requests() -> None:
    (row,), _ = rows(*both("fp32", [[10.0, 11.0, 12.0], [20.0, 21.0, 22.0], [11.0, 12.0, 500.0]]))

    assert row.p50_ms == 12.0
    assert row.p50_ms_by_round == [11.0, 21.0, 12.0]
    assert row.p95_ms == row.p99_ms == 500.0
    assert row.samples == 9


def test_a_speed_up_is_taken_within_rounds() -> None:
    """The machine is three times as slow in the second round; the ratio of the medians would be 4.5."""
    found, _ = rows(*both("fp32", [[40.0], [120.0], [45.0]]), *both("int8", [[10.0], [30.0], [9.0]]))

    assert [row.speedup_fp32 for row in found] == [1.0, 4.0]
    assert [row.speedup_first for row in found] == [1.0, 4.0]
    assert found[1].speedup_fp32_range == (4.0, 5.0)
    assert found[1].speedup_nncf is None


def test_the_yardstick_is_what_int8_is_held_against() -> None:
    found, _ = rows(*both("int8", [[10.0]]), *both("nncf-int8", [[9.8]]))

    assert found[0].speedup_nncf == 0.98
    assert found[0].speedup_fp32 is None


def test_throughput_counts_the_pictures_of_a_batch() -> None:
    (row,), _ = rows(*both("fp32", [[100.0] * 10], batch=4))

    assert row.fps == 40.0
    assert (row.batch, row.requests) == (4, 2)
    assert (row.memory_mb, row.file_mb) == (100.0, 1.5)


def test_batches_are_compared_with_their_like() -> None:
    found, _ = rows(*both("fp32", [[40.0]]), *both("int8", [[20.0]], batch=4))

    assert found[1].speedup_fp32 is None
    assert found[1].speedup_first is None


def test_what_failed_has_no_row_but_a_line() -> None:
    pair = [measured("bf16", mode, [], failed="no bf16 here", batch=batch) for batch in (1, 4) for mode in both_modes()]
    found, missing = rows(*both("fp32", [[1.0]]), *pair)

    assert [row.precision for row in found] == ["fp32"]
    assert missing == ["m, openvino, bf16 batch 1, bf16 batch 4: no bf16 here"]


def both_modes() -> tuple[Mode, Mode]:
    return "latency", "throughput"


@pytest.mark.parametrize(
    ("points", "best"),
    [
        ([(1.0, 0.2), (2.0, 0.3), (3.0, 0.25)], [(1.0, 0.2), (2.0, 0.3)]),
        ([(2.0, 0.3), (1.0, 0.3)], [(1.0, 0.3)]),
        ([(1.0, 0.2), (1.0, 0.3)], [(1.0, 0.3)]),
        ([(1.0, None)], []),
    ],
)
def test_the_frontier_is_what_nothing_beats_in_both(
    points: list[tuple[float, float | None]], best: list[tuple[float, float]]
) -> None:
    (row,), _ = rows(*both("fp32", [[1.0]]))
    given = [msgspec.structs.replace(row, p50_ms=p50_ms, ap=ap) for p50_ms, ap in points]

    assert [(found.p50_ms, found.ap) for found in pareto(given)] == best


def test_the_frontier_is_drawn(tmp_path: Path) -> None:
    found, _ = rows(*both("fp32", [[40.0]]), *both("bf16", [[20.0]]), *both("int8", [[10.0]]))
    known = [msgspec.structs.replace(row, ap=ap) for row, ap in zip(found, (0.4, 0.41, None), strict=True)]

    plot(known, tmp_path / "frontier.png", title="a machine")

    picture = cv2.imread(str(tmp_path / "frontier.png"))
    assert picture.shape[0] > 400
    assert len({tuple(colour) for colour in picture.reshape(-1, 3)}) > 10
    assert [path.name for path in tmp_path.iterdir()] == ["frontier.png"]


@pytest.mark.parametrize(("name", "ap", "message"), [("a.png", None, "no row has an AP"), ("a.xyz", 0.4, "a.xyz")])
def test_what_cannot_be_drawn_is_refused(tmp_path: Path, name: str, ap: float | None, message: str) -> None:
    (row,), _ = rows(*both("fp32", [[40.0]]))

    with pytest.raises(UsageError, match=message):
        plot([msgspec.structs.replace(row, ap=ap)], tmp_path / name, title="")

    assert list(tmp_path.iterdir()) == []
