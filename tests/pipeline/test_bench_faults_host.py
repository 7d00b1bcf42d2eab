"""The host's clock that can be stepped, and what its steps must not do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from pipeline.bench.faults.camera_verdict import CameraRun, check_host, told_waits
from pipeline.bench.faults.host_time import HostTime, check_capture_times, check_no_reconnect
from pipeline.bench.faults.recovery import Strike, Wait
from pipeline.bench.faults.stepped_clock import HostClock, Step, SteppedClock
from pipeline.bench.faults.subscriber import Seen
from pipeline.clock import SystemClock
from tests.support.published import frame
from vedette.messages import FrameMessage, encode_message

S = 1_000_000_000
WALL = 1_795_219_200 * S


def step(at_s: float, offset_s: float) -> Step:
    return Step(at_ns=int(at_s * S), offset_ns=int(offset_s * S))


def seen(message: FrameMessage, at_s: float) -> Seen:
    raw = encode_message(message)
    return Seen(at_ns=int(at_s * S), era=0, stream="gate", id=(int(at_s * 1000), 0), raw=raw, message=message)


def gate(entries: list[Seen]) -> CameraRun:
    return CameraRun(camera="gate", struck=(), seen=entries, waits=(), begin_ns=0, end_ns=30 * S, lapse_ns=0)


def taken(n: int, wall_s: float, *, error_ms: float = 100.0, run: str = "run-1", epoch: int = 0) -> FrameMessage:
    """Frame `n`, taken so many seconds after the monotonic clock's zero by the host's clock."""
    wall_ns = WALL + int(wall_s * S)
    return msgspec.structs.replace(frame(n, run=run), wall_ns=wall_ns, clock_error_ms=error_ms, epoch=epoch)


# ── the clock ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_wall_time_is_stepped_both_ways_and_monotonic_time_goes_on(tmp_path: Path) -> None:
    system = SystemClock()
    host = HostClock(tmp_path / "clock", system)
    clock = SteppedClock(host.path)

    for offset_s in (0.0, 86_400.0, -200_000.0, 0.0):
        if offset_s or host.steps:
            host.step(offset_s)
        before, now, after = system.wall_ns(), clock.wall_ns(), system.wall_ns()
        assert before <= now - int(offset_s * S) <= after
        assert system.mono_ns() <= clock.mono_ns() <= system.mono_ns()
    assert [one.offset_ns for one in host.steps] == [86_400 * S, -200_000 * S, 0]


def test_run_with_a_stepped_clock_is_run(tmp_path: Path) -> None:
    HostClock(tmp_path / "clock", SystemClock())
    words = [sys.executable, "-m", "vedette.cli.stepped", str(tmp_path / "clock"), "run", str(tmp_path / "none.yaml")]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 2
    assert "none.yaml" in ended.stderr.splitlines()[0]


# ── the host's time ──────────────────────────────────────────────────────────────────────────────────────────────────


@given(
    st.lists(st.tuples(st.integers(1, 500), st.integers(-200_000, 200_000)), max_size=5, unique_by=lambda s: s[0]),
    st.integers(0, 600),
)
def test_wall_time_is_that_of_the_last_step(offsets: list[tuple[int, int]], at_s: int) -> None:
    host = HostTime(WALL, [step(at, offset) for at, offset in offsets])

    ((wall_ns, _),) = host.walls_ns(at_s * S + 1, at_s * S + 1)

    offset_s = max(((at, offset) for at, offset in offsets if at <= at_s), default=(0, 0))[1]
    assert wall_ns == WALL + (at_s + offset_s) * S + 1


def test_times_of_capture_may_be_off_by_what_they_say_and_no_more() -> None:
    host = HostTime(WALL, [step(10, 3600), step(12, 0)])
    calm = [Strike(begin_ns=0, end_ns=0)]
    right = [seen(taken(1, 5), 5.1), seen(taken(2, 3611), 11.1), seen(taken(3, 3611.9), 12.5)]
    across = [seen(taken(6, 11.95), 12.05)]  # arrived before the clock was put right, looked at afterwards
    held = [seen(taken(4, 3612, error_ms=3_592_500.0), 20)]

    assert list(check_capture_times([*right, *across, *held], host, calm, 0)) == []
    for wrong in (taken(5, 3611.9), taken(5, 25), taken(5, 10)):
        (broken,) = check_capture_times([seen(wrong, 20)], host, calm, 0)
        assert broken.promise == "times of capture are right"


def test_frame_may_be_read_late_around_a_fault_and_only_there() -> None:
    host, frames = HostTime(WALL, []), [seen(taken(1, 50), 60)]

    assert list(check_capture_times(frames, host, [Strike(begin_ns=50 * S, end_ns=59 * S)], 0)) == []
    assert list(check_capture_times(frames, host, [Strike(begin_ns=0, end_ns=S)], 8 * S)) == []
    assert len(list(check_capture_times(frames, host, [Strike(begin_ns=0, end_ns=S)], 0))) == 1


def test_frame_that_comes_again_is_looked_at_once() -> None:
    host, steps = HostTime(WALL, [step(20, 0)]), [step(20, 0)]
    frames = [taken(n, n, epoch=min(n // 5, 2)) for n in range(1, 25)]
    once = [seen(message, n + 0.1) for n, message in enumerate(frames, 1)]
    # Another server takes the place of the first: all is read again, connections of long ago, too.
    again = [seen(message, 21) for message in frames[:20]]

    assert list(check_host(gate([*once[:20], *again, *once[20:]]), host, steps)) == []


def test_new_connection_is_a_violation_only_where_nothing_else_struck() -> None:
    steps = [step(20, 100)]
    anew = [seen(taken(1, 19), 19), seen(taken(2, 21, epoch=1), 21)]

    (broken,) = check_no_reconnect(anew, steps, [])
    assert broken.promise == "the host's clock ends nothing"
    assert list(check_no_reconnect(anew, steps, [Strike(begin_ns=15 * S, end_ns=16 * S)])) == []
    assert len(list(check_no_reconnect(anew, steps, [Strike(begin_ns=5 * S, end_ns=6 * S)]))) == 1
    before = [seen(taken(1, 17), 17), seen(taken(2, 18, epoch=1), 18), seen(taken(3, 121, epoch=1), 21)]
    assert list(check_no_reconnect(before, steps, [])) == []


def test_back_offs_are_read_from_the_log_with_the_camera_that_they_are_of() -> None:
    log = (
        '{"message": "stream gate: waiting (eof): ended, waiting 1.5 s before attempt 2", "stream": "gate"}',
        '{"message": "stream door: waiting (auth): 401, waiting 30.0 s before attempt 1", "stream": "door"}',
        '{"message": "stream gate: streaming", "stream": "gate"}',
    )

    assert told_waits("gate", log, (5 * S, 6 * S, 7 * S)) == [Wait(at_ns=5 * S, wait_ns=3 * S // 2)]
