"""The runner of one stream, on scripted connections and a clock that moves when it is told to."""

from __future__ import annotations

import datetime
import logging
import random
import threading
from collections.abc import Sequence
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from pipeline.stream import StreamRunner
from stages.options import StreamOptions
from stages.source import Trouble
from stages.source.state import FINAL, MOVES
from stages.types import ClockKind, Reason, State
from tests.support.clock import FakeClock
from tests.support.intake import RecordingIntake
from tests.support.scripted import Item, ScriptedSource, at, broken, frames
from vedette.errors import SourceError
from vedette.secrets import SecretUrl

CONNECTING, STREAMING, STALLED, WAITING = State.CONNECTING, State.STREAMING, State.STALLED, State.WAITING
ENDED, FAILED, STOPPED = State.ENDED, State.FAILED, State.STOPPED
CAMERA = "rtsp://viewer:hunter2@10.0.0.7/stream1"


class Play:
    """Runs a stream over scripted attempts until it is over."""

    def __init__(
        self,
        *attempts: Sequence[Item] | SourceError,
        finite: bool = False,
        credits: int | None = None,
        created_wall_ns: int | None = None,
        **options: Any,
    ) -> None:
        self.clock = FakeClock()
        self.stop = threading.Event()
        self.intake = RecordingIntake("gate", credits=credits)
        self.source = ScriptedSource(self.clock, self.stop, *attempts, finite=finite, created_wall_ns=created_wall_ns)
        self.runner = StreamRunner(
            StreamOptions(id="gate", **{"url": SecretUrl(CAMERA), **options}),
            "run",
            self.intake,
            self.clock,
            self.stop,
            opener=self.source,
            rng=random.Random(3),
        )

    def run(self) -> Play:
        self.runner.run()
        assert self.intake.totals.balances
        assert self.intake.totals.in_flight == 0
        assert all(connection.closed == 1 for connection in self.source.connections)
        return self

    @property
    def states(self) -> list[tuple[State, Reason | None]]:
        return self.intake.states

    @property
    def pts(self) -> list[int]:
        return [frame.pts for frame in self.intake.frames]


def film(*attempts: Sequence[Item] | SourceError, **options: Any) -> Play:
    return Play(*attempts, finite=True, **{"mode": "file", "url": SecretUrl("/film.mp4"), **options})


# ── the course of a stream ───────────────────────────────────────────────────────────────────────────────────────────


def test_camera_that_is_stopped_says_so() -> None:
    play = Play(frames(10)).run()
    assert play.states[:2] == [(CONNECTING, None), (STREAMING, None)]
    assert play.states[-1] == (STOPPED, Reason.OPERATOR)


def test_lost_connection_is_waited_for_and_begins_a_new_epoch() -> None:
    play = Play(frames(5), broken(Reason.REFUSED), frames(5)).run()
    assert play.states[:8] == [
        (CONNECTING, None),
        (STREAMING, None),
        (WAITING, Reason.EOF),
        (CONNECTING, None),
        (WAITING, Reason.REFUSED),
        (CONNECTING, None),
        (STREAMING, None),
        (WAITING, Reason.EOF),
    ]
    assert [frame.epoch for frame in play.intake.frames] == [0] * 5 + [1] * 5
    assert [frame.seq for frame in play.intake.frames] == list(range(10))
    assert play.intake.totals.reconnections == {"eof": 1}
    assert [change.epoch for change in play.intake.changes[:7]] == [0] * 6 + [1]


def test_stall_is_told_before_the_wait() -> None:
    play = Play([*frames(5), broken(Reason.STALL, "no packet for 4 s (limit 4 s)")], frames(1)).run()
    assert play.states[2:5] == [(STALLED, Reason.STALL), (WAITING, Reason.STALL), (CONNECTING, None)]
    waiting = play.intake.changes[3]
    assert waiting.detail.startswith("no packet for 4 s (limit 4 s), waiting 0.")
    assert waiting.detail.endswith("s before attempt 2")


def test_waits_grow_to_half_a_minute_and_pass_on_the_clock() -> None:
    play = Play(*[broken(Reason.TIMEOUT)] * 9, frames(1))
    began = play.clock.mono_ns()
    play.run()
    streaming = next(change for change in play.intake.changes if change.state is STREAMING)
    assert 60 < (play.clock.mono_ns() - began) / 1e9 < 160
    assert streaming.epoch == 0
    assert play.intake.totals.reconnections == {}


def test_refused_password_waits_half_a_minute() -> None:
    play = Play(broken(Reason.AUTH), frames(1))
    began = play.clock.wall_ns()
    play.run()
    connects = [change.wall_ns for change in play.intake.changes if change.state is CONNECTING]
    assert connects[0] == began
    assert 30.0 <= (connects[1] - connects[0]) / 1e9 <= 33.0


@pytest.mark.parametrize("reason", [Reason.NOT_FOUND, Reason.CODEC, Reason.CORRUPT])
def test_what_waiting_cannot_mend_fails_for_ever(reason: Reason) -> None:
    play = film(broken(reason, fatal=True)).run()
    assert play.states == [(CONNECTING, None), (FAILED, reason)]


def test_a_camera_that_never_streamed_and_has_no_decoder_here_fails_for_ever() -> None:
    play = Play(broken(Reason.CODEC, fatal=True), frames(1)).run()
    assert play.states == [(CONNECTING, None), (FAILED, Reason.CODEC)]


def test_a_camera_that_has_streamed_is_tried_again_though_its_codec_came_damaged() -> None:
    """One changed byte in a camera's description of itself, on a bad line, cost the stream for ever."""
    play = Play(frames(2), broken(Reason.CODEC, fatal=True), frames(2)).run()

    again = [(CONNECTING, None), (WAITING, Reason.CODEC), (CONNECTING, None), (STREAMING, None)]
    assert play.states[3:7] == again
    assert len(play.pts) == 4
    assert play.intake.totals.reconnections == {"eof": 1}


def test_file_ends() -> None:
    play = film(frames(10)).run()
    assert play.states == [(CONNECTING, None), (STREAMING, None), (ENDED, Reason.EOF)]
    assert play.pts == list(range(0, 400, 40))


def test_file_that_breaks_off_fails_after_what_it_had() -> None:
    play = film([*frames(3), broken(Reason.CORRUPT, "cannot be read further", fatal=True)]).run()
    assert play.states[-1] == (FAILED, Reason.CORRUPT)
    assert len(play.pts) == 3


def test_file_without_a_picture_is_corrupt() -> None:
    assert film([Trouble(kind="damaged")]).run().states == [(CONNECTING, None), (FAILED, Reason.CORRUPT)]


def test_live_file_that_loops_begins_a_new_epoch_each_time_without_an_interruption() -> None:
    play = Play(*[frames(3)] * 3, [*frames(1), broken(Reason.CORRUPT, fatal=True)], finite=True, mode="live", loop=True)
    play.run()
    assert play.states[1:5] == [(STREAMING, None)] + [(STREAMING, Reason.EOF)] * 3
    assert [frame.epoch for frame in play.intake.frames] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]
    assert {frame.clock for frame in play.intake.frames} == {ClockKind.ARRIVAL}
    assert play.intake.totals.reconnections == {}


def test_live_file_without_loop_ends() -> None:
    assert Play(frames(3), finite=True, mode="live").run().states[-1] == (ENDED, Reason.EOF)


def test_looping_file_without_a_picture_does_not_spin() -> None:
    assert Play([], [], finite=True, mode="live", loop=True).run().states[-1] == (FAILED, Reason.CORRUPT)


def test_stream_whose_lease_went_elsewhere_fails_for_ever() -> None:
    play = Play(frames(5), frames(5))
    play.intake.offer = lambda frame, offer=play.intake.offer: (offer(frame), play.runner.fail_leased())[0]  # type: ignore[method-assign]
    play.run()
    assert play.states[-1] == (FAILED, Reason.LEASED)
    assert len(play.pts) == 1


def test_stop_before_the_start_is_still_told() -> None:
    play = Play(frames(5))
    play.stop.set()
    assert play.run().states == [(CONNECTING, None), (STOPPED, Reason.OPERATOR)]


def test_no_credit_means_the_run_is_ending() -> None:
    play = film(frames(5), credits=2)
    play.intake.wait_credit = lambda take=play.intake.wait_credit: take() or bool(play.stop.set())  # type: ignore[method-assign]
    play.run()
    assert play.states[-1] == (STOPPED, Reason.OPERATOR)
    assert play.intake.totals.published == 2
    assert play.intake.totals.abandoned == 1


def test_our_own_fault_leaves_the_thread_and_closes_the_connection() -> None:
    play = Play(frames(5))
    play.intake.offer = lambda frame: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    with pytest.raises(ZeroDivisionError):
        play.runner.run()
    assert play.source.connections[0].closed == 1


# ── time stamps ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_frame_without_a_time_stamp_fails_alone() -> None:
    play = Play([at(None), *frames(5)]).run()
    assert play.intake.totals.failed == {"no_timestamp": 1}
    assert [frame.seq for frame in play.intake.frames] == [1, 2, 3, 4, 5]


def test_time_stamps_that_begin_anew_make_an_epoch_without_a_reconnection() -> None:
    play = Play([*frames(30, start=90_000), *frames(5)]).run()
    assert (STREAMING, Reason.CORRUPT) in play.states
    assert [frame.epoch for frame in play.intake.frames] == [0] * 30 + [1] * 5
    assert play.pts[-5:] == [0, 40, 80, 120, 160]
    assert play.intake.totals.reconnections == {}


def test_frame_order_and_changes_keep_their_order() -> None:
    play = Play([*frames(30, start=90_000), *frames(5)]).run()
    kinds = ["state" if seen.change else seen.what for seen in play.intake.seen if seen.what in ("state", "offered")]
    jump = [seen.change.reason if seen.change else None for seen in play.intake.seen].index(Reason.CORRUPT)
    assert kinds.count("state") == len(play.states)
    assert sum(seen.what == "offered" for seen in play.intake.seen[:jump]) == 30


@given(
    st.lists(st.lists(st.one_of(st.none(), st.integers(0, 2**34)), max_size=30), min_size=1, max_size=4),
    st.sampled_from([None, 2.0, 10.0]),
    st.booleans(),
)
def test_within_an_epoch_media_time_and_capture_time_rise(
    connections: list[list[int | None]], fps: float | None, is_file: bool
) -> None:
    scripts = [[item for pts in script for item in (0.04, at(pts, seed=1))] for script in connections]
    play = film(scripts[0], fps=fps) if is_file else Play(*scripts, fps=fps)
    play.run()
    last: tuple[int, int, int] | None = None
    for frame in play.intake.frames:
        if last is not None and last[0] == frame.epoch:
            assert frame.pts > last[1]
            assert frame.wall_ns > last[2]
        assert last is None or frame.epoch >= last[0]
        last = (frame.epoch, frame.pts, frame.wall_ns)
    previous: State | None = None
    for change in play.intake.changes:
        assert change.previous is previous
        assert change.reason in MOVES[previous][change.state]
        previous = change.state
    assert previous in FINAL


# ── rate, clocks, frozen pictures, troubles ──────────────────────────────────────────────────────────────────────────


def test_fps_limits_what_is_handed_on_and_accounts_for_the_rest() -> None:
    play = film(frames(250), fps=2).run()
    totals = play.intake.totals
    assert (totals.decoded, totals.published, totals.rate_limited) == (250, 20, 230)


def test_file_takes_a_credit_for_what_it_hands_on_only() -> None:
    play = film(frames(250), fps=2, credits=20).run()
    assert play.states[-1] == (ENDED, Reason.EOF)
    assert play.intake.totals.published == 20


@pytest.mark.parametrize(
    ("start", "created", "base"),
    [
        (datetime.datetime(2026, 11, 20, 18, tzinfo=datetime.UTC), 5, 1_795_197_600_000_000_000),
        (datetime.datetime(2026, 11, 20, 18), 5, 1_795_197_600_000_000_000),  # noqa: DTZ001 - the case
        (None, 1_600_000_000_000_000_000, 1_600_000_000_000_000_000),
        (None, None, 0),
    ],
)
def test_file_times_begin_at_its_start_or_its_creation_or_1970(
    start: datetime.datetime | None, created: int | None, base: int
) -> None:
    play = film(frames(3, start=7000), start=start, created_wall_ns=created).run()
    frames_seen = play.intake.frames
    assert [frame.wall_ns - base for frame in frames_seen] == [0, 40_000_000, 80_000_000]
    assert {(frame.clock, frame.clock_error_ms) for frame in frames_seen} == {(ClockKind.FILE, 0.0)}
    assert [change.wall_ns - base for change in play.intake.changes] == [0, 0, 80_000_000]


def test_nothing_of_a_file_depends_on_when_it_is_read() -> None:
    def story(clock_ahead_s: float) -> list[object]:
        play = film([*frames(50), Trouble(kind="damaged"), *frames(50, start=1)], fps=7)
        play.clock.advance(clock_ahead_s)
        play.run()
        told = [(f.epoch, f.seq, f.pts, f.wall_ns, f.clock, f.clock_error_ms) for f in play.intake.frames]
        return [told, play.intake.changes]

    assert story(0.0) == story(12345.6)


def test_camera_clock_that_is_off_is_warned_of_once_and_shown(caplog: pytest.LogCaptureFixture) -> None:
    ahead = FakeClock().wall_ns() + 3_600_000_000_000
    items = [item for index in range(20) for item in (0.04, at(index * 40, rtcp_wall_ns=ahead + index * 40_000_000))]
    play = Play(items, items)
    notes: list[str] = []
    play.intake.offer = lambda frame, offer=play.intake.offer: (  # type: ignore[method-assign]
        offer(frame),
        notes.append(play.runner.status().note),
    )[0]
    play.run()
    assert {frame.clock for frame in play.intake.frames} == {ClockKind.ARRIVAL}
    assert set(notes[:20]) == {"the camera's clock is 3600.0 s ahead"}
    assert all(note.startswith("the camera's clock is ") for note in notes)
    assert sum("the camera's clock is" in record.getMessage() for record in caplog.records) == 1


def test_frozen_picture_is_told_and_told_again_when_it_moves() -> None:
    play = Play([*frames(60, still=True), *frames(10, start=2400)], frozen_s=2.0).run()
    frozen = [change for change in play.intake.changes if change.reason is Reason.FROZEN]
    assert [change.frozen for change in frozen] == [True, False]
    assert {change.state for change in frozen} == {STREAMING}
    assert play.intake.totals.published == 70
    assert not play.runner.status().frozen


def test_troubles_are_counted_and_logged_with_restraint(caplog: pytest.LogCaptureFixture) -> None:
    play = Play(
        [*frames(2), *[Trouble(kind="damaged", count=2, detail="bad data")] * 50, Trouble(kind="lost", count=7)]
    )
    play.run()
    assert (play.intake.totals.packets_damaged, play.intake.totals.packets_lost) == (100, 7)
    assert sum("lost or damaged" in record.getMessage() for record in caplog.records) == 1


def test_corrupt_picture_is_counted_and_used() -> None:
    play = Play([at(0), at(40, corrupt=True), at(80)]).run()
    assert (play.intake.totals.packets_damaged, play.intake.totals.published) == (1, 3)


def test_change_of_resolution_goes_on_in_the_same_epoch(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    play = Play([at(0), at(40), at(80, size_wh=(64, 32)), at(120, size_wh=(64, 32))]).run()
    assert [frame.picture.size_wh for frame in play.intake.frames] == [(32, 16), (32, 16), (64, 32), (64, 32)]
    assert {frame.epoch for frame in play.intake.frames} == {0}
    assert play.runner.status().size_wh == (64, 32)
    assert sum("its picture is 64x32 now, it was 32x16" in record.getMessage() for record in caplog.records) == 1


# ── what it shows ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_status_is_that_of_the_moment() -> None:
    play = Play(frames(100), fps=5)
    assert play.runner.status().state is CONNECTING
    shown = []
    play.intake.offer = lambda frame, offer=play.intake.offer: (offer(frame), shown.append(play.runner.status()))[0]  # type: ignore[method-assign]
    play.run()
    status = shown[-1]
    assert (status.state, status.epoch, status.codec, status.size_wh) == (STREAMING, 0, "h264", (32, 16))
    assert status.fps_decoded == pytest.approx(25, rel=0.1)
    assert status.fps_analysed == pytest.approx(5, rel=0.2)
    assert (status.clock, status.note, status.attempts) == (ClockKind.ARRIVAL, "", 0)
    assert play.runner.status().state is STOPPED


def test_each_change_is_logged_once_with_its_stream_and_without_the_password(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    play = Play(frames(3), broken(Reason.AUTH), frames(3)).run()
    assert len(caplog.records) == len(play.states)
    assert {getattr(record, "stream", None) for record in caplog.records} == {"gate"}
    texts = [record.getMessage() for record in caplog.records] + [str(change) for change in play.intake.changes]
    assert not any("hunter2" in text for text in [*texts, str(play.runner.status())])
    levels = {record.getMessage().split("): ")[1].split(" ")[0]: record.levelno for record in caplog.records}
    assert levels["waiting"] == logging.WARNING
    assert levels["streaming"] == logging.INFO


def test_unchecked_certificate_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    from stages.options import TlsOptions

    Play(frames(1), url=SecretUrl("rtsps://10.0.0.7/a"), tls=TlsOptions(verify=False)).run()
    assert "its certificate is not checked" in caplog.text
