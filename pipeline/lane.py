"""A stream's way from the engine to the sinks: puts frames back into order, tracks, builds messages, hands them over.

The engine gives results back in the order of completion. A lane remembers the order in which its stream's frames and
changes of state were offered and lets them out in that order: a frame when its detections are there, a change of state
when all frames before it are out. A frame that was superseded or failed leaves the order and releases its successors.
Whoever makes the first in the order ready lets it out, under the lane's lock; nothing there blocks.

In:  `enter` (source thread), `superseded`, `failed` (dispatch), `detected` (finish), `state` (source thread).
Out: OutgoingFrame and OutgoingEvent, to every outlet.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from engines.picture import Placement
from engines.types import Detections
from pipeline.credits import Credits
from pipeline.latency import Latencies, Stamps
from pipeline.ledger import FailedReason, Ledger
from pipeline.outgoing import Outgoing, OutgoingEvent, OutgoingFrame, Outlet
from stages.source.state import FINAL
from stages.types import Clock, EndedTrack, Frame, Reason, State, StateChange, StreamId, Track, Tracker, TrackUpdate
from vedette.messages import (
    Box,
    EventMessage,
    FrameMessage,
    RunStarted,
    StreamState,
    TrackedObject,
    TrackEnded,
    TrackStarted,
)

logger = logging.getLogger(__name__)

_ENCODER = msgspec.json.Encoder()
_RATE_WINDOW_NS = 5_000_000_000


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """One frame on its way through the machine."""

    frame: Frame
    lane: Lane
    stamps: Stamps
    placement: Placement | None = None


@dataclass(slots=True, eq=False)
class _Place:
    """A place in the order: a frame that waits for its detections, or a change of state and when it was told."""

    job: Job | None = None
    change: StateChange | None = None
    told_ns: int = 0
    detections: Detections | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneReport:
    """What a lane knows of its stream for `/status`."""

    size_wh: tuple[int, int] | None
    objects: int
    last_wall_ns: int | None
    fps_published: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Last:
    """What is remembered of the last published frame: not its picture, which is the decoder's memory."""

    epoch: int
    pts: int
    mono_ns: int
    wall_ns: int
    size_wh: tuple[int, int]


class _Settlement:
    """Counts the sinks that are done with a frame; the last one closes the frame's time line.

    That ends with the last delivery: what was dropped went nowhere, and a frame that no sink delivered has none.
    """

    __slots__ = ("_clock", "_left", "_lock", "_on_last", "_stamps")

    def __init__(self, sinks: Sequence[str], stamps: Stamps, clock: Clock, on_last: Callable[[Stamps], None]) -> None:
        self._lock = threading.Lock()
        self._left = set(sinks)
        self._stamps = stamps
        self._clock = clock
        self._on_last = on_last

    def __call__(self, sink: str, delivered: bool) -> None:
        with self._lock:
            if delivered:
                self._stamps.settled_ns = self._clock.mono_ns()
            try:
                self._left.remove(sink)
            except KeyError:
                msg = f"sink {sink} settled a frame that it had settled before, or was never given"
                raise RuntimeError(msg) from None
            last = not self._left
        if last:
            self._on_last(self._stamps)


class Lane:
    """One stream's order, tracker and counters."""

    def __init__(
        self,
        stream: StreamId,
        *,
        run: str,
        model: str,
        version: str,
        class_names: Sequence[str],
        tracker: Tracker,
        memory_s: float,
        credits: Credits | None,
        outlets: Sequence[Outlet],
        ledger: Ledger,
        clock: Clock,
        on_stamps: Callable[[StreamId, Stamps], None] | None = None,
    ) -> None:
        self.stream = stream
        self.run = run
        self.latencies = Latencies()
        self._model = model
        self._version = version
        self._class_names = tuple(class_names)
        self._tracker = tracker
        self._memory_s = memory_s
        self._credits = credits
        self._outlets = tuple(outlets)
        self._outlet_names = tuple(outlet.name for outlet in outlets)
        self._ledger = ledger
        self._clock = clock
        self._on_stamps = on_stamps
        self._lock = threading.Lock()
        self._order: deque[_Place] = deque()
        self._places: dict[int, _Place] = {}
        self._published = 0
        self._last_change: StateChange | None = None
        self._last: _Last | None = None
        self._objects = 0
        self._rate: deque[int] = deque(maxlen=1024)
        self._ready: list[Outgoing] = []  # on its way out, under the lock

    # ── in ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def enter(self, job: Job) -> None:
        """A frame takes its place in the order; before it is offered to the dispatcher."""
        with self._lock:
            place = _Place(job=job)
            self._order.append(place)
            self._places[job.frame.seq] = place

    def superseded(self, job: Job) -> None:
        self._leave(job, lambda: self._ledger.superseded(self.stream, job.frame.seq))

    def failed(self, job: Job, reason: FailedReason) -> None:
        self._leave(job, lambda: self._ledger.failed(self.stream, job.frame.seq, reason))

    def abandoned(self, job: Job) -> None:
        self._leave(job, lambda: self._ledger.abandoned(self.stream, job.frame.seq))

    def detected(self, found: Sequence[tuple[Job, Detections]]) -> None:
        """Some frames' detections are there; lets out whatever that makes ready."""
        with self._lock:
            for job, detections in found:
                place = self._places.get(job.frame.seq)
                if place is not None:  # else abandoned when the drain's time was up, and finished after all
                    place.detections = detections
            self._advance()

    def state(self, change: StateChange) -> None:
        """A change of state takes its place in the order."""
        with self._lock:
            self._order.append(_Place(change=change, told_ns=self._clock.mono_ns()))
            self._advance()

    def close(self, *, time_is_up: bool = True) -> None:
        """The drain is over: what waited for an unfinished frame comes out.

        If its time was up the unfinished are abandoned. If not, whoever should have finished them has ended and forgot
        them: they stay in flight, so that the run doesn't balance.
        If the source is still blocked somewhere and never said that it ended, that is said here: subscribers would
        take the stream, and its tracks, for alive.
        """
        with self._lock:
            unfinished = [place.job for place in self._order if place.job is not None and place.detections is None]
        for job in unfinished:
            if time_is_up:
                self.abandoned(job)
            else:
                extra = {"stream": self.stream, "frame_seq": job.frame.seq}
                logger.error("stream %s: frame %d was forgotten on its way", self.stream, job.frame.seq, extra=extra)
                self._leave(job, lambda: None)
        with self._lock:
            said = self._last_change
            if said is not None and said.state not in FINAL:
                self._publish_state(self._left_behind(said), self._clock.mono_ns())
                self._hand_over()

    def report(self) -> LaneReport:
        with self._lock:
            now_ns = self._clock.mono_ns()
            # A stream that is analysed every ten seconds flows, too.
            step_ns = self._rate[-1] - self._rate[-2] if len(self._rate) > 1 else 0
            window_ns = max(_RATE_WINDOW_NS, 3 * step_ns)
            recent = [at_ns for at_ns in self._rate if now_ns - at_ns <= window_ns]
            span_ns = now_ns - recent[0] if len(recent) > 1 else 0
            last = self._last
            return LaneReport(
                size_wh=last.size_wh if last else None,
                objects=self._objects,
                last_wall_ns=last.wall_ns if last else None,
                fps_published=(len(recent) - 1) * 1e9 / span_ns if span_ns else 0.0,
            )

    # ── order ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _leave(self, job: Job, account: Callable[[], None]) -> None:
        with self._lock:
            place = self._places.pop(job.frame.seq, None)
            if place is None:  # abandoned when the drain's time was up; it has been accounted for
                return
            self._order.remove(place)
            account()
            if self._credits is not None:
                self._credits.give_back()
            self._advance()

    def _advance(self) -> None:
        while self._order:
            place = self._order[0]
            if place.change is not None:
                self._order.popleft()
                self._publish_state(place.change, place.told_ns)
            elif place.job is not None and place.detections is not None:
                self._order.popleft()
                del self._places[place.job.frame.seq]
                self._publish_frame(place.job, place.detections)
            else:
                break
        self._hand_over()

    # ── out ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _publish_frame(self, job: Job, detections: Detections) -> None:
        frame = job.frame
        size_wh = frame.picture.size_wh
        elapsed_s, gap = self._elapsed_s(frame)
        if gap:
            self._publish_ended(self._tracker.end("gap"), frame.wall_ns)
        update = self._tracker.update(detections, elapsed_s, size_wh)
        self._published += 1
        message = self._frame_message(frame, update, size_wh)
        self._last = _Last(
            epoch=frame.epoch, pts=frame.pts, mono_ns=frame.mono_ns, wall_ns=frame.wall_ns, size_wh=size_wh
        )
        self._objects = len(message.objects)
        self._note_rate(self._clock.mono_ns())
        self._ledger.published(self.stream, frame.seq)
        stamps = job.stamps
        stamps.handed_ns = self._clock.mono_ns()
        # What the sinks keep must not hold the job: its picture is the decoder's memory, and a sink may be slow.
        self._ready.append(
            OutgoingFrame(
                stream=self.stream,
                message=message,
                encoded=_ENCODER.encode(message),
                lossless=self._credits is not None,
                settled=_Settlement(self._outlet_names, stamps, self._clock, self._settled),
            )
        )
        for track in update.started:
            self._publish_event(
                TrackStarted(
                    stream=self.stream,
                    run=self.run,
                    wall_ns=frame.wall_ns,
                    track=track.id,
                    class_=self._class_names[track.class_id],
                    box=_box(track.xyxy_px, size_wh),
                    score=round(float(track.score), 4),
                )
            )
        self._publish_ended(update.ended, frame.wall_ns)

    def _note_rate(self, now_ns: int) -> None:
        self._rate.append(now_ns)
        while len(self._rate) > 2 and now_ns - self._rate[0] > _RATE_WINDOW_NS:
            self._rate.popleft()

    def _elapsed_s(self, frame: Frame) -> tuple[float, bool]:
        """Media time since the last frame, and whether that is too long for tracks to go on.

        Within an epoch that is what the time stamps say; across epochs see `_silence_s`.
        """
        last = self._last
        if last is None:
            return 0.0, False
        if last.epoch == frame.epoch:
            elapsed_s = float((frame.pts - last.pts) * frame.time_base)
        else:
            elapsed_s = self._silence_s(last, frame.wall_ns, frame.mono_ns)
        elapsed_s = max(0.0, elapsed_s)
        gap = last.epoch != frame.epoch and elapsed_s > self._memory_s
        return (0.0 if gap else elapsed_s), gap

    def _silence_s(self, last: _Last, wall_ns: int, mono_ns: int) -> float:
        """How long after the last frame something else is: by a file's own time, by the arrival of a camera's frames.

        A camera's capture times are its own clock's, if it sends any, and seconds away from the host's: one of each
        kind must not be subtracted, and which kind the first frames of an epoch have is not known.
        """
        if self._credits is not None:
            return (wall_ns - last.wall_ns) / 1e9
        return (mono_ns - last.mono_ns) / 1e9

    def _frame_message(self, frame: Frame, update: TrackUpdate, size_wh: tuple[int, int]) -> FrameMessage:
        objects = (self._object(track, size_wh) for track in update.tracks)
        return FrameMessage(
            stream=self.stream,
            run=self.run,
            epoch=frame.epoch,
            seq=frame.seq,
            n=self._published,
            pts=frame.pts,
            time_base=(frame.time_base.numerator, frame.time_base.denominator),
            wall_ns=frame.wall_ns,
            clock=frame.clock.value,
            clock_error_ms=round(frame.clock_error_ms, 3),
            size=size_wh,
            model=self._model,
            objects=tuple(thing for thing in objects if thing is not None),
        )

    def _object(self, track: Track, size_wh: tuple[int, int]) -> TrackedObject | None:
        box = _box(track.xyxy_px, size_wh)
        if box[2] <= box[0] or box[3] <= box[1]:  # coasted out of the picture: followed, but nothing to show
            return None
        return TrackedObject(
            track=track.id,
            class_=self._class_names[track.class_id],
            score=round(float(track.score), 4),
            box=box,
            state=track.state,
            age_ms=track.age_ms,
        )

    def _publish_state(self, change: StateChange, told_ns: int) -> None:
        if self._last_change is None:
            self._publish_event(
                RunStarted(
                    stream=self.stream, run=self.run, wall_ns=change.wall_ns, model=self._model, version=self._version
                )
            )
        self._last_change = change
        if change.state in FINAL:
            self._publish_ended(self._tracker.end("stream_ended"), change.wall_ns)
        elif self._last is not None and self._silence_s(self._last, change.wall_ns, told_ns) > self._memory_s:
            self._publish_ended(self._tracker.end("gap"), change.wall_ns)
        self._publish_event(
            StreamState(
                stream=self.stream,
                run=self.run,
                wall_ns=change.wall_ns,
                state=change.state.value,
                previous=change.previous.value if change.previous else None,
                reason=change.reason.value if change.reason else None,
                epoch=change.epoch,
                frozen=change.frozen,
                detail=change.detail,
            )
        )

    def _left_behind(self, said: StateChange) -> StateChange:
        media_ns = max(said.wall_ns, self._last.wall_ns if self._last else 0)
        return StateChange(
            stream=self.stream,
            run=self.run,
            epoch=said.epoch,
            previous=said.state,
            state=State.STOPPED,
            reason=Reason.OPERATOR,
            frozen=False,
            detail="its source was still blocked when the process ended",
            wall_ns=self._clock.wall_ns() if self._credits is None else media_ns,
        )

    def _publish_ended(self, ended: Sequence[EndedTrack], wall_ns: int) -> None:
        for track in ended:
            self._publish_event(
                TrackEnded(
                    stream=self.stream,
                    run=self.run,
                    wall_ns=wall_ns,
                    track=track.id,
                    class_=self._class_names[track.class_id],
                    first_box=_rounded(track.first_xyxy_px),
                    last_box=_rounded(track.last_xyxy_px),
                    seen_s=round(track.seen_s, 3),
                    reason=track.reason,
                )
            )

    def _publish_event(self, message: EventMessage) -> None:
        self._ledger.event()
        self._ready.append(OutgoingEvent(stream=self.stream, message=message))

    def _hand_over(self) -> None:
        """Give the sinks what became ready, all at once."""
        if self._ready:
            for outlet in self._outlets:
                outlet.accept(self._ready)
            self._ready = []

    def _settled(self, stamps: Stamps) -> None:
        if self._credits is not None:
            self._credits.give_back()
        if not stamps.settled_ns:
            return
        self.latencies.record(stamps)
        if self._on_stamps is not None:
            self._on_stamps(self.stream, stamps)


def _rounded(xyxy_px: tuple[float, float, float, float]) -> Box:
    x1, y1, x2, y2 = xyxy_px
    return (round(float(x1), 2), round(float(y1), 2), round(float(x2), 2), round(float(y2), 2))


def _box(xyxy_px: tuple[float, float, float, float], size_wh: tuple[int, int]) -> Box:
    """The box clipped to the picture, two decimals."""
    width, height = size_wh
    x1, y1, x2, y2 = _rounded(xyxy_px)
    return (
        min(max(0.0, x1), float(width)),
        min(max(0.0, y1), float(height)),
        min(max(0.0, x2), float(width)),
        min(max(0.0, y2), float(height)),
    )
