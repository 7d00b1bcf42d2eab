"""Following streams with XREAD: from a place on, in order, across lost connections and servers that come back empty.

Position: the id of the last entry that was yielded. It moves before an item is yielded, and every fetched entry is
yielded before the next command, so that whatever happens to the connection the position is exact.

After each connection the position is checked, since another server may answer, or the same with older data: following
goes on after the newest entry that both know. If there is none, it goes on from the beginning of what is there, and a
Gap says so. A position from outside (an id of an earlier life) is checked in the same way, and so is that of a stream
that was quiet for a while: its server may have been emptied under a connection that stays.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import RedisError, ResponseError

from vedette.client.clock import monotonic_s
from vedette.client.entries import (
    ORIGIN,
    Entry,
    after_id,
    entries,
    entries_by_key,
    id_pair,
    is_time,
    is_whole_id,
    pairs,
    read_event,
    read_frame,
    text_of,
)
from vedette.client.sequence import EventSequence, FrameSequence
from vedette.client.steps import Link, Pause, Step, Steps, call
from vedette.client.types import BadEntry, Gap, GapReason
from vedette.errors import MessageError

# How many yielded entries are remembered: a server that wrote its data every second (AOF everysec) and was killed comes
# back without its last second, and frames and events of one second fit in here.
REMEMBERED = 256
# New streams are looked for when a read found nothing, and when it is so long since the last look (or `block_s`).
LOOK_S = 0.1
# How many streams are asked at each look whether they are still what they were, in turn: hundreds at once would cost
# the server more than reading them does.
ASKED_A_LOOK = 8


@dataclass(slots=True)
class Place:
    """Where a subscriber stands in one Redis stream, and what it needs to see what is missing there."""

    key: str
    stream: str
    sequence: FrameSequence | EventSequence
    id: str = ORIGIN
    start: str | None = "$"
    recent: deque[tuple[str, int]] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    suspect: GapReason | None = None
    repeats: int = 0

    def copy(self) -> Place:
        """A twin to go on from, for a second feed."""
        return Place(
            key=self.key,
            stream=self.stream,
            sequence=self.sequence.copy(),
            id=self.id,
            start=self.start,
            recent=self.recent.copy(),
            suspect=self.suspect,
        )

    def take(self, entry: Entry) -> Iterable[Step]:
        """Move past `entry`; what it makes the subscriber yield."""
        if isinstance(self.sequence, FrameSequence):
            steps = list(self._take_frame(self.sequence, entry))
        else:
            steps = list(self._take_event(self.sequence, entry))
        # Not before it is read: an exception of a signal handler must not cost an entry.
        self.id = entry[0]
        self.recent.append(_fingerprint(entry))
        return steps

    def learn(self, entry: Entry) -> None:
        """Note an entry yielded in an earlier life, or lying just before the start: what follows continues it."""
        self.recent.append(_fingerprint(entry))
        try:
            if isinstance(self.sequence, FrameSequence):
                self.sequence.note(read_frame(self.key, self.stream, entry).message)
            else:
                self.sequence.note(read_event(self.key, entry).message)
        except MessageError:
            return  # it only primes the counting; whoever reads this entry will report it

    def _take_frame(self, sequence: FrameSequence, entry: Entry) -> Iterable[Step]:
        try:
            received = read_frame(self.key, self.stream, entry)
        except MessageError as error:
            yield BadEntry(id=entry[0], key=self.key, error=error.message)
            return
        suspect, self.suspect = self.suspect, None
        gap = sequence.note(received.message, suspect)
        if gap is not None:
            yield gap
        yield received

    def _take_event(self, sequence: EventSequence, entry: Entry) -> Iterable[Step]:
        if self.suspect is not None:
            # Producers not heard of before this may have lost events, too; `n` shows only those already known.
            yield Gap(key=self.key, stream="", reason=self.suspect)
            self.suspect = None
        try:
            received = read_event(self.key, entry)
        except MessageError as error:
            yield BadEntry(id=entry[0], key=self.key, error=error.message)
            return
        if sequence.is_repeat(received.message):
            self.repeats += 1
            return
        gap = sequence.note(received.message)
        if gap is not None:
            yield gap
        yield received


@dataclass(slots=True, kw_only=True)
class Follow:
    """What to follow. `find` asks for more streams (None: the streams given are all). `memory`: the places that were
    yielded from last, by key, of all feeds of a subscriber.
    """

    link: Link
    places: dict[str, Place]
    memory: dict[str, Place]
    find: Callable[[], Generator[Step, Any, list[Place]]] | None
    batch: int
    block_ms: int
    idle_ms: int | None

    def steps(self) -> Steps:
        """Yield items for ever, or until nothing has come for `idle_ms`."""
        checked: set[str] = set()
        while True:
            try:
                yield from self._read(checked)
            except (RedisError, OSError) as error:
                checked.clear()
                yield from self.link.failed(error)
            else:
                return

    def _read(self, checked: set[str]) -> Steps:
        yield from call("PING")  # a place at the beginning asks nothing else, and no answer is no connection
        yield from self._discover(checked)
        yield from self.link.works()
        idle_ms, looked, heard, turn = 0, monotonic_s(), set(self.places), 0
        while True:
            wait_ms = self.block_ms if self.idle_ms is None else min(self.block_ms, self.idle_ms - idle_ms)
            found = False
            if not self.places:
                yield Pause(wait_ms / 1000)
            else:
                for key, fetched in entries_by_key((yield from self._xread(wait_ms))):
                    place = self.memory[key] = self.places[key]
                    heard.add(key)
                    for entry in fetched:
                        found = True
                        yield from place.take(entry)
            idle_ms = 0 if found else idle_ms + wait_ms
            if not found and self.idle_ms is not None and idle_ms >= self.idle_ms:
                return
            if not found or monotonic_s() - looked >= max(self.block_ms / 1000, LOOK_S):
                yield from self._discover(checked)
                for place in self._in_turn(turn):
                    if place.key not in heard:
                        yield from _settle_quiet(place)
                looked, heard, turn = monotonic_s(), set(), turn + ASKED_A_LOOK

    def _xread(self, wait_ms: int) -> Generator[Step, Any, Any]:
        block: tuple[str | int, ...] = ("BLOCK", wait_ms) if wait_ms > 0 else ()
        ids = [place.id for place in self.places.values()]
        return (yield from call("XREAD", "COUNT", self.batch, *block, "STREAMS", *self.places, *ids))

    def _in_turn(self, turn: int) -> list[Place]:
        places = list(self.places.values())
        return [places[(turn + step) % len(places)] for step in range(min(ASKED_A_LOOK, len(places)))]

    def _discover(self, checked: set[str]) -> Steps:
        if self.find is not None:
            for place in (yield from self.find()):
                self.places.setdefault(place.key, place)
        for place in self.places.values():
            if place.key not in checked:
                yield from _settle(place)
                self.memory.setdefault(place.key, place)
                checked.add(place.key)


def _settle(place: Place) -> Steps:
    """Make the place's id one of the server that answers now."""
    start, place.start = place.start, None
    try:
        if start is not None:
            yield from _settle_start(place, start)
        elif place.recent:
            yield from _settle_again(place)
        else:
            yield from _settle_quiet(place)
    except BaseException:
        place.start = start  # the connection broke: the same question again
        raise


def _settle_quiet(place: Place) -> Steps:
    """Begin anew where the stream has not come as far as the place: it is another one by now."""
    if place.id != ORIGIN and not is_time(place.id) and not (yield from _reaches(place)):
        _reset(place)


def _settle_start(place: Place, start: str) -> Steps:
    if start == "$":
        information = yield from _information(place.key)
        if information is not None:
            place.id = text_of(information["last-generated-id"])
            for entry in entries([information["last-entry"]]):
                place.learn(entry)
        return
    place.id = after_id(start)
    if not is_whole_id(start) or id_pair(start) == (0, 0) or is_time(start):
        return
    there = entries((yield from call("XRANGE", place.key, start, start)))
    if there:
        place.learn(there[0])
    elif not (yield from _reaches(place)):
        _reset(place)
    elif not (yield from _is_before(place)):
        place.suspect = "trimmed"


def _settle_again(place: Place) -> Steps:
    """After a lost connection: go on after the newest entry that was yielded and is still there."""
    known = set(place.recent)
    oldest, newest = place.recent[0][0], place.recent[-1][0]
    # Nearly always the last one is there: no need to fetch them all.
    for first, last in ((newest, newest), (oldest, newest)):
        reply = yield from call("XREVRANGE", place.key, last, first, "COUNT", REMEMBERED)
        for entry in entries(reply):
            if _fingerprint(entry) in known:
                place.id = entry[0]
                return
    # An id beyond the last yielded one was given by "$": nothing was between the two.
    place.id = max(newest, place.id, key=id_pair)
    if not (yield from _reaches(place)) or (yield from _is_before(place)):
        _reset(place)
    else:
        place.suspect = "trimmed"


def _fingerprint(entry: Entry) -> tuple[str, int]:
    """What tells an entry from another one that has its id on another server: ids of files come from media time."""
    return entry[0], hash(tuple(entry[1] or ()))


def _information(key: str) -> Generator[Step, Any, dict[str, Any] | None]:
    """XINFO STREAM, or None if there is no such key."""
    try:
        reply = yield from call("XINFO", "STREAM", key)
    except ResponseError as error:
        if "no such key" in str(error):
            return None
        raise
    return pairs(reply)


def _reaches(place: Place) -> Generator[Step, Any, bool]:
    """Whether the stream has ever come as far as the place's id. If not, it is not the stream that gave the id."""
    information = yield from _information(place.key)
    return information is not None and id_pair(text_of(information["last-generated-id"])) >= id_pair(place.id)


def _is_before(place: Place) -> Generator[Step, Any, bool]:
    """Whether an entry up to the place's id is still there, so that nothing after it can have been trimmed."""
    reply = yield from call("XRANGE", place.key, "-", place.id, "COUNT", 1)
    return bool(entries(reply))


def _reset(place: Place) -> None:
    """The stream was begun anew: all that is in it is new."""
    place.id = ORIGIN
    place.recent.clear()
    place.suspect = "reset"


def frame_place(prefix: str, stream: str, start: str) -> Place:
    key = f"{prefix}:frames:{stream}"
    return Place(key=key, stream=stream, sequence=FrameSequence(key, stream), start=start)


def event_place(prefix: str, start: str) -> Place:
    key = f"{prefix}:events"
    return Place(key=key, stream="", sequence=EventSequence(key), start=start)


def frame_start(start: str | Mapping[str, str], stream: str, *, late: bool) -> str:
    """Where to start in `stream`; one that appears later (`late`) is new and read from its beginning."""
    if isinstance(start, str):
        return "0" if late else start
    return start.get(stream, "0")
