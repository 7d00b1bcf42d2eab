"""What is still there after a restart, a crash at any byte, or damage: reads the segments and says what was lost.

A segment is a file `{sequence}-{producer}-{first n}.v1` of records. The name alone says whose numbers it holds and
where they begin, so the end of a segment is bounded by the name of the next: what lies behind was never promised.

Only the last segment's end is open. If it was cut off within a record, that record had not been fsync'd and its number
is free. If it ends in anything else, a promised record may have been changed there, whose number Redis may know: then
the spool goes on under a new producer id, so that no number is ever given twice.
"""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.spool.record import MAX_N, Tail, next_record, tail_of
from vedette.errors import SpoolError

_NAME = re.compile(r"(?P<sequence>\d{10})-(?P<producer>[0-9a-z]{1,32})-(?P<first>\d{20})\.v1", re.ASCII)
_LATER = re.compile(r".*\.v(?P<version>\d{1,9})", re.ASCII | re.DOTALL)
_PRODUCER = re.compile(r"[0-9a-z]{0,32}")
# No spool comes near these: files that do are somebody's joke, and would leave no numbers for those that follow.
_MAX_SEQUENCE = 9_000_000_000
_FAR_N = MAX_N // 2
CURSOR = "cursor"


class ReadableDisk(Protocol):
    """As much of a `Disk` as recovery needs: it changes nothing."""

    def names(self) -> list[str]: ...
    def size(self, name: str) -> int: ...
    def read(self, name: str, offset: int, size: int) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LostRecords:
    """Promised records that can't be read any more; `last` is None if their number isn't known."""

    producer: str
    first: int
    last: int | None

    @property
    def count(self) -> int:
        """How many they are, at least."""
        return 1 if self.last is None else self.last - self.first + 1


@dataclass(slots=True, kw_only=True)
class Run:
    """Sound records side by side in a file, with rising numbers; `serial` counts records within this process."""

    offset: int
    end: int
    first_n: int
    count: int
    serial: int


@dataclass(slots=True, kw_only=True)
class Segment:
    """A file of records. `size`: the bytes of it that count; more may lie behind them."""

    name: str
    sequence: int
    producer: str
    first_n: int
    size: int = 0
    runs: list[Run] = field(default_factory=list)

    @property
    def end_n(self) -> int:
        """The number behind its last record."""
        return self.runs[-1].first_n + self.runs[-1].count if self.runs else self.first_n

    @property
    def end_serial(self) -> int:
        assert self.runs
        return self.runs[-1].serial + self.runs[-1].count


@dataclass(frozen=True, slots=True)
class Cursor:
    """Up to which record Redis has answered, and which server (`run_id`) that was."""

    producer: str = ""
    n: int = 0
    server: str = ""

    def encode(self) -> bytes:
        body = json.dumps([self.producer, self.n, self.server]).encode()
        return b"%08x %s\n" % (zlib.crc32(body), body)

    @classmethod
    def decode(cls, data: bytes) -> Cursor | None:
        """None for anything but a whole cursor: losing it makes Redis see repeats, which it refuses."""
        crc, _, body = data.rstrip(b"\n").partition(b" ")
        if crc != b"%08x" % zlib.crc32(body):
            return None
        try:
            values = json.loads(body)
        except (ValueError, RecursionError):  # an empty file's checksum is 00000000
            return None
        match values:
            # The name becomes a part of file names.
            case [str(producer), int(n), str(server)] if _PRODUCER.fullmatch(producer):
                return cls(producer, n, server)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What was found. `pending`: records that Redis has not confirmed; `retained`: confirmed ones, still kept."""

    pending: int
    retained: int
    lost: tuple[LostRecords, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """All segments in order; the records up to `acked_serial` are confirmed. `end_is_sure`: see above."""

    segments: list[Segment]
    acked_serial: int
    end_serial: int
    end_is_sure: bool
    lost: tuple[LostRecords, ...]
    notes: tuple[str, ...]


def segment_name(sequence: int, producer: str, first_n: int) -> str:
    return f"{sequence:010d}-{producer}-{first_n:020d}.v1"


def read_cursor(disk: ReadableDisk) -> Cursor:
    """The cursor, or an empty one if there is none or it can't be read."""
    try:
        return Cursor.decode(disk.read(CURSOR, 0, 4096)) or Cursor()
    except OSError:
        return Cursor()


def recover(disk: ReadableDisk, cursor: Cursor) -> Found:
    """Read everything there is. Raises OSError if not even the names can be read, SpoolError for a later version's."""
    segments, notes, lost = _segments(disk), list[str](), list[LostRecords]()
    serial, sure = 0, True
    for index, segment in enumerate(segments):
        follower = segments[index + 1] if index + 1 < len(segments) else None
        before = segments[index - 1] if index else None
        continues = follower is not None and follower.producer == segment.producer
        bound = follower.first_n if continues and follower is not None else None
        tail = _read_segment(disk, segment, bound, serial, notes)
        if segment.runs:
            serial = segment.end_serial
        if before is not None and before.producer == segment.producer and before.end_n < segment.first_n:
            lost.append(LostRecords(producer=segment.producer, first=before.end_n, last=segment.first_n - 1))
        expected = segment.first_n
        for run in segment.runs:
            if run.first_n > expected:
                lost.append(LostRecords(producer=segment.producer, first=expected, last=run.first_n - 1))
            expected = run.first_n + run.count
        if not continues and tail == "damaged":
            lost.append(LostRecords(producer=segment.producer, first=segment.end_n, last=None))
        if follower is None:
            known = cursor.producer != segment.producer or cursor.n < segment.end_n
            # Names out of order are not ours; numbers that another segment has must not be given again all the same.
            ends = [other.end_n for other in segments if other.producer == segment.producer]
            sure = tail != "damaged" and known and max(ends) == segment.end_n <= _FAR_N
            if tail == "torn":
                notes.append(f"{segment.name}: ends within a record that was not promised yet; cut off there")
    return Found(
        segments=segments,
        acked_serial=_acked_serial(segments, cursor),
        end_serial=serial,
        end_is_sure=sure,
        lost=tuple(item for item in lost if not _was_confirmed(item, segments, cursor)),
        notes=tuple(notes),
    )


def _segments(disk: ReadableDisk) -> list[Segment]:
    segments = []
    for name in disk.names():
        match = _NAME.fullmatch(name)
        if match is not None:
            sequence, first_n = int(match["sequence"]), int(match["first"])
            if sequence > _MAX_SEQUENCE or first_n > _FAR_N:
                msg = f"spool {disk}: {name} is none of Vedette's: no spool has come that far"
                raise SpoolError(msg, hint="move the directory away")
            segments.append(Segment(name=name, sequence=sequence, producer=match["producer"], first_n=first_n))
        elif (later := _LATER.fullmatch(name)) is not None:
            shown = name if name.isprintable() else ascii(name)
            version = f"(got v{later['version']}, expected v1)"
            msg = f"spool {disk}: {shown} was written by another version of Vedette {version}"
            raise SpoolError(msg, hint="run that version until its spool is empty, or move the directory away")
    return sorted(segments, key=lambda segment: segment.sequence)


def _read_segment(disk: ReadableDisk, segment: Segment, bound: int | None, serial: int, notes: list[str]) -> Tail:
    """Fill in the segment's runs; returns how it ends. Records numbered `bound` or above don't count."""
    try:
        data = disk.read(segment.name, 0, disk.size(segment.name))
    except OSError as error:
        notes.append(f"{segment.name}: cannot be read: {error.strerror}")
        return "damaged"
    offset, wanted_n = 0, segment.first_n
    while (found := next_record(data, offset)) is not None:
        if bound is not None and found.n >= bound:
            return "clean"
        if found.n < wanted_n:  # a stale copy of a record, left behind by a write that failed
            offset = found.end
            continue
        if found.offset > offset:
            notes.append(f"{segment.name}: {found.offset - offset} bytes from {offset} on are damaged")
        run = segment.runs[-1] if segment.runs else None
        if run is not None and run.end == found.offset and found.n == wanted_n:
            run.end, run.count = found.end, run.count + 1
        else:
            segment.runs.append(Run(offset=found.offset, end=found.end, first_n=found.n, count=1, serial=serial))
        serial += 1
        offset = segment.size = found.end
        wanted_n = found.n + 1
    tail = tail_of(data, offset)
    if tail == "damaged":
        notes.append(f"{segment.name}: the last {len(data) - offset} bytes are damaged")
    return tail


def _acked_serial(segments: list[Segment], cursor: Cursor) -> int:
    """The serial of the first record that the cursor does not cover; 0 if it points at nothing that is there."""
    acked = 0
    for segment in segments:
        if segment.producer == cursor.producer:
            for run in segment.runs:
                if cursor.n >= run.first_n:
                    acked = run.serial + min(run.count, cursor.n - run.first_n + 1)
    return acked


def _was_confirmed(lost: LostRecords, segments: list[Segment], cursor: Cursor) -> bool:
    """Whether the cursor says that Redis had them before they were lost."""
    producers = [segment.producer for segment in segments]
    if cursor.producer not in producers:
        return False
    if lost.producer != cursor.producer:
        return producers.index(lost.producer) < producers.index(cursor.producer)
    return lost.last is not None and lost.last <= cursor.n
