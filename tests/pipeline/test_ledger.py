"""The ledger against a plain model; and that it cannot be talked into balancing."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pipeline.ledger import Ledger
from stages.types import StreamId
from vedette.errors import LedgerError

GATE, YARD = StreamId("gate"), StreamId("yard")
SINKS = ("redis", "jsonl")


class LedgerAgainstModel(RuleBasedStateMachine):
    """Any order of happenings: after each, every account balances and says what a plain count says."""

    @initialize()
    def build(self) -> None:
        self.ledger = Ledger()
        self.alive: dict[StreamId, set[int]] = {}
        self.ends: dict[StreamId, dict[str, int]] = {}
        for stream in (GATE, YARD):
            self.ledger.open_stream(stream)
            self.alive[stream] = set()
            self.ends[stream] = dict.fromkeys(("published", "rate_limited", "superseded", "failed", "abandoned"), 0)
        for sink in SINKS:
            self.ledger.open_sink(sink)
        self.held = {sink: {"waiting": 0, "spooled": 0} for sink in SINKS}
        self.next_seq = 0
        self.events = 0

    @rule(stream=st.sampled_from([GATE, YARD]))
    def decode(self, stream: StreamId) -> None:
        self.ledger.decoded(stream, self.next_seq)
        self.alive[stream].add(self.next_seq)
        self.next_seq += 1

    @rule(
        stream=st.sampled_from([GATE, YARD]),
        how=st.sampled_from(["published", "rate_limited", "superseded", "failed", "abandoned"]),
        data=st.data(),
    )
    def end(self, stream: StreamId, how: str, data: st.DataObject) -> None:
        if not self.alive[stream]:
            with pytest.raises(LedgerError, match="was not in flight"):
                self.ledger.abandoned(stream, 10**9)
            return
        seq = data.draw(st.sampled_from(sorted(self.alive[stream])))
        arguments = ("engine",) if how == "failed" else ()
        getattr(self.ledger, how)(stream, seq, *arguments)
        with pytest.raises(LedgerError, match="was not in flight"):
            getattr(self.ledger, how)(stream, seq, *arguments)
        self.alive[stream].remove(seq)
        self.ends[stream][how] += 1
        if how == "published":
            for sink in SINKS:
                self.held[sink]["waiting"] += 1

    @rule()
    def event(self) -> None:
        self.ledger.event()
        self.events += 1
        for sink in SINKS:
            self.held[sink]["waiting"] += 1

    @rule(
        sink=st.sampled_from(SINKS),
        source=st.sampled_from(["waiting", "spooled"]),
        move=st.sampled_from(["delivered", "dropped", "spooled"]),
        count=st.integers(0, 3),
    )
    def settle(self, sink: str, source: str, move: str, count: int) -> None:
        if move == "spooled":
            source = "waiting"
        held = self.held[sink]

        def act() -> None:
            if move == "delivered":
                self.ledger.delivered(sink, count, source=source)  # type: ignore[arg-type]
            elif move == "dropped":
                self.ledger.dropped(sink, "queue_full", count, source=source)  # type: ignore[arg-type]
            else:
                self.ledger.spooled(sink, count)

        if count > held[source]:
            with pytest.raises(LedgerError, match="which holds"):
                act()
            return
        act()
        held[source] -= count
        if move == "spooled":
            held["spooled"] += count

    @rule(sink=st.sampled_from(SINKS), count=st.integers(0, 3))
    def recover(self, sink: str, count: int) -> None:
        self.ledger.recovered(sink, count)
        self.held[sink]["spooled"] += count

    @invariant()
    def balances(self) -> None:
        if not hasattr(self, "ledger"):
            return
        totals = self.ledger.totals()
        assert totals.problems == []
        for stream, ends in self.ends.items():
            account = totals.streams[stream]
            assert account.in_flight == len(self.alive[stream])
            assert account.published == ends["published"]
            assert account.failed.get("engine", 0) == ends["failed"]
            assert account.decoded == sum(ends.values()) + len(self.alive[stream])
        for sink in SINKS:
            assert totals.sinks[sink].waiting == self.held[sink]["waiting"]
            assert totals.sinks[sink].spooled == self.held[sink]["spooled"]
        assert totals.events == self.events


TestLedgerAgainstModel = LedgerAgainstModel.TestCase
TestLedgerAgainstModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_frame_that_is_decoded_twice_is_our_fault() -> None:
    ledger = Ledger()
    ledger.open_stream(GATE)
    ledger.decoded(GATE, 1)
    with pytest.raises(LedgerError, match="stream gate: frame 1 was decoded twice"):
        ledger.decoded(GATE, 1)


def test_a_forgotten_frame_stays_in_flight() -> None:
    ledger = Ledger()
    ledger.open_stream(GATE)
    ledger.decoded(GATE, 1)
    assert ledger.totals().streams[GATE].in_flight == 1
    assert ledger.in_flight(GATE) == {1}
