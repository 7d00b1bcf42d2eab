"""The batcher against a plain model, and its promises one by one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pipeline.batcher import ALIKE, FILE_SHARE, ROUNDS, Batcher
from stages.types import StreamId

A, B, C = StreamId("a"), StreamId("b"), StreamId("c")


class BatcherAgainstModel(RuleBasedStateMachine):
    """Every item offered is superseded or taken exactly once, in its stream's order, by the stated rules of choice."""

    @initialize(
        kinds=st.lists(st.sampled_from([False, False, True]), min_size=1, max_size=9),
        wait_ns=st.sampled_from([0, 0, 100]),
    )
    def build(self, kinds: list[bool], wait_ns: int) -> None:
        self.lossless = {StreamId(f"s{i}"): kind for i, kind in enumerate(kinds)}
        self.wait_ns = wait_ns
        self.batcher: Batcher[tuple[StreamId, int]] = Batcher(self.lossless, wait_ns=wait_ns)
        self.waiting: dict[StreamId, list[tuple[int, int]]] = {stream: [] for stream in self.lossless}
        self.newest_ns = dict.fromkeys(self.lossless, 0)
        self.served_at: dict[StreamId, int] = {stream: index for index, stream in enumerate(self.lossless)}
        self.serving = len(kinds)
        self.since_file = 0
        self.in_flight = 0
        self.number = 0
        self.now_ns = 0

    @rule(pick=st.integers(0, 8), pause_ns=st.integers(0, 80))
    def offer(self, pick: int, pause_ns: int) -> None:
        self.now_ns += pause_ns
        stream = list(self.lossless)[pick % len(self.lossless)]
        self.number += 1
        older = self.batcher.offer(stream, (stream, self.number), self.now_ns)
        self.newest_ns[stream] = self.now_ns
        line = self.waiting[stream]
        if self.lossless[stream] or not line:
            assert older is None
            line.append((self.number, self.now_ns))
        else:
            assert older == (stream, line[0][0])
            line[0] = (self.number, line[0][1])

    @rule(limit=st.integers(1, 9), pause_ns=st.integers(0, 80))
    def take(self, limit: int, pause_ns: int) -> None:
        self.now_ns += pause_ns
        ready = sum(map(len, self.waiting.values()))
        oldest_ns = min((line[0][1] for line in self.waiting.values() if line), default=None)
        take = self.batcher.take(limit, self.now_ns)
        if oldest_ns is not None and self.in_flight and ready < limit and self.now_ns < oldest_ns + self.wait_ns:
            assert not take.items
            assert take.wake_at_ns == oldest_ns + self.wait_ns
            return
        assert take.wake_at_ns is None
        expected = []
        while len(expected) < limit:
            stream = self.choose()
            if stream is None:
                break
            number, _ = self.waiting[stream].pop(0)
            if self.waiting[stream]:
                self.waiting[stream][0] = (self.waiting[stream][0][0], self.now_ns)
            expected.append((stream, number))
            self.served_at[stream] = self.serving
            self.serving += 1
        assert list(take.items) == expected
        self.in_flight += len(expected)

    def choose(self) -> StreamId | None:
        ready = sorted((s for s, line in self.waiting.items() if line), key=lambda s: self.served_at[s])
        files = [stream for stream in ready if self.lossless[stream]]
        live = [stream for stream in ready if not self.lossless[stream]]
        if not files:
            self.since_file = 0
            return self.choose_live(live) if live else None
        if not live or self.since_file >= FILE_SHARE - 1:
            self.since_file = 0
            return files[0]
        self.since_file += 1
        return self.choose_live(live)

    def choose_live(self, ready: list[StreamId]) -> StreamId:
        """`ready`: longest unserved first."""
        alike = ready[: math.ceil(len(ready) / ALIKE)]
        overdue = self.serving - self.served_at[ready[0]] > ROUNDS * len(ready)
        fresh = [s for s in alike if self.newest_ns[s] * len(ready) >= sum(self.newest_ns[other] for other in ready)]
        newest = max(alike, key=lambda stream: self.newest_ns[stream])
        return ready[0] if overdue or len(ready) <= ALIKE else next(iter(fresh), newest)

    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(0, self.in_flight))
        self.batcher.done(count)
        self.in_flight -= count

    @invariant()
    def counts_agree(self) -> None:
        if hasattr(self, "batcher"):
            assert len(self.batcher) == sum(map(len, self.waiting.values()))
            assert self.batcher.in_flight == self.in_flight


TestBatcherAgainstModel = BatcherAgainstModel.TestCase
TestBatcherAgainstModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_live_stream_keeps_only_its_newest_frame() -> None:
    batcher: Batcher[str] = Batcher({A: False})
    assert batcher.offer(A, "old", 0) is None
    assert batcher.offer(A, "new", 1) == "old"
    assert batcher.take(8, 2).items == ("new",)


def test_the_stream_longest_unserved_comes_first() -> None:
    batcher: Batcher[str] = Batcher({A: False, B: False, C: False})
    for stream in (C, B, A):
        batcher.offer(stream, stream, 0)
    assert batcher.take(1, 0).items == ("a",)
    batcher.offer(A, "a again", 1)
    assert batcher.take(2, 1).items == ("b", "c")
    assert batcher.take(2, 1).items == ("a again",)


def test_of_streams_unserved_alike_one_with_a_fresh_frame_comes_first() -> None:
    streams = [StreamId(name) for name in "abcdefgh"]
    batcher: Batcher[str] = Batcher(dict.fromkeys(streams, False))
    for now_ns, stream in enumerate("acdefghb"):
        batcher.offer(StreamId(stream), stream, now_ns)
    assert batcher.take(1, 8).items == ("b",), "unserved as long as a is, and its frame is newer"
    batcher.offer(B, "b again", 9)
    batcher.offer(A, "a's next", 10)
    assert batcher.take(1, 11).items == ("a's next",)


@given(count=st.integers(1, 40), place=st.integers(0, 39), limit=st.sampled_from([1, 1, 4]))
def test_a_camera_whose_frame_is_always_the_oldest_has_its_turn(count: int, place: int, limit: int) -> None:
    streams = [StreamId(f"s{number}") for number in range(count)]
    slow = streams[place % count]
    batcher: Batcher[StreamId] = Batcher(dict.fromkeys(streams, False))
    batcher.offer(slow, slow, 0)
    taken: list[StreamId] = []
    for now_ns in range(1, 200):
        for stream in streams:
            if stream != slow:
                batcher.offer(stream, stream, now_ns)
        taken += batcher.take(limit, now_ns).items
    assert slow in taken[: ROUNDS * count + 1]
    others = [taken.count(stream) for stream in streams if stream != slow]
    assert max(others, default=0) - min(others, default=0) <= ROUNDS


def test_a_waiting_file_gets_one_frame_in_eight_when_calls_take_one() -> None:
    batcher: Batcher[str] = Batcher({A: False, B: True})
    for _ in range(20):
        batcher.offer(B, "file", 0)
    taken = []
    for now_ns in range(80):
        batcher.offer(A, "live", now_ns)
        taken.extend(batcher.take(1, now_ns).items)
    assert taken.count("file") == 80 // FILE_SHARE


def test_a_lone_frame_waits_for_company_only_while_the_engine_is_busy() -> None:
    batcher: Batcher[str] = Batcher({A: False, B: False}, wait_ns=1000)
    batcher.offer(A, "first", 0)
    assert batcher.take(2, 0).items == ("first",)
    batcher.offer(B, "second", 10)
    assert batcher.take(2, 20).wake_at_ns == 1010
    assert batcher.take(2, 1010).items == ("second",)
    batcher.offer(A, "third", 1020)
    batcher.done(2)
    assert batcher.take(2, 1021).items == ("third",)


def test_bad_arguments_are_refused() -> None:
    batcher: Batcher[str] = Batcher({A: False})
    with pytest.raises(ValueError, match="expected at least 1, got 0"):
        batcher.take(0, 0)
    with pytest.raises(ValueError, match=r"expected 0..0, got 1"):
        batcher.done(1)
