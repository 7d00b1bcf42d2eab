"""The door of a stream: everything that goes in is accounted for, and nothing goes in once it is shut."""

from __future__ import annotations

import threading

import pytest

from pipeline.ledger import StreamTotals
from stages.types import Reason, State
from tests.support.core import LIMIT_S, Core
from tests.support.scripted_engine import ScriptedEngine
from vedette.errors import LedgerError
from vedette.messages import FrameMessage, StreamState


@pytest.fixture
def core() -> Core:
    return Core(ScriptedEngine(), {"cam": False, "file": True})


def test_every_way_a_frame_can_go_is_counted(core: Core) -> None:
    entrance = core.entrances["cam"]
    for seq, end in enumerate((entrance.rate_limited, lambda seq: entrance.failed(seq, "no_timestamp"))):
        entrance.decoded(seq)
        end(seq)
    entrance.decoded(2)
    assert core.totals("cam").in_flight == 1
    entrance.abandoned(2)
    entrance.packets_damaged(2)
    entrance.packets_lost(3)
    entrance.reconnected(Reason.STALL)
    totals = core.totals("cam")
    assert (totals.decoded, totals.rate_limited, totals.failed, totals.abandoned) == (3, 1, {"no_timestamp": 1}, 1)
    assert (totals.packets_damaged, totals.packets_lost, totals.reconnections) == (2, 3, {"stall": 1})
    assert totals.balances


def test_a_frame_counted_twice_is_our_fault(core: Core) -> None:
    entrance = core.entrances["cam"]
    entrance.decoded(0)
    entrance.rate_limited(0)
    with pytest.raises(LedgerError, match="frame 0 ended as rate_limited, but it was not in flight"):
        entrance.rate_limited(0)


def test_a_source_that_waits_for_a_credit_is_woken_by_the_stop_and_gives_its_frame_up(core: Core) -> None:
    core.start()
    core.outlet.at_once = False
    for _ in range(8):
        core.offer("file")
    core.outlet.wait_frames(8)
    entrance = core.entrances["file"]
    got: list[bool] = []

    def next_frame() -> None:
        entrance.decoded(8)
        got.append(entrance.wait_credit())
        entrance.abandoned(8)

    source = threading.Thread(target=next_frame, daemon=True)
    source.start()
    source.join(0.05)
    assert source.is_alive()
    assert not entrance.is_settled()
    entrance.stop_waiting()
    source.join(LIMIT_S)
    assert got == [False]
    core.outlet.settle_all()
    assert entrance.is_settled()
    core.stop()
    assert core.totals("file").abandoned == 1


def test_nothing_that_comes_after_the_door_is_shut_is_counted_or_let_in(core: Core) -> None:
    core.start()
    core.offer("cam")
    core.outlet.wait_frames(1)
    entrance = core.entrances["cam"]
    core.stop()
    before = core.totals("cam")
    entrance.decoded(1)
    entrance.rate_limited(1)
    entrance.failed(1, "no_timestamp")
    entrance.abandoned(1)
    core.offer("cam")
    core.change("cam", State.STOPPED)
    entrance.packets_damaged(1)
    entrance.packets_lost(1)
    entrance.reconnected(Reason.STALL)
    assert core.totals("cam") == before
    assert len(core.outlet.items) == 1


@pytest.mark.parametrize(("source_left", "abandoned"), [(True, 1), (False, 0)])
def test_the_frame_in_the_hands_of_a_source_is_abandoned_if_that_is_left_behind_and_else_forgotten(
    core: Core, source_left: bool, abandoned: int
) -> None:
    entrance = core.entrances["cam"]
    entrance.decoded(0)
    entrance.close(source_left=source_left)
    totals: StreamTotals = core.totals("cam")
    assert (totals.abandoned, totals.in_flight) == (abandoned, 1 - abandoned)
    entrance.rate_limited(0)  # the source comes back with it, too late
    assert core.totals("cam") == totals


def test_a_change_of_state_comes_out_between_the_frames_it_was_told_between(core: Core) -> None:
    core.offer("file")
    core.change("file", State.STREAMING)
    core.offer("file")
    core.change("file", State.ENDED)
    assert core.outlet.items == []
    core.start()
    core.outlet.wait_frames(2)
    core.stop()
    story = [
        item.message.seq if isinstance(item.message, FrameMessage) else item.message.state
        for item in core.outlet.items
        if isinstance(item.message, FrameMessage | StreamState)
    ]
    assert story == [0, "streaming", 1, "ended"]


def test_a_live_stream_has_nothing_to_wait_for(core: Core) -> None:
    assert core.entrances["cam"].wait_credit()
    core.entrances["cam"].stop_waiting()
    assert core.entrances["cam"].wait_credit()
    assert core.entrances["cam"].is_settled()
