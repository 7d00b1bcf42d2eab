"""Threads live and end together: the first failure stops the others, and none is lost sight of."""

from __future__ import annotations

import threading

import pytest

from pipeline.clock import SystemClock
from pipeline.supervisor import Supervisor

LIMIT_S = 20.0


@pytest.fixture
def supervisor() -> Supervisor:
    return Supervisor(SystemClock())


def test_threads_have_the_names_they_were_given(supervisor: Supervisor) -> None:
    names: list[str] = []
    thread = supervisor.spawn("source:gate", lambda: names.append(threading.current_thread().name))
    assert supervisor.join(timeout_s=LIMIT_S) == []
    assert names == ["source:gate"]
    assert supervisor.native_ids() == {"source:gate": thread.native_id}
    assert supervisor.failure is None


@pytest.mark.filterwarnings("error")
def test_the_first_failure_stops_the_others_and_is_the_one_that_is_kept(
    supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    def break_down() -> None:
        raise KeyError("first")

    def break_down_later() -> None:
        supervisor.stop.wait(LIMIT_S)
        raise ValueError("second")

    supervisor.spawn("later", break_down_later)
    supervisor.spawn("first", break_down)
    assert supervisor.join(timeout_s=LIMIT_S) == []
    assert supervisor.failure is not None
    assert supervisor.failure.thread == "first"
    assert isinstance(supervisor.failure.error, KeyError)
    said = [(record.getMessage(), record.exc_info is not None) for record in caplog.records]
    assert said == [("thread first failed: KeyError", True), ("thread later failed: ValueError", True)]


def test_even_a_thread_that_wants_to_exit_is_a_failure(supervisor: Supervisor) -> None:
    def leave() -> None:
        raise SystemExit(0)

    supervisor.spawn("leaver", leave)
    supervisor.join(timeout_s=LIMIT_S)
    assert supervisor.failure is not None
    assert supervisor.stop.is_set()


def test_wakers_are_called_once_and_at_once_when_it_is_too_late(supervisor: Supervisor) -> None:
    woken: list[str] = []
    supervisor.on_stop(lambda: woken.append("early"))
    supervisor.request_stop()
    supervisor.request_stop()
    supervisor.on_stop(lambda: woken.append("late"))
    assert woken == ["early", "late"]


def test_a_waker_may_ask_again_and_look_at_the_failure(supervisor: Supervisor) -> None:
    def wake() -> None:
        supervisor.request_stop()
        assert supervisor.failure is None

    supervisor.on_stop(wake)
    supervisor.request_stop()
    assert supervisor.stop.is_set()


def test_join_names_those_that_are_still_alive(supervisor: Supervisor) -> None:
    release = threading.Event()
    supervisor.spawn("source:mute", lambda: release.wait(LIMIT_S) and None)
    supervisor.spawn("source:gate", lambda: None)
    supervisor.spawn("finish", lambda: release.wait(LIMIT_S) and None)
    assert supervisor.join("source:", 0.05) == ["source:mute"]
    assert supervisor.join("source:gate", LIMIT_S) == []
    release.set()
    assert supervisor.join(timeout_s=LIMIT_S) == []


def test_nobody_holds_the_end_of_the_process_up(supervisor: Supervisor) -> None:
    release = threading.Event()
    assert supervisor.spawn("any", lambda: release.wait(LIMIT_S) and None).daemon
    release.set()
    supervisor.join(timeout_s=LIMIT_S)
