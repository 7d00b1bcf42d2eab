"""The spool: every event is written and fsync'd here before Redis sees it.

In:  encoded events, each with the number `next_n` that it was encoded with; what Redis has answered; times.
Out: records in order, again and again until they are confirmed, and for `retain_ns` after that if the server changes.

The promise: a record that `commit` has counted comes out of `read`, of this process or of a later one, unless the disk
loses what it had fsync'd; then that is said. Numbers have no holes but for such losses and are never given twice.
Neither threads nor clocks: one caller, which hands in monotonic times in nanoseconds.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pipeline.spool.record import encode, encoded_bytes, next_record
from pipeline.spool.recovery import (
    CURSOR,
    Cursor,
    Recovery,
    Run,
    Segment,
    read_cursor,
    recover,
    segment_name,
)

_ID = "id"
_SEGMENT_BYTES = 1 << 20
_READ_BYTES = 1 << 18
_RETRY_NS = 1_000_000_000


class Disk(Protocol):
    """What the spool needs of a file system; `Directory` is the real one. Every error is an OSError."""

    def names(self) -> list[str]: ...
    def size(self, name: str) -> int: ...
    def create(self, name: str) -> None: ...
    def read(self, name: str, offset: int, size: int) -> bytes: ...
    def write(self, name: str, offset: int, data: bytes) -> None: ...
    def truncate(self, name: str, size: int) -> None: ...
    def sync(self, name: str) -> None: ...
    def remove(self, name: str) -> None: ...
    def replace(self, name: str, data: bytes, *, durable: bool) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class SpoolRecord:
    """A promised event. `serial` counts the records of this process, recovered ones first, without a hole in it
    unless the disk loses something while we look.
    """

    serial: int
    producer: str
    n: int
    payload: bytes


@dataclass(slots=True)
class _Confirmed:
    """Records below `serial` were confirmed between the two times."""

    since_ns: int
    until_ns: int
    serial: int


class Spool:
    """See the module. `id` stays the same as long as the directory does; `producer` is the same but after damage."""

    def __init__(self, disk: Disk, *, max_bytes: int, retain_ns: int, now_ns: int, new_id: Callable[[], str]) -> None:
        """Recover what is there. Raises OSError, or SpoolError for files of another version.

        `new_id` makes ids that were never used before (lower-case letters and digits, at most 32).
        """
        self._disk = disk
        self._max_bytes = max_bytes
        self._retain_ns = retain_ns
        self._segment_bytes = max(1, min(_SEGMENT_BYTES, max_bytes // 8))
        self.id, is_new = self._read_id(new_id)
        cursor = read_cursor(disk)
        found = recover(disk, cursor)
        self._segments = deque(found.segments)
        self._bytes = sum(segment.size for segment in found.segments)
        self._active: Segment | None = None
        self._sequence = found.segments[-1].sequence if found.segments else 0
        if found.segments and found.end_is_sure:
            self.producer, self._committed_n = found.segments[-1].producer, found.segments[-1].end_n - 1
        else:
            self.producer, self._committed_n = self.id if is_new else new_id(), 0
        self.server = cursor.server
        self._acked = self._read = found.acked_serial
        self._acked_name = (cursor.producer, cursor.n)
        self._acked_most = self._acked
        self._lost: set[int] = set()
        self._end = found.end_serial
        self._place: tuple[Segment, Run, int] | None = None
        self._confirmed: deque[_Confirmed] = deque()
        self._expired = 0
        if self._acked:
            self._confirmed.append(_Confirmed(now_ns, now_ns, self._acked))
        self._buffer: list[bytes] = []
        self._buffer_bytes = 0
        self._release_retry_ns: int | None = None
        self.cursor_is_dirty = False
        self.recovery = Recovery(
            pending=self._end - self._acked, retained=self._acked, lost=found.lost, notes=found.notes
        )

    def _read_id(self, new_id: Callable[[], str]) -> tuple[str, bool]:
        """The spool's id, and whether it is a new one."""
        with contextlib.suppress(OSError):
            cursor = Cursor.decode(self._disk.read(_ID, 0, 256))
            if cursor is not None:
                return cursor.producer, False
        name = new_id()
        # Without it the next process waits for one expiry of the leases: no reason to refuse a full disk.
        with contextlib.suppress(OSError):
            self._disk.replace(_ID, Cursor(name).encode(), durable=True)
        return name, True

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def next_n(self) -> int:
        """The number that the next appended event gets, and must be encoded with."""
        return self._committed_n + len(self._buffer) + 1

    @property
    def bytes_used(self) -> int:
        """The bytes of all segments, confirmed records that are still kept included."""
        return self._bytes

    def append(self, payload: bytes) -> bool:
        """Take an event for the next `commit`; False if it doesn't fit into `max_bytes`: then it has no number."""
        size = encoded_bytes(payload)
        if self.bytes_used + self._buffer_bytes + size > self._max_bytes:
            return False
        self._buffer.append(encode(self.next_n, payload))
        self._buffer_bytes += size
        return True

    def commit(self) -> int:
        """Write and fsync what was appended; returns how many records are promised from now on.

        Raises OSError if the disk would not have it: then all of them are lost, their numbers are free again, and what
        was promised before is as safe as before.
        """
        if not self._buffer:
            return 0
        data, count = b"".join(self._buffer), len(self._buffer)
        self._buffer.clear()
        self._buffer_bytes = 0
        active = self._active
        if active is None or (active.size and active.size + len(data) > self._segment_bytes):
            active = self._roll()
        try:
            self._disk.write(active.name, active.size, data)
        except OSError as error:
            self._cut_back(active, error)
            raise
        try:
            self._disk.sync(active.name)
        except OSError as error:
            # Nobody knows what the file holds now. Leave it for a new one, whose name says that the numbers from here
            # on are not in the old one.
            self._cut_back(active, error)
            self._active = None
            raise
        if active.runs:
            run = active.runs[-1]
            run.end, run.count = run.end + len(data), run.count + count
        else:
            first_n = self._committed_n + 1
            active.runs.append(Run(offset=0, end=len(data), first_n=first_n, count=count, serial=self._end))
        active.size += len(data)
        self._bytes += len(data)
        self._committed_n += count
        self._end += count
        return count

    def _roll(self) -> Segment:
        """Begin a new segment; raises OSError."""
        self._sequence += 1
        first_n = self._committed_n + 1
        name = segment_name(self._sequence, self.producer, first_n)
        self._disk.create(name)
        segment = Segment(name=name, sequence=self._sequence, producer=self.producer, first_n=first_n)
        self._segments.append(segment)
        previous, self._active = self._active, segment
        if previous is not None and not previous.runs:
            self._remove(previous)
        return segment

    def _cut_back(self, segment: Segment, cause: OSError) -> None:
        """Undo a write that failed; if that fails too, the segment is left for a new one."""
        try:
            self._disk.truncate(segment.name, segment.size)
        except OSError as error:
            cause.add_note(f"{segment.name}: cannot be cut back either: {error.strerror}")
            self._active = None

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def unread(self) -> int:
        """How many promised records `read` has yet to give."""
        return self._end - self._read

    @property
    def unconfirmed(self) -> int:
        return self._end - self._acked

    def read(self, max_records: int) -> tuple[list[SpoolRecord], int]:
        """The next records, and how many that should have been among them the disk has lost. Raises OSError."""
        records: list[SpoolRecord] = []
        lost = 0
        while len(records) < max_records and self._read < self._end:
            segment, run, offset = self._find_place()
            try:
                wanted = min(_READ_BYTES, run.end - offset)
                data = self._disk.read(segment.name, offset, wanted)
                if next_record(data, 0) is None:
                    wanted = run.end - offset
                    data = self._disk.read(segment.name, offset, wanted)
            except OSError:
                if records or lost:
                    break
                raise
            position = 0
            while len(records) < max_records and self._read < run.serial + run.count:
                wanted_n = run.first_n + self._read - run.serial
                found = next_record(data, position)
                if found is None:
                    if offset + wanted == run.end:
                        lost += self._lose(run.serial + run.count)
                    break
                position = found.end
                if found.n < wanted_n:
                    continue
                lost += self._lose(run.serial + found.n - run.first_n)
                records.append(SpoolRecord(self._read, segment.producer, found.n, found.payload))
                self._read += 1
            self._place = (segment, run, offset + position)
        return records, lost

    def pass_over(self) -> int:
        """Give up what `read` cannot get: goes on behind that run, and returns how many records are lost by it."""
        segment, run, _ = self._find_place()
        self._place = None
        if segment is self._active:
            self._active = None  # what comes next would be lost with it
        return self._lose(run.serial + run.count)

    def _lose(self, serial: int) -> int:
        """Go on to the record `serial`; returns how many of those passed over are lost now and were not before."""
        lost = {gone for gone in range(self._read, serial) if gone >= self._acked_most} - self._lost
        self._lost |= lost
        self._read = max(self._read, serial)
        return len(lost)

    def _find_place(self) -> tuple[Segment, Run, int]:
        """Where the record `self._read` begins, or a place before it in its run."""
        if self._place is not None:
            _, run, _ = self._place
            if run.serial <= self._read < run.serial + run.count:
                return self._place
        for segment in self._segments:
            for run in segment.runs:
                if run.serial <= self._read < run.serial + run.count:
                    return segment, run, run.offset
        msg = f"no segment holds record {self._read} of {self._end}"
        raise AssertionError(msg)

    # ── confirming ───────────────────────────────────────────────────────────────────────────────────────────────

    def confirm(self, record: SpoolRecord, now_ns: int) -> None:
        """Redis has this record and all before it."""
        if record.serial < self._acked:
            return
        self._acked = record.serial + 1
        self._acked_most = max(self._acked_most, self._acked)
        self._acked_name = (record.producer, record.n)
        self.cursor_is_dirty = True
        last = self._confirmed[-1] if self._confirmed else None
        if last is not None and now_ns - last.since_ns < self._retain_ns // 16:
            last.until_ns, last.serial = now_ns, self._acked
        else:
            self._confirmed.append(_Confirmed(now_ns, now_ns, self._acked))

    def rewind(self, server: str, now_ns: int) -> int:
        """The server is another one: all that is still kept is to be read and confirmed again, in order.

        Returns how many records that are which had been confirmed before.
        """
        self._expire(now_ns)
        first = min((run.serial for segment in self._segments for run in segment.runs), default=self._end)
        again = max(first, self._expired)
        known = self._acked
        self._read = min(again, self._acked)
        self._acked = self._read
        self._place = None
        self._confirmed.clear()
        self._acked_name = self._name_before(self._acked)
        self.server = server
        self.cursor_is_dirty = True
        return known - self._acked

    def _name_before(self, serial: int) -> tuple[str, int]:
        name = ("", 0)
        for segment in self._segments:
            for run in segment.runs:
                if run.serial < serial:
                    name = (segment.producer, run.first_n + min(run.count, serial - run.serial) - 1)
        return name

    def save_cursor(self) -> None:
        """Write down what is confirmed. Lazily, and never fsync'd: without it Redis only sees repeats."""
        self.cursor_is_dirty = False
        producer, n = self._acked_name
        with contextlib.suppress(OSError):
            self._disk.replace(CURSOR, Cursor(producer, n, self.server).encode(), durable=False)

    def release(self, now_ns: int) -> None:
        """Remove the segments of which nothing needs to be kept any more."""
        self._expire(now_ns)
        self._release_retry_ns = None
        try:
            if self._segments and self._is_worth_leaving(self._segments[-1]) and self._is_released(self._segments[-1]):
                self._roll()
            while len(self._segments) > 1 and self._is_released(self._segments[0]):
                self._remove(self._segments[0])
        except OSError:
            self._release_retry_ns = now_ns + _RETRY_NS

    def next_release_ns(self) -> int | None:
        """When `release` should be called next; None if there is nothing to wait for."""
        if self._release_retry_ns is not None:
            return self._release_retry_ns
        if not self._segments or (len(self._segments) == 1 and not self._is_worth_leaving(self._segments[0])):
            return None
        first = self._segments[0]
        serial = first.end_serial if first.runs else 0
        for confirmed in self._confirmed:
            if confirmed.serial >= serial:
                return confirmed.until_ns + self._retain_ns
        return None

    def close(self) -> None:
        """Write the cursor and give the directory back. Nothing may be appended but not committed."""
        if self.cursor_is_dirty:
            self.save_cursor()
        self._disk.close()

    def _is_worth_leaving(self, segment: Segment) -> bool:
        return bool(segment.runs) and segment.size * 2 >= self._segment_bytes

    def _is_released(self, segment: Segment) -> bool:
        return not segment.runs or segment.end_serial <= self._expired

    def _expire(self, now_ns: int) -> None:
        while self._confirmed and self._confirmed[0].until_ns + self._retain_ns <= now_ns:
            self._expired = self._confirmed.popleft().serial

    def _remove(self, segment: Segment) -> None:
        self._disk.remove(segment.name)
        self._segments.remove(segment)
        self._bytes -= segment.size
        if self._place is not None and self._place[0] is segment:
            self._place = None
