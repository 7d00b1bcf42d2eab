"""The finish thread: one engine error fails its frames, three in a row end the process."""

from __future__ import annotations

import logging

import pytest

from tests.support.clock import FakeClock
from tests.support.core import LIMIT_S, Core
from tests.support.scripted_engine import ScriptedEngine, one_box_each
from vedette.errors import EngineError


def failing(*fails: bool) -> ScriptedEngine:
    """An engine with one buffer that fails on the frames for which it is said to."""
    plan = iter(fails)
    return ScriptedEngine(
        buffers=1, look=lambda pictures: EngineError("it broke") if next(plan) else one_box_each(pictures)
    )


def test_an_engine_error_fails_its_frame_and_releases_the_next() -> None:
    core = Core(failing(False, True, False), {"file": True})
    core.start()
    for _ in range(3):
        core.offer("file")
    core.outlet.wait_frames(2)
    core.stop()
    assert core.outlet.seqs("file") == [0, 2]
    assert core.totals("file").failed == {"engine": 1}
    assert core.engine.free == 1


def test_all_frames_of_a_batch_fail_with_it() -> None:
    plan = iter([True, False])
    look = lambda pictures: EngineError("it broke") if next(plan) else one_box_each(pictures)  # noqa: E731
    core = Core(ScriptedEngine(buffers=1, batch=3, look=look), {"file": True}, batch_max=3)
    for _ in range(6):
        core.offer("file")
    core.start()
    core.outlet.wait_frames(3)
    core.stop()
    assert core.outlet.seqs("file") == [3, 4, 5]
    assert core.totals("file").failed == {"engine": 3}


def test_two_errors_and_a_success_are_no_broken_engine() -> None:
    core = Core(failing(True, True, False, True, True, False), {"file": True})
    core.start()
    for _ in range(6):
        core.offer("file")
    core.outlet.wait_frames(2)
    core.stop()
    assert core.outlet.seqs("file") == [2, 5]


def test_three_errors_in_a_row_end_the_process() -> None:
    core = Core(failing(False, True, True, True), {"file": True})
    core.start()
    for _ in range(5):
        core.offer("file")
    assert core.supervisor.stop.wait(LIMIT_S)
    core.engine.close()
    with pytest.raises(EngineError, match="the engine failed 3 times in a row; the last: it broke") as raised:
        core.stop(work_left=True)
    assert isinstance(raised.value.__cause__, EngineError)
    core.check()
    assert core.outlet.seqs("file") == [0]
    assert core.totals("file").failed == {"engine": 3}
    assert core.totals("file").abandoned == 1


def test_an_engine_that_fails_now_and_then_is_told_of_once_in_ten_seconds(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    core = Core(failing(*[True, False] * 5), {"file": True}, clock=clock)
    core.start()
    with caplog.at_level(logging.ERROR):
        for count in range(1, 6):
            core.offer("file")
            core.offer("file")
            core.outlet.wait_frames(count)
            clock.advance(4)
        core.stop()
    assert [record.getMessage() for record in caplog.records] == [
        "the engine failed on 1 frames; the last: it broke",
        "the engine failed on 3 frames; the last: it broke",
    ]


def test_frames_that_were_given_up_meanwhile_are_not_counted_again() -> None:
    core = Core(ScriptedEngine(buffers=3), {"cam": False, "file": True})
    core.start(finish=False)
    core.offer("file")
    core.offer("cam")
    core.dispatcher.close()
    assert core.supervisor.join("dispatch", LIMIT_S) == []
    for entrance in core.entrances.values():
        entrance.close(work_left=True)
    core.start_finish()
    core.stop()
    assert core.outlet.frames() == []
    assert [core.totals(name).abandoned for name in ("cam", "file")] == [1, 1]


def test_stamps_rise_and_hold_the_engine_s_own_time() -> None:
    core = Core(ScriptedEngine(), {"file": True})
    core.start()
    core.offer("file")
    core.outlet.wait_frames(1)
    core.stop()
    quantiles = core.lanes["file"].latencies.quantiles()
    assert list(quantiles) == ["decode", "wait", "prepare", "engine", "finish", "sink", "total"]
    parts = sum(quantiles[stage].sum_ms for stage in quantiles if stage != "total")
    assert quantiles["total"].sum_ms == pytest.approx(parts)


@pytest.mark.parametrize("frames", [1, 2, 7, 24])
def test_with_more_under_way_than_is_worked_on_every_frame_comes_out_and_none_is_waited_for_in_vain(
    frames: int,
) -> None:
    core = Core(ScriptedEngine(buffers=5), {"file": True})
    core.start()
    for _ in range(frames):
        core.offer("file")
    core.outlet.wait_frames(frames)
    core.stop()
    assert core.outlet.seqs("file") == list(range(frames))
    assert core.engine.free == 5
