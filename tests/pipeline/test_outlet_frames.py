"""One stream's frames on their way to Redis: a plain object, a plain model."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.outgoing import OutgoingFrame
from pipeline.outlet_frames import BATCH, LIVE_FRAMES, StreamFrames
from stages.sink.entry_id import NONE, EntryId
from stages.types import StreamId
from tests.pipeline.test_gaps import FRAME, frame
from vedette.messages import encode_message

NOW_NS = FRAME.wall_ns


def item(n: int, *, lossless: bool = False) -> OutgoingFrame:
    message = frame(n)
    return OutgoingFrame(
        stream=StreamId("cam"),
        message=message,
        encoded=encode_message(message),
        lossless=lossless,
        settled=lambda *_: None,
    )


def ns(frames: list[OutgoingFrame]) -> list[int]:
    return [frame.message.n for frame in frames]


@given(st.lists(st.booleans(), max_size=300))
def test_a_full_queue_gives_up_its_oldest_live_frame_only(kinds: list[bool]) -> None:
    stream, model, dropped = StreamFrames(), list[OutgoingFrame](), list[OutgoingFrame]()
    for n, lossless in enumerate(kinds):
        model.append(item(n, lossless=lossless))
        out = stream.push(model[-1])
        if out is not None:
            dropped.append(out)
            model.remove(out)
            assert not any(not frame.lossless for frame in model[: max(0, ns(model).index(n) - LIVE_FRAMES)])
    assert list(stream.queue) == model
    assert stream.live == sum(not frame.lossless for frame in model) <= LIVE_FRAMES
    assert ns(dropped) == sorted(ns(dropped))
    assert not any(frame.lossless for frame in dropped)


def test_what_may_have_landed_keeps_its_id_and_stays_first() -> None:
    stream = StreamFrames()
    for n in (1, 2):
        stream.push(item(n))
    stream.take()
    first = stream.entries(NOW_NS)
    stream.mark_sent()
    stream.push(item(3))
    stream.take()
    stream.last_id_is(NONE)
    assert stream.entries(NOW_NS + 5_000_000_000) == first[:1]
    assert not stream.stranger_wrote
    assert ns(stream.pop_done(1)) == [1]
    again = stream.entries(NOW_NS + 5_000_000_000)
    assert again[0] == first[1]
    assert again[1][0] > first[1][0]
    assert ns(stream.drop_under_way(lossless=False, sent=False)) == [3]
    assert ns(stream.pop_done(1)) == [2]
    assert stream.last_id == first[1][0]


def test_what_a_link_cannot_take_at_once_goes_in_parts_until_it_can() -> None:
    stream, most, written, unanswered = StreamFrames(), 5, list[int](), 0
    for n in range(200):
        stream.push(item(n, lossless=True))
    while len(written) < 200:
        stream.take()
        entries = stream.entries(NOW_NS)
        if len(entries) > most:
            stream.mark_sent()
            unanswered += 1
            most += len(written) // 20  # the link gets better
            continue
        written += ns(stream.pop_done(len(entries)))
    assert written == list(range(200))
    assert unanswered < 100


def test_what_was_refused_gets_a_new_id() -> None:
    stream = StreamFrames()
    stream.push(item(1, lossless=True))
    stream.take()
    before = stream.entries(NOW_NS)
    stream.last_id_is(EntryId(before[0][0].ms + 10_000, 5))
    assert stream.entries(NOW_NS)[0][0] == EntryId(before[0][0].ms + 10_000, 6)


def test_a_last_id_of_nobody_we_know_is_a_strangers() -> None:
    stream = StreamFrames()
    stream.push(item(1))
    stream.take()
    stream.last_id_is(EntryId(5, 0))
    (sent,) = stream.entries(NOW_NS)
    stream.mark_sent()
    stream.last_id_is(sent[0])
    assert not stream.stranger_wrote
    stream.last_id_is(EntryId(sent[0].ms + 1, 0))
    assert stream.stranger_wrote


def test_a_batch_is_bounded() -> None:
    stream = StreamFrames()
    for n in range(BATCH + 10):
        stream.push(item(n, lossless=True))
    stream.take()
    assert len(stream.entries(NOW_NS)) == BATCH
    assert len(stream.queue) == 10
