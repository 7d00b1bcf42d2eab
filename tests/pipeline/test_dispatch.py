"""The dispatch thread: frames chosen as late as possible, each into the right buffer, refusals counted and bounded."""

from __future__ import annotations

import gc
import logging
import weakref

import pytest

from tests.support.clock import FakeClock
from tests.support.core import LIMIT_S, Core
from tests.support.outlets import eventually
from tests.support.scripted_engine import GreyPicture, ScriptedEngine, level_of
from vedette.errors import EngineError, PictureError

UNFIT = GreyPicture(0, error=PictureError("pixel format bayer_rggb8 cannot be converted"))


def test_every_frame_s_detections_are_its_own_whatever_the_order_of_completion() -> None:
    order = iter([1, 0, 2, 0, 1] * 100)
    core = Core(ScriptedEngine(buffers=3, pick=lambda n: next(order) % n, gather_s=0.005), {"a": True, "b": True})
    core.start()
    for _ in range(40):
        core.offer("a")
        core.offer("b")
    core.outlet.wait_frames(80)
    core.stop()
    for stream in ("a", "b"):
        assert core.outlet.seqs(stream) == list(range(40))
        for item in core.outlet.frames(stream):
            (thing,) = item.message.objects
            assert level_of(thing.box[0]) == item.message.seq % 200


def test_a_frame_is_chosen_when_a_buffer_is_free_and_is_the_newest_then() -> None:
    core = Core(ScriptedEngine(buffers=1), {"cam": False})
    core.offer("cam")
    core.start(finish=False)
    eventually(lambda: core.engine.submissions)
    for _ in range(3):
        core.offer("cam")
    core.start_finish()
    core.outlet.wait_frames(2)
    core.stop()
    assert core.outlet.seqs("cam") == [0, 3]
    assert core.totals("cam").superseded == 2


def test_a_batch_takes_what_waits_and_each_picture_has_its_own_slot() -> None:
    core = Core(ScriptedEngine(buffers=1, batch=4), {"a": False, "b": False, "file": True}, batch_max=4)
    for stream in ("a", "b", "file", "file", "file"):
        core.offer(stream)
    core.start()
    core.outlet.wait_frames(5)
    core.stop()
    assert core.engine.submissions == [4, 1]
    levels = {(i.stream, i.message.seq): level_of(i.message.objects[0].box[0]) for i in core.outlet.frames()}
    assert levels == {("a", 0): 0, ("b", 0): 0, ("file", 0): 0, ("file", 1): 1, ("file", 2): 2}


def test_a_batch_is_never_larger_than_the_configuration_or_the_engine_allow() -> None:
    for batch, batch_max in ((4, 2), (2, 4)):
        core = Core(ScriptedEngine(buffers=1, batch=batch), {"file": True}, batch_max=batch_max)
        for _ in range(5):
            core.offer("file")
        core.start()
        core.outlet.wait_frames(5)
        core.stop()
        assert core.engine.submissions == [2, 2, 1]


def test_a_picture_that_cannot_be_converted_fails_alone_and_the_others_keep_their_slots() -> None:
    core = Core(ScriptedEngine(buffers=1, batch=4), {"file": True}, batch_max=4)
    core.offer("file")
    core.offer("file", UNFIT)
    core.offer("file")
    core.offer("file")
    core.start()
    core.outlet.wait_frames(3)
    core.stop()
    assert core.engine.submissions == [3]
    assert core.totals("file").failed == {"pixel_format": 1}
    assert [(i.message.seq, level_of(i.message.objects[0].box[0])) for i in core.outlet.frames()] == [
        (0, 0), (2, 2), (3, 3),
    ]  # fmt: skip


def test_a_camera_whose_every_picture_is_unfit_is_told_of_once_in_ten_seconds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = FakeClock()
    core = Core(ScriptedEngine(), {"file": True, "cam": True}, clock=clock, credits=1)
    core.start()
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            core.offer("file", UNFIT)
        core.offer("cam", UNFIT)
        eventually(lambda: all(credits.all_back() for credits in core.credits.values() if credits))
        clock.advance(11)
        core.offer("file", UNFIT)
        core.stop()
    said = [record.getMessage() for record in caplog.records]
    assert [line.partition(";")[0] for line in said] == [
        "stream file: 1 frames could not be converted",
        "stream cam: 1 frames could not be converted",
        "stream file: 5 frames could not be converted",
    ]
    assert core.totals("file").failed == {"pixel_format": 6}


def test_a_refused_submission_fails_its_frames_and_the_buffer_is_used_again() -> None:
    answers = iter([EngineError("no"), None, EngineError("no"), EngineError("no"), None, None])
    core = Core(ScriptedEngine(buffers=1, refuse=lambda: next(answers)), {"file": True})
    core.start()
    for _ in range(6):
        core.offer("file")
    core.outlet.wait_frames(3)
    core.stop()
    assert core.outlet.seqs("file") == [1, 4, 5]
    assert core.totals("file").failed == {"engine": 3}
    assert core.engine.free == 1


def test_three_refusals_in_a_row_end_the_process() -> None:
    core = Core(ScriptedEngine(refuse=lambda: EngineError("broken")), {"file": True})
    core.start()
    for _ in range(4):
        core.offer("file")
    assert core.supervisor.stop.wait(LIMIT_S)
    with pytest.raises(EngineError, match="broken"):
        core.stop(work_left=True)
    core.check()
    assert core.totals("file").failed == {"engine": 3}
    assert core.totals("file").abandoned == 1


def test_after_close_what_waited_is_submitted_and_what_comes_is_abandoned() -> None:
    core = Core(ScriptedEngine(buffers=1), {"cam": False, "file": True})
    for _ in range(3):
        core.offer("file")
    core.dispatcher.close()
    core.offer("cam")
    core.offer("file")
    core.start()
    core.stop()
    assert core.outlet.seqs("file") == [0, 1, 2]
    assert core.totals("file").abandoned == 1
    assert core.totals("cam").abandoned == 1
    assert core.engine.free == 1


def test_closing_does_not_wait_for_company() -> None:
    core = Core(ScriptedEngine(buffers=3, batch=4), {"a": False, "b": False}, wait_ns=int(1e15))
    core.start(finish=False)
    core.offer("a")  # the engine is idle: taken alone
    eventually(lambda: core.engine.submissions)
    core.offer("b")  # the engine has work: waits
    core.dispatcher.close()
    assert core.supervisor.join("dispatch", LIMIT_S) == []
    assert core.engine.submissions == [1, 1]
    core.start_finish()
    core.stop()


def test_a_frame_that_waits_for_company_goes_when_the_engine_is_idle() -> None:
    core = Core(ScriptedEngine(buffers=2, batch=4), {"a": False, "b": False}, wait_ns=int(1e15))
    core.start(finish=False)
    core.offer("a")
    eventually(lambda: core.engine.submissions)
    core.offer("b")
    core.start_finish()
    core.outlet.wait_frames(2)
    core.stop()
    assert core.engine.submissions == [1, 1]


def test_a_closed_engine_ends_the_thread_and_frames_that_wait_are_abandoned() -> None:
    core = Core(ScriptedEngine(buffers=1), {"file": True})
    core.start(finish=False)
    for _ in range(4):
        core.offer("file")
    eventually(lambda: core.engine.submissions)
    core.engine.close()
    assert core.supervisor.join("dispatch", LIMIT_S) == []
    core.start_finish()
    core.stop(work_left=True)
    assert core.outlet.seqs("file") == [0]
    assert core.totals("file").abandoned == 3


def test_an_idle_machine_holds_no_picture() -> None:
    core = Core(ScriptedEngine(), {"cam": False, "file": True})
    core.start()
    seen = []
    for stream in ("cam", "file"):
        picture = GreyPicture(7)
        seen.append(weakref.ref(picture))
        core.offer(stream, picture)
        del picture
    core.outlet.wait_frames(2)

    def let_go() -> bool:
        gc.collect()
        return all(picture() is None for picture in seen)

    eventually(let_go)
    core.stop()
