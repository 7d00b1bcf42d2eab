"""The body of a stream's thread, `source:{id}`: connect, read, limit, hand on; wait and connect again.

In:  a `Connection` (stages.source), which yields pictures and troubles.
Out: frames and changes of state, to the stream's `Intake`, from this one thread.
Whatever the outside does ends in a state of `stages.source.state`; our own faults leave `run` as exceptions.
Blocks in the network (at most the stream's own time-outs), in `Clock.wait`, and, for a file, in `Intake.wait_credit`.
"""

from __future__ import annotations

import datetime
import logging
import random
import threading
from collections.abc import Callable, Generator

from pipeline.config_checks import CAMERA_SCHEMES
from pipeline.intake import Intake
from pipeline.logs import CHANGE
from pipeline.repeats import Repeats
from pipeline.stream_status import RateMeter, StreamStatus
from stages.options import StreamOptions
from stages.source import Connection, ConnectionInfo, Decoded, Trouble, open_connection
from stages.source.backoff import BackOff
from stages.source.capture_time import CaptureTime, FileCapture, LiveCapture
from stages.source.frozen import FrozenPicture
from stages.source.rate import RateLimit
from stages.source.state import FINAL, check_move
from stages.source.time_stamps import TimeStamps, Verdict, media_time_ns
from stages.types import Clock, Frame, Reason, State, StateChange, StreamId
from vedette.errors import SourceError

logger = logging.getLogger(__name__)

Opener = Callable[[StreamOptions, Clock, threading.Event], Connection]

_LEVELS = {State.STALLED: logging.WARNING, State.WAITING: logging.WARNING, State.FAILED: logging.ERROR}
_LEAST_PASS_NS = 1_000_000_000
"""How long a file that loops lasts at least."""
_UNIX_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class StreamRunner:
    """Runs one stream until it ends, fails for ever or is stopped. `run` in its own thread; the rest from any."""

    def __init__(
        self,
        options: StreamOptions,
        run: str,
        intake: Intake,
        clock: Clock,
        stop: threading.Event,
        *,
        opener: Opener = open_connection,
        rng: random.Random | None = None,
        phase: float = 0.0,
    ) -> None:
        """`phase` in [0, 1): by how much of a period a camera's analysed frames come later than another's."""
        self._options = options
        self._id = StreamId(options.id)
        self._run = run
        self._intake = intake
        self._clock = clock
        self._stop = stop
        self._open = opener
        self._backoff = BackOff(rng or random.Random())
        self._lossless = options.is_file
        self._leased = threading.Event()

        self._state: State | None = None
        self._seq = 0
        self._epoch = 0
        self._lost_for: Reason | None = None  # why the last connection that streamed was lost
        self._streamed = False
        self._rate = RateLimit(options.fps, live=not self._lossless, phase=0.0 if self._lossless else phase)
        self._file = FileCapture(_start_ns(options) or 0)
        self._camera = LiveCapture(options.clock_tolerance_s)
        self._stamps = TimeStamps(live=not self._lossless)
        self._still = FrozenPicture(options.frozen_s)
        self._clock_off_told = False
        self._troubles = Repeats()

        self._lock = threading.Lock()  # what `status` reads
        self._reason: Reason | None = None
        self._since_ns = clock.mono_ns()
        self._detail = ""
        self._info: ConnectionInfo | None = None
        self._size_wh: tuple[int, int] | None = None
        self._captured: CaptureTime | None = None
        self._clock_off_s: float | None = None
        self._decoded = RateMeter()
        self._analysed = RateMeter()

    # ── from any thread ──────────────────────────────────────────────────────────────────────────────────────────

    def status(self) -> StreamStatus:
        now_ns = self._clock.mono_ns()
        with self._lock:
            return StreamStatus(
                state=self._state or State.CONNECTING,
                reason=self._reason,
                since_mono_ns=self._since_ns,
                epoch=self._epoch,
                url=str(self._options.url),
                size_wh=self._size_wh,
                codec=self._info.codec if self._info else None,
                decoder=self._info.decoder if self._info else None,
                fps_decoded=self._decoded.per_second(now_ns),
                fps_analysed=self._analysed.per_second(now_ns),
                frozen=self._still.frozen,
                clock=self._captured.clock if self._captured else None,
                clock_error_ms=self._captured.error_ms if self._captured else None,
                note=self._note(),
                attempts=self._backoff.attempts,
            )

    def fail_leased(self) -> None:
        """Another process writes this stream: it fails for ever at its next picture, or when its wait is over."""
        self._leased.set()

    # ── the thread ───────────────────────────────────────────────────────────────────────────────────────────────

    def run(self) -> None:
        """Work until the stream is over; its last state says how. Raises only what is our own fault."""
        if self._options.url.scheme in ("rtsps", "https") and not self._options.tls.verify:
            self._log(logging.WARNING, "its certificate is not checked (tls.verify: false)")
        while self._state not in FINAL:
            if self._over():
                break
            self._attempt()

    def _attempt(self) -> None:
        """Connect once, stream until that ends, and move to what follows from it."""
        if not self._lossless:
            self._connecting()
        try:
            connection = self._open(self._options, self._clock, self._stop)
        except SourceError as error:
            self._connecting()
            self._broken(error)
            return
        if self._lossless and self._options.start is None and self._state is None:
            self._file = FileCapture(connection.info.created_wall_ns or 0)
        self._connecting()
        try:
            self._stream(connection)
        except SourceError as error:
            self._broken(error)
        finally:
            connection.close()

    def _connecting(self) -> None:
        # A file that loops stays in `streaming`: its end is no interruption. And a file in mode `file` is opened first,
        # because its own creation time is the time of its first change of state.
        if self._state in (None, State.WAITING):
            self._move(State.CONNECTING)

    def _stream(self, connection: Connection) -> None:
        self._stamps = TimeStamps(live=not self._lossless)
        self._still = FrozenPicture(self._options.frozen_s)
        self._rate.restart()
        started_ns = None
        pictures = connection.pictures()
        try:
            for item in pictures:
                if self._over():
                    return
                if isinstance(item, Trouble):
                    self._trouble(item)
                    continue
                if started_ns is None:
                    started_ns = item.mono_ns
                    self._begin(connection.info)
                if not self._picture(item):
                    self._over()
                    return
        finally:
            if isinstance(pictures, Generator):
                pictures.close()  # before the connection that it reads from
            if started_ns is not None:
                self._backoff.succeeded((self._clock.mono_ns() - started_ns) / 1e9)
        if self._over():
            return
        if not connection.info.finite:
            msg = "the stream ended"
            raise SourceError(msg, reason=Reason.EOF.value)
        if started_ns is None:
            msg = "no picture in it could be decoded"
            raise SourceError(msg, reason=Reason.CORRUPT.value, fatal=True)
        if self._lossless or not self._options.loop:
            self._move(State.ENDED, Reason.EOF)
            return
        # Each beginning is an event: a still picture would make hundreds a second.
        left_ns = _LEAST_PASS_NS - (self._clock.mono_ns() - started_ns)
        if left_ns > 0:
            self._clock.wait(self._stop, left_ns / 1e9)

    def _begin(self, info: ConnectionInfo) -> None:
        """The first picture of a connection: a new epoch, unless it is the first of all."""
        with self._lock:
            self._info = info
        if self._streamed:
            self._new_epoch()
        self._streamed = True
        if self._state is State.STREAMING:
            self._move(State.STREAMING, Reason.EOF, "the file begins anew")
            return
        if self._lost_for is not None:
            self._intake.reconnected(self._lost_for)
            self._lost_for = None
        self._move(State.STREAMING)

    def _new_epoch(self) -> None:
        self._epoch += 1
        self._camera = LiveCapture(self._options.clock_tolerance_s)
        self._file.begin_anew()
        self._rate.restart()

    def _picture(self, item: Decoded) -> bool:
        """Take one picture; False when the stream is to end."""
        seq = self._seq
        self._seq += 1
        self._intake.decoded(seq)
        if item.corrupt:
            self._intake.packets_damaged(1)
        verdict = self._stamps.see(item.pts, item.time_base, item.mono_ns)
        self._saw(item)
        if verdict is Verdict.UNUSABLE or item.pts is None:
            self._intake.failed(seq, "no_timestamp")
            return True
        media_ns = media_time_ns(item.pts, item.time_base)
        if verdict is Verdict.JUMP:
            self._new_epoch()
            self._still = FrozenPicture(self._options.frozen_s)
            self._move(State.STREAMING, Reason.CORRUPT, "the time stamps begin anew")
        captured = self._capture(item, media_ns)
        if not self._lossless and self._still.see(item.picture, media_ns):
            self._froze()
        if not self._rate.keep(media_ns, item.mono_ns):
            self._intake.rate_limited(seq)
            return True
        if self._lossless and not self._intake.wait_credit():
            self._intake.abandoned(seq)
            return False
        with self._lock:
            self._analysed.count(self._clock.mono_ns())
        self._intake.offer(
            Frame(
                stream=self._id,
                run=self._run,
                epoch=self._epoch,
                seq=seq,
                pts=item.pts,
                time_base=item.time_base,
                mono_ns=item.mono_ns,
                decoded_ns=item.decoded_ns,
                wall_ns=captured.wall_ns,
                clock=captured.clock,
                clock_error_ms=captured.error_ms,
                picture=item.picture,
            )
        )
        return True

    # ── what is noticed ──────────────────────────────────────────────────────────────────────────────────────────

    def _saw(self, item: Decoded) -> None:
        size_wh = item.picture.size_wh
        with self._lock:
            before, self._size_wh = self._size_wh, size_wh
            self._decoded.count(item.decoded_ns)
        if before is not None and before != size_wh:
            self._log(logging.INFO, f"its picture is {size_wh[0]}x{size_wh[1]} now, it was {before[0]}x{before[1]}")

    def _capture(self, item: Decoded, media_ns: int) -> CaptureTime:
        if self._lossless:
            captured = self._file.see(media_ns)
        else:
            captured = self._camera.see(
                media_ns=media_ns,
                mono_ns=item.mono_ns,
                wall_of_mono_ns=self._clock.wall_ns() - self._clock.mono_ns(),
                rtcp_wall_ns=item.rtcp_wall_ns,
            )
        off_s = self._camera.clock_off_s
        with self._lock:
            self._captured = captured
            self._clock_off_s = off_s
        if off_s is not None and not self._clock_off_told:
            self._clock_off_told = True
            self._log(logging.WARNING, f"{_clock_note(off_s)}; arrival times are used instead")
        return captured

    def _froze(self) -> None:
        if self._still.frozen:
            self._move(State.STREAMING, Reason.FROZEN, f"the picture has not changed for {self._options.frozen_s:g} s")
        else:
            self._move(State.STREAMING, Reason.FROZEN, "the picture moves again")

    def _trouble(self, trouble: Trouble) -> None:
        if trouble.kind == "lost":
            self._intake.packets_lost(trouble.count)
        else:
            self._intake.packets_damaged(trouble.count)
        count = self._troubles.due(self._clock.mono_ns(), trouble.count)
        if count:
            self._log(logging.WARNING, f"{count} packets lost or damaged; {trouble.kind}: {trouble.detail}")

    # ── changes of state ─────────────────────────────────────────────────────────────────────────────────────────

    def _over(self) -> bool:
        """Whether the stream has ended, moving it to its last state if it was told to end."""
        if self._state in FINAL:
            return True
        if self._state is None and (self._stop.is_set() or self._leased.is_set()):
            self._move(State.CONNECTING)
        if self._leased.is_set():
            self._move(State.FAILED, Reason.LEASED, "another process writes this stream")
            return True
        if self._stop.is_set():
            self._move(State.STOPPED, Reason.OPERATOR)
            return True
        return False

    def _broken(self, error: SourceError) -> None:
        """The connection failed: for ever, or until the next attempt."""
        if self._over():
            return
        reason = Reason(error.reason)
        # Of a camera that has streamed nothing is known to be for ever: one damaged byte in what it says of itself
        # names a codec that nobody has.
        if error.fatal and not (self._streamed and self._options.url.scheme in CAMERA_SCHEMES):
            self._move(State.FAILED, reason, error.message if error.hint is None else f"{error.message} ({error.hint})")
            return
        if self._state is State.STREAMING:
            self._lost_for = reason
            if reason is Reason.STALL:
                self._move(State.STALLED, reason, error.message)
        delay_s = self._backoff.delay_s(reason)
        first = self._backoff.attempts == 1
        said = f"{error.message} ({error.hint})" if error.hint and first else error.message
        detail = f"{said}, waiting {delay_s:.1f} s before attempt {self._backoff.attempts + 1}"
        self._move(State.WAITING, reason, detail)
        self._clock.wait(self._stop, delay_s)

    def _move(self, state: State, reason: Reason | None = None, detail: str = "") -> None:
        previous = self._state
        check_move(previous, state, reason)
        if state is not State.STREAMING:
            self._still = FrozenPicture(self._options.frozen_s)
        with self._lock:
            if state is not previous:
                self._since_ns = self._clock.mono_ns()
            self._state, self._reason, self._detail = state, reason, detail
        change = StateChange(
            stream=self._id,
            run=self._run,
            epoch=self._epoch,
            previous=previous,
            state=state,
            reason=reason,
            frozen=self._still.frozen,
            detail=detail,
            wall_ns=self._file.last_wall_ns if self._lossless else self._clock.wall_ns(),
        )
        why = f" ({reason.value})" if reason else ""
        self._log(_LEVELS.get(state, logging.INFO), f"{state.value}{why}{': ' if detail else ''}{detail}", change=True)
        self._intake.state(change)

    def _note(self) -> str:
        if self._state is not State.STREAMING:
            return self._detail
        if self._still.frozen:
            return f"the picture has not changed for {self._options.frozen_s:g} s"
        if self._clock_off_s is not None:
            return _clock_note(self._clock_off_s)
        return ""

    def _log(self, level: int, text: str, *, change: bool = False) -> None:
        extra = {"stream": self._id, **(CHANGE if change else {})}
        logger.log(level, "stream %s (%s): %s", self._id, self._options.url, text, extra=extra)


def _start_ns(options: StreamOptions) -> int | None:
    """The configured start of a file in nanoseconds since 1970; without a zone it is UTC."""
    start = options.start
    if start is None:
        return None
    if start.tzinfo is None:
        start = start.replace(tzinfo=datetime.UTC)
    return (start - _UNIX_EPOCH) // datetime.timedelta(microseconds=1) * 1000


def _clock_note(off_s: float) -> str:
    size = f"{abs(off_s):.1f} s" if abs(off_s) < 2 * 86400 else f"{abs(off_s) / 86400:.0f} days"
    return f"the camera's clock is {size} {'ahead' if off_s > 0 else 'behind'}"
