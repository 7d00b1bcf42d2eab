"""The whole machine: how it ends, whom it leaves behind, what it does when something of ours breaks."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import msgspec
import pytest

from engines.types import F32
from pipeline.clock import SystemClock
from stages.source import Decoded
from tests.support.core import LIMIT_S
from tests.support.machine import Running, camera, decoded, film
from tests.support.outlets import eventually
from tests.support.scripted_engine import MEAN_SPEC, ScriptedEngine, one_box_each
from vedette.errors import EngineError, LedgerError, SourceError
from vedette.messages import FrameMessage, StreamState, encode_message


def states(run: Running, stream: str) -> list[str]:
    messages = [item.message for item in run.outlet.items if item.stream == stream]
    return [message.state for message in messages if isinstance(message, StreamState)]


# ── how it ends ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_ends_by_itself_when_every_file_is_with_its_slowest_sink() -> None:
    run = Running(files={"a": film(30), "b": film(3)}).start()
    outcome = run.join()
    assert (outcome.failed, outcome.left_behind, outcome.ledger_problems) == ({}, (), [])
    assert run.outlet.seqs("a") == list(range(30))
    assert run.outlet.seqs("b") == list(range(3))
    assert states(run, "a") == ["connecting", "streaming", "ended"]
    assert run.threads_left() == set()
    assert run.engine.closed


def test_a_model_that_went_around_the_gate_says_so_in_every_message_and_in_the_status() -> None:
    spec = msgspec.structs.replace(MEAN_SPEC, unverified=True)
    run = Running(files={"a": film(2)}, engine=ScriptedEngine(spec=spec)).start()
    outcome = run.join()
    models = {item.message.model for item in run.outlet.frames("a")}
    assert models == {f"{MEAN_SPEC.name} (unverified)"}
    assert outcome.status.model == f"{MEAN_SPEC.name} (unverified)"


def test_a_file_is_not_over_before_its_slowest_sink_is() -> None:
    run = Running(files={"a": film(5)}, at_once=False).start()
    run.outlet.wait_frames(5)
    eventually(lambda: run.machine.status().streams["a"].state == "ended")
    assert run.is_running
    run.outlet.settle_all()
    assert run.join().ledger_problems == []


def test_a_file_takes_no_more_than_its_credits() -> None:
    run = Running(files={"a": film(50)}, at_once=False).start()
    run.outlet.wait_frames(8)
    eventually(lambda: run.machine.status().streams["a"].totals.in_flight == 1)
    assert run.machine.status().streams["a"].totals.decoded == 9
    outcome = run.stop()
    assert states(run, "a")[-1] == "stopped"
    assert outcome.ledger.streams["a"].abandoned == 1
    assert outcome.ledger_problems == []


def test_it_runs_until_it_is_told_to_stop_while_there_is_a_camera() -> None:
    run = Running(files={"a": film(3)}, cameras={"cam": camera()}).start()
    eventually(lambda: "ended" in states(run, "a"))
    run.outlet.wait_frames(4)
    outcome = run.stop()
    assert outcome.ledger_problems == []
    assert states(run, "cam")[-1] == "stopped"


def test_a_stop_that_was_asked_for_before_it_ran_is_kept() -> None:
    run = Running(cameras={"cam": camera()})
    run.machine.request_stop()
    outcome = run.start().join()
    assert outcome.ledger_problems == []
    assert states(run, "cam")[-1] == "stopped"


def test_a_stream_that_fails_for_ever_is_in_the_outcome() -> None:
    def none(_: threading.Event) -> Iterator[Decoded]:
        raise SourceError("no such file", reason="not_found", fatal=True)
        yield

    outcome = Running(files={"a": none, "b": film(2)}).start().join()
    assert outcome.failed == {"a": "not_found"}
    assert outcome.ledger_problems == []


def test_those_beside_it_are_told_when_it_has_drained() -> None:
    over, story = threading.Event(), []

    def view() -> None:
        assert over.wait(LIMIT_S)
        story.append(("view", bool(run.engine.closed)))

    run = Running(files={"a": film(2)})
    outcome = run.start([("view", view)], on_end=over.set).join()
    assert outcome.left_behind == ()
    assert story == [("view", True)]


# ── what is left behind ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_source_that_is_blocked_is_left_behind_and_what_it_yields_later_is_refused() -> None:
    release = threading.Event()

    def mute(_: threading.Event) -> Iterator[Decoded]:
        yield decoded(0)
        release.wait(LIMIT_S)
        yield decoded(1)

    run = Running(cameras={"mute": mute, "cam": camera()}, shutdown_s=3.0).start()
    run.outlet.wait_frames(2)
    outcome = run.stop()
    assert outcome.left_behind == ("source:mute",)
    assert outcome.ledger_problems == []
    assert states(run, "mute")[-1] == "stopped"
    items = len(run.outlet.items)
    release.set()
    eventually(lambda: not run.threads_left())
    assert len(run.outlet.items) == items
    assert run.machine.status().ledger == outcome.ledger


def test_an_engine_that_hangs_costs_the_frames_in_it_and_nothing_else() -> None:
    hang = threading.Event()
    looked = 0

    def look(pictures: F32) -> object:
        nonlocal looked
        looked += 1
        if looked == 3:
            hang.wait(LIMIT_S)
        return one_box_each(pictures)

    engine = ScriptedEngine(look=look)  # type: ignore[arg-type]
    run = Running(files={"a": film(20)}, engine=engine, shutdown_s=0.3).start()
    run.outlet.wait_frames(2)
    eventually(lambda: looked == 3)
    outcome = run.stop()
    assert "finish" in outcome.left_behind
    assert outcome.ledger_problems == []
    totals = outcome.ledger.streams["a"]
    assert totals.published == 2
    assert totals.abandoned == totals.decoded - 2 > 0
    hang.set()
    eventually(lambda: not run.threads_left())
    assert run.machine.ledger.totals() == outcome.ledger


def test_what_a_blocked_sink_keeps_is_no_fault_of_the_ledger() -> None:
    release = threading.Event()
    run = Running(files={"a": film(2)}, shutdown_s=0.3, at_once=False)
    run.outlet.close = lambda _: None  # type: ignore[method-assign]
    run.outlet.bodies = lambda: (("sink:collector", lambda: release.wait(LIMIT_S) and None),)  # type: ignore[method-assign]
    run.start()
    run.outlet.wait_frames(2)
    outcome = run.stop()
    assert outcome.left_behind == ("sink:collector",)
    assert outcome.ledger.sinks["collector"].waiting == 2
    assert outcome.ledger_problems == []
    release.set()
    run.outlet.settle_all()


# ── our own faults ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_crash_in_a_source_s_thread_ends_everything_with_its_exception() -> None:
    def crash(_: threading.Event) -> Iterator[Decoded]:
        yield decoded(0)
        raise ZeroDivisionError("our own fault")

    run = Running(files={"a": crash}, cameras={"cam": camera()}).start()
    with pytest.raises(ZeroDivisionError, match="our own fault"):
        run.join()
    assert run.threads_left() == set()
    totals = run.machine.ledger.totals()
    assert totals.problems == []
    assert [stream.in_flight for stream in totals.streams.values()] == [0, 0]


def test_a_crash_beside_it_ends_it_too() -> None:
    def crash() -> None:
        raise ZeroDivisionError("in the view")

    run = Running(cameras={"cam": camera()}).start([("view", crash)])
    with pytest.raises(ZeroDivisionError, match="in the view"):
        run.join()
    assert run.threads_left() == set()


def test_three_engine_errors_in_a_row_end_it_and_it_drains() -> None:
    run = Running(files={"a": film(40)}, engine=ScriptedEngine(look=lambda _: EngineError("broken"))).start()
    with pytest.raises(EngineError, match="3 times in a row"):
        run.join()
    assert run.threads_left() == set()
    totals = run.machine.ledger.totals().streams["a"]
    assert totals.failed["engine"] == 3
    assert totals.in_flight == 0


def test_a_fault_of_the_ledger_is_raised_as_such() -> None:
    run = Running(cameras={"cam": camera()}).start()
    run.outlet.wait_frames(1)
    with pytest.raises(LedgerError):
        run.machine.ledger.published(run.outlet.frames()[0].stream, 0)
    run.stop()


# ── what must not depend on anything ─────────────────────────────────────────────────────────────────────────────────


def messages(run: Running, stream: str) -> list[bytes]:
    return [
        item.encoded if isinstance(item.message, FrameMessage) else encode_message(item.message)  # type: ignore[union-attr]
        for item in run.outlet.items
        if item.stream == stream
    ]


def test_a_file_gives_the_same_messages_alone_and_in_company_of_any_speed() -> None:
    alone = Running(files={"a": film(60)}).start()
    alone.join()
    order = iter(range(10**6))
    engine = ScriptedEngine(buffers=4, pick=lambda n: next(order) % n, gather_s=0.001)
    busy = Running(files={"a": film(60), "b": film(60)}, cameras={"cam": film(500), "dog": film(500)}, engine=engine)
    busy.start().join()
    assert messages(alone, "a") == messages(busy, "a")
    assert len(messages(alone, "a")) > 60


class CountingClock(SystemClock):
    def __init__(self) -> None:
        self.asked = 0

    def mono_ns(self) -> int:
        self.asked += 1
        return super().mono_ns()


def test_an_idle_machine_does_nothing() -> None:
    clock = CountingClock()
    run = Running(cameras={"cam": camera(3), "dog": camera(0)}, clock=clock).start()
    run.outlet.wait_frames(1, "cam")
    quiet = threading.Event()

    def is_idle() -> bool:
        before = clock.asked
        quiet.wait(0.2)
        return clock.asked == before

    eventually(is_idle)
    before = clock.asked
    quiet.wait(0.5)  # nobody wakes to look
    assert clock.asked == before
    run.stop()
