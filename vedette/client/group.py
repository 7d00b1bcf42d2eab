"""Reading as a member of a consumer group: each entry goes to one member, and stays its own until acknowledged.

At least once: what a member took and did not acknowledge comes again, to itself after a lost connection or a restart
under the same name, to another member once it has been idle for `claim_idle_ms`. What was fetched with others and
waited behind them is looked at before it is handed out: still this member's, it counts as fetched now; if another one
took it meanwhile, it is that one's. Members see parts of a stream, so `n`
proves nothing to them; gaps are told for pending entries that the cap trimmed, and for a server that came back empty.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import RedisError, ResponseError

from vedette.client.clock import monotonic_s
from vedette.client.entries import ORIGIN, Entry, after_id, entries, entries_by_key, read_event, read_frame, text_of
from vedette.client.follow import LOOK_S
from vedette.client.steps import Link, Pause, Step, Steps, call, is_reply
from vedette.client.types import BadEntry, Gap
from vedette.errors import MessageError


@dataclass(slots=True)
class Share:
    """A member's part of one Redis stream. `stream` is "" for events. `start`: where a new group begins."""

    key: str
    stream: str
    start: str
    joined: bool = False
    outstanding: set[str] = field(default_factory=set)
    acknowledged: set[str] = field(default_factory=set)
    was_reset: bool = False


@dataclass(slots=True, kw_only=True)
class GroupRead:
    """What to read as whom. `find` asks for more streams (None: the streams given are all)."""

    link: Link
    group: str
    consumer: str
    shares: dict[str, Share]
    find: Callable[[], Generator[Step, Any, list[Share]]] | None
    auto_ack: bool
    batch: int
    block_ms: int
    idle_ms: int | None
    claim_idle_ms: int

    def steps(self) -> Steps:
        """Yield items for ever, or until nothing has come for `idle_ms`."""
        ready: set[str] = set()
        while True:
            try:
                yield from self._read(ready)
            except (RedisError, OSError) as error:
                ready.clear()
                yield from self.link.failed(error)
            else:
                return

    def _read(self, ready: set[str]) -> Steps:
        yield from self._discover(ready)
        yield from self.link.works()
        idle_ms, looked = 0, monotonic_s()
        while True:
            wait_ms = self.block_ms if self.idle_ms is None else min(self.block_ms, self.idle_ms - idle_ms)
            found = False
            if not self.shares:
                yield Pause(wait_ms / 1000)
            else:
                yield from self._flush()
                reply = yield from self._xreadgroup(wait_ms)
                since = monotonic_s()
                for key, fetched in entries_by_key(reply):
                    for entry in fetched:
                        found = True
                        yield from self._hand_out(self.shares[key], entry, since, redelivered=False)
            idle_ms = 0 if found else idle_ms + wait_ms
            if not found or monotonic_s() - looked >= max(self.block_ms / 1000, LOOK_S):
                looked = monotonic_s()
                if (yield from self._discover(ready)) or (yield from self._claim_all()):
                    idle_ms, found = 0, True
            if not found and self.idle_ms is not None and idle_ms >= self.idle_ms:
                return

    def _xreadgroup(self, wait_ms: int) -> Generator[Step, Any, Any]:
        block: tuple[str | int, ...] = ("BLOCK", wait_ms) if wait_ms > 0 else ()
        new = [">"] * len(self.shares)
        arguments = ("COUNT", self.batch, *block, "STREAMS", *self.shares, *new)
        return (yield from call("XREADGROUP", "GROUP", self.group, self.consumer, *arguments))

    def _discover(self, ready: set[str]) -> Generator[Step, Any, bool]:
        """Join the group wherever this member has not yet, and take up what is its own or a dead member's there."""
        found = False
        if self.find is not None:
            for share in (yield from self.find()):
                self.shares.setdefault(share.key, share)
        for share in self.shares.values():
            if share.key not in ready:
                yield from self._join(share)
                yield from self._flush()
                found = (yield from self._own_pending(share)) or found
                found = (yield from self._claim(share)) or found
                ready.add(share.key)
        return found

    def _join(self, share: Share) -> Steps:
        # A group that is gone was lost together with the data: everything that is there now is new.
        start = ORIGIN if share.joined else share.start if share.start == "$" else after_id(share.start)
        try:
            yield from call("XGROUP", "CREATE", share.key, self.group, start, "MKSTREAM")
        except ResponseError as error:
            if not is_reply(error, "BUSYGROUP"):
                raise
        else:
            if share.joined:
                share.was_reset = True
                share.outstanding.clear()
                share.acknowledged.clear()
        share.joined = True

    def _own_pending(self, share: Share) -> Generator[Step, Any, bool]:
        """What this member took in an earlier life, or just before the connection was lost."""
        cursor, found = ORIGIN, False
        while True:
            arguments = ("COUNT", self.batch, "STREAMS", share.key, cursor)
            reply = yield from call("XREADGROUP", "GROUP", self.group, self.consumer, *arguments)
            pending = [entry for _, fetched in entries_by_key(reply) for entry in fetched]
            if not pending:
                return found
            cursor, since = pending[-1][0], monotonic_s()
            for entry in pending:
                found = (yield from self._hand_out(share, entry, since, redelivered=True)) or found

    def _claim_all(self) -> Generator[Step, Any, bool]:
        found = False
        for share in self.shares.values():
            found = (yield from self._claim(share)) or found
        return found

    def _claim(self, share: Share) -> Generator[Step, Any, bool]:
        """Take over what has been pending for too long: whoever had it is dead, or stuck."""
        cursor, found, nameless = ORIGIN, False, False
        while True:
            arguments = (share.key, self.group, self.consumer, self.claim_idle_ms, cursor, "COUNT", self.batch)
            reply = yield from call("XAUTOCLAIM", *arguments)
            since = monotonic_s()
            # What was trimmed while this member had it is not missing.
            trimmed = {text_of(one) for one in reply[2]} if len(reply) > 2 else set()
            if lost := trimmed - share.outstanding - share.acknowledged:
                yield Gap(key=share.key, stream=share.stream, count=len(lost), reason="trimmed")
            # Redis 6.2 gives a trimmed entry as nil, without its id, and leaves it pending.
            nameless = nameless or None in reply[1]
            for entry in entries(reply[1]):
                found = (yield from self._hand_out(share, entry, since, redelivered=True)) or found
            cursor = text_of(reply[0])
            if cursor == ORIGIN:
                return ((yield from self._own_pending(share)) or found) if nameless else found

    def _hand_out(self, share: Share, entry: Entry, since: float, *, redelivered: bool) -> Generator[Step, Any, bool]:
        """Yield an entry, and acknowledge it when the next one is asked for; True if there was one to yield.

        `since`: when it was fetched.
        """
        entry_id, fields = entry
        if entry_id in share.outstanding or entry_id in share.acknowledged:
            return False
        waited = monotonic_s() - since
        if waited * 1000 >= self.claim_idle_ms / 8 and not (yield from self._still_mine(share, entry_id)):
            return False
        if share.was_reset:
            share.was_reset = False
            yield Gap(key=share.key, stream=share.stream, reason="reset")
        if fields is None:
            yield Gap(key=share.key, stream=share.stream, count=1, reason="trimmed")
        else:
            try:
                received = (
                    read_frame(share.key, share.stream, entry, redelivered=redelivered)
                    if share.stream
                    else read_event(share.key, entry, redelivered=redelivered)
                )
            except MessageError as error:
                yield BadEntry(id=entry_id, key=share.key, error=error.message)
            else:
                share.outstanding.add(entry_id)
                yield received
                if not self.auto_ack:
                    return True
                share.outstanding.discard(entry_id)
        share.acknowledged.add(entry_id)
        yield from self._flush()
        return fields is not None

    def _still_mine(self, share: Share, entry_id: str) -> Generator[Step, Any, bool]:
        """Whether the entry is still pending with this member; if so, it is fetched now."""
        arguments = (share.key, self.group, entry_id, entry_id, 1, self.consumer)
        if not (yield from call("XPENDING", *arguments)):
            return False
        yield from call("XCLAIM", share.key, self.group, self.consumer, 0, entry_id, "JUSTID")
        return True

    def _flush(self) -> Steps:
        """Tell Redis what is acknowledged; what cannot be told now is told after the next connection."""
        for share in self.shares.values():
            if share.acknowledged:
                told = tuple(share.acknowledged)
                yield from call("XACK", share.key, self.group, *told)
                share.acknowledged.difference_update(told)


def frame_share(prefix: str, stream: str, start: str) -> Share:
    return Share(key=f"{prefix}:frames:{stream}", stream=stream, start=start)


def event_share(prefix: str, start: str) -> Share:
    return Share(key=f"{prefix}:events", stream="", start=start)
