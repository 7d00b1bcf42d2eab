"""The frames of one stream on their way to Redis: which wait, which are under way, with which ids.

In:  frames from the finish thread. Out: batches of entries; frames that are to be dropped, for the caller to count.
Pure: no lock, no thread, no clock; `RedisOutlet` has those. A full queue drops its oldest live frame; lossless frames
are never dropped by it, their number is bounded by credits.

A frame that was sent without an answer may have landed: it keeps its id, so that sending it again can do no harm, and
stays ahead of all later ones. Any other frame gets its id when it is sent, above the last one known.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass, field

from pipeline.outgoing import OutgoingFrame
from stages.sink.entry_id import NONE, EntryId, id_after

LIVE_FRAMES = 64
BATCH = 64


class Hold(enum.Enum):
    """Whether the stream's frames may be written."""

    UNKNOWN = "unknown"
    OURS = "ours"
    WAITING = "waiting"
    LOST = "lost"


@dataclass(slots=True)
class UnderWay:
    """A frame that was taken for sending. `sent`: at least once without an answer."""

    frame: OutgoingFrame
    id: EntryId = NONE
    sent: bool = False


@dataclass(slots=True)
class StreamFrames:
    """One stream's frames. `queue` belongs to whoever holds the outlet's lock, the rest to the sink's thread.

    `hold` and `was_ours`: this stream's lease; `held_until_ns`: when the lease that another holds will have expired
    once since it was seen. `at_once`: how many go in one write, fewer after one that was not answered in time: what is
    too much for the link would be sent again for ever.
    """

    queue: deque[OutgoingFrame] = field(default_factory=deque)
    live: int = 0
    hold: Hold = Hold.UNKNOWN
    was_ours: bool = False
    held_until_ns: int | None = None
    under_way: list[UnderWay] = field(default_factory=list)
    at_once: int = BATCH
    last_id: EntryId = NONE
    stranger_wrote: bool = False

    def push(self, frame: OutgoingFrame) -> OutgoingFrame | None:
        """Take a frame; returns the one that must make room for it, if any."""
        self.queue.append(frame)
        if frame.lossless:
            return None
        self.live += 1
        if self.live <= LIVE_FRAMES:
            return None
        oldest = next(queued for queued in self.queue if not queued.lossless)
        self.queue.remove(oldest)
        self.live -= 1
        return oldest

    def take(self) -> None:
        """Fill the batch under way from the queue."""
        while self.queue and len(self.under_way) < BATCH:
            frame = self.queue.popleft()
            self.live -= not frame.lossless
            self.under_way.append(UnderWay(frame))

    def drop_queued(self, *, lossless: bool) -> list[OutgoingFrame]:
        """Take the live frames out of the queue, with `lossless` all."""
        dropped = [frame for frame in self.queue if lossless or not frame.lossless]
        self.queue = deque(frame for frame in self.queue if not (lossless or not frame.lossless))
        self.live = 0
        return dropped

    def drop_under_way(self, *, lossless: bool, sent: bool) -> list[OutgoingFrame]:
        """Take live frames out of the batch, with `lossless` all; those that may have landed only with `sent`."""
        dropped: list[UnderWay] = []
        kept: list[UnderWay] = []
        for under_way in self.under_way:
            goes = (lossless or not under_way.frame.lossless) and (sent or not under_way.sent)
            (dropped if goes else kept).append(under_way)
        self.under_way = kept
        return [under_way.frame for under_way in dropped]

    def entries(self, now_wall_ns: int) -> list[tuple[EntryId, bytes]]:
        """The batch as Redis gets it, or its beginning; gives ids to those that were not sent yet."""
        last = self.last_id
        for under_way in self.under_way[: self.at_once]:
            if not under_way.sent:
                under_way.id = id_after(last, under_way.frame.message.wall_ns, now_wall_ns)
            last = max(last, under_way.id)
        return [(under_way.id, under_way.frame.encoded) for under_way in self.under_way[: self.at_once]]

    def mark_sent(self) -> None:
        """There was no answer: any part of what `entries` gave may have landed. Half as many are sent next time."""
        for under_way in self.under_way[: self.at_once]:
            under_way.sent = True
        self.at_once = max(1, min(self.at_once, len(self.under_way)) // 2)

    def pop_done(self, count: int) -> list[OutgoingFrame]:
        """Take out the first `count`: they are in the stream."""
        done, self.under_way = self.under_way[:count], self.under_way[count:]
        if done:
            self.at_once = min(BATCH, 2 * self.at_once)
            self.last_id = max(self.last_id, done[-1].id)
        return [under_way.frame for under_way in done]

    def last_id_is(self, last: EntryId) -> None:
        """What Redis says is the last id, after the lease was taken or the connection renewed."""
        ours = {self.last_id, *(under_way.id for under_way in self.under_way if under_way.sent)}
        self.stranger_wrote = last > self.last_id and last not in ours
        self.last_id = last
