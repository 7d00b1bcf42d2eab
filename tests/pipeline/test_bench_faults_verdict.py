"""The verdict, held to made-up runs: a good one passes, and each broken promise is found where it was broken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.bench.faults.recovery import Strike, Wait, calm_times, check_recovery, redis_backoff_ns
from pipeline.bench.faults.sampler import Sample, growth
from pipeline.bench.faults.schedule import FILE
from pipeline.bench.faults.subscriber import Seen
from pipeline.bench.faults.verdict import LifeSeen, check_end, check_growth, judge
from tests.support.published import event, frame
from vedette.messages import EventMessage, FrameMessage, GapEvent, encode_message

S = 1_000_000_000
SUMMARY = {
    "ledger_problems": [],
    "ledger": {
        "streams": {
            "gate": {
                "decoded": 12, "published": 10, "rate_limited": 0, "superseded": 2, "failed": {}, "abandoned": 0,
                "in_flight": 0,
            },
        },
        "sinks": {
            "redis": {
                "accepted_frames": 10, "accepted_events": 5, "recovered": 0, "gaps": 0, "delivered": 15, "dropped": {},
                "spooled": 0, "waiting": 0,
            },
        },
    },
}  # fmt: skip


def seen(message: FrameMessage | EventMessage, at_s: float, *, stream: str = "gate", era: int = 0, k: int = 0) -> Seen:
    where = stream if isinstance(message, FrameMessage) else "events"
    raw = encode_message(message)
    return Seen(at_ns=int(at_s * S), era=era, stream=where, id=(int(at_s * 1000), k), raw=raw, message=message)


def life(summary: Any = SUMMARY, **changes: Any) -> LifeSeen:
    values: dict[str, Any] = {
        "started_ns": 0,
        "asked_ns": 100 * S,
        "ended_ns": 101 * S,
        "killed": False,
        "status": 0,
        "summary": summary,
        "leased": frozenset(),
        "log": (),
    }
    return LifeSeen(**{**values, **changes})


def good() -> list[Seen]:
    """Ten frames of one run and five events, one each second."""
    entries = [seen(frame(n), n) for n in range(1, 11)] + [seen(event(n), n + 0.5) for n in range(1, 6)]
    return sorted(entries, key=lambda entry: entry.at_ns)


def verdict(entries: Sequence[Seen], lives: Sequence[LifeSeen] | None = None) -> list[str]:
    return [f"{one.promise}: {one.whom}" for one in judge(entries, lives or [life()])]


def without(entries: list[Seen], **wanted: Any) -> list[Seen]:
    (n,) = wanted.values()
    where = "events" if "event" in wanted else "gate"
    return [entry for entry in entries if not (entry.stream == where and entry.message.n == n)]


def test_a_good_run_breaks_nothing() -> None:
    assert verdict(good()) == []


def test_event_that_is_missing() -> None:
    assert verdict(without(good(), event=3)) == ["events once and in order: spool-1"]


def test_event_that_came_twice() -> None:
    assert verdict([*good(), seen(event(5), 20)]) == ["events once and in order: spool-1"]


def test_events_out_of_order() -> None:
    entries = [*without(good(), event=2), seen(event(2), 20)]
    assert verdict(entries)[0] == "events once and in order: spool-1"


def test_server_that_forgot_may_have_events_again_but_no_others() -> None:
    again = [seen(event(n), 20 + n, era=1) for n in (4, 5, 6)]

    assert verdict([*good(), *again]) == []
    assert verdict([*good(), seen(event(7), 30, era=1)]) == ["events once and in order: spool-1"]
    changed = msgspec.structs.replace(event(4), score=0.25)
    assert verdict([*good(), seen(changed, 20, era=1)]) == ["repeats are the same: events"]


def test_frame_that_is_missing_and_untold() -> None:
    assert verdict(without(good(), frame=4)) == ["no hole but told ones: gate"]


def test_frame_that_is_missing_and_told() -> None:
    gap = GapEvent(
        producer="spool-1",
        n=6,
        stream="gate",
        run="run-1",
        wall_ns=1,
        what="frames",
        count=1,
        first=4,
        last=4,
        reason="x",
    )
    assert verdict([*without(good(), frame=4), seen(gap, 20)]) == []


def test_hole_that_a_kill_left_untold_is_forgiven_only_close_to_it() -> None:
    entries = without(good(), frame=4)

    assert verdict(entries, [life(killed=True, asked_ns=7 * S)]) == []
    assert verdict(entries, [life(killed=True, asked_ns=60 * S)]) == ["no hole but told ones: gate"]


def test_hole_that_could_be_told_to_no_disk_is_forgiven_only_where_it_was_away_to_the_end() -> None:
    entries = without(good(), frame=4)

    assert verdict(entries, [life(disk_away_ns=5 * S)]) == []
    assert verdict(entries, [life(disk_away_ns=60 * S)]) == ["no hole but told ones: gate"]


def test_frames_out_of_order() -> None:
    assert "frames in order: gate" in verdict([*good(), seen(frame(3), 20)])


def test_run_that_writes_again_after_another() -> None:
    entries = [*good(), seen(frame(1, run="run-2"), 20), seen(frame(11), 21)]
    assert "frames in order: gate" in verdict(entries)


def test_time_of_capture_that_falls_within_an_epoch() -> None:
    late = msgspec.structs.replace(frame(11), wall_ns=frame(9).wall_ns)
    assert "frames in order: gate" in verdict([*good(), seen(late, 20)])


def test_file_is_read_anew_by_each_process_and_no_more_often() -> None:
    pass_of = [seen(frame(n, FILE), n, stream=FILE) for n in range(1, 4)]
    again = [seen(frame(n, FILE), 10 + n, stream=FILE) for n in range(1, 4)]
    once_more = [seen(frame(n, FILE), 20 + n, stream=FILE) for n in range(1, 4)]
    dead = life(killed=True)

    assert verdict([*pass_of, *again], [dead, dead]) == []
    assert verdict([*pass_of, *again, *once_more], [dead]) == [f"frames in order: {FILE}"]


def test_ledger_that_does_not_balance() -> None:
    text = msgspec.json.encode(SUMMARY).replace(b'"decoded":12', b'"decoded":13')
    assert verdict(good(), [life(msgspec.json.decode(text))]) == ["every ledger closes: gate"]


def test_frames_that_the_ledger_calls_published_and_nobody_saw() -> None:
    text = msgspec.json.encode(SUMMARY).replace(b'"published":10', b'"published":12').replace(b'"superseded":2', b'"superseded":0')  # fmt: skip # noqa: E501
    assert verdict(good(), [life(msgspec.json.decode(text))]) == ["every ledger closes: gate"]
    assert verdict(good(), [life(msgspec.json.decode(text), disk_away_ns=99 * S)]) == []


def test_process_that_ends_badly() -> None:
    assert verdict(good(), [life(status=70)]) == ["a process ends as it should: process"]
    assert verdict(good(), [life(log=("Traceback (most recent call last):",))]) == [
        "a process ends as it should: process"
    ]
    assert verdict(good(), [life(status=3)]) == ["a process ends as it should: process"]
    assert verdict(good(), [life(status=3, leased=frozenset({"gate"}))]) == []


def test_end_wants_the_last_promised_event_and_the_whole_file() -> None:
    whole = [*good(), *(seen(frame(n, FILE), n, stream=FILE) for n in range(1, 4))]

    assert list(check_end(whole, life(), {"spool-1": 5}, 3)) == []
    assert [one.promise for one in check_end(whole, life(), {"spool-1": 6}, 3)] == ["events once and in order"]
    assert [one.promise for one in check_end(whole, life(), {"spool-1": 5}, 4)] == ["a file loses nothing"]


# ── recovery ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def times(*at_s: float) -> list[int]:
    return [int(at * S) for at in at_s]


def every(first_s: float, last_s: float) -> list[int]:
    return times(*(first_s + 0.1 * step for step in range(int((last_s - first_s) * 10) + 1)))


STRIKE = Strike(begin_ns=10 * S, end_ns=12 * S)


def test_frames_that_come_back_in_time() -> None:
    found = check_recovery([STRIKE], every(0, 10) + every(13, 30), [], 30 * S, 2 * S)

    assert (found.checked, found.silences) == (1, ())
    assert found.slowest_ns == pytest.approx(S, abs=S / 5)


def test_frames_that_come_back_too_late_or_never() -> None:
    late = check_recovery([STRIKE], every(0, 10) + every(15, 30), [], 30 * S, 2 * S)
    never = check_recovery([STRIKE], every(0, 10), [], 30 * S, 2 * S)

    assert [silence.came_ns for silence in late.silences] == [15 * S]
    assert [silence.came_ns for silence in never.silences] == [None]


def test_back_off_that_was_told_is_added() -> None:
    waits = [Wait(at_ns=11 * S, wait_ns=4 * S)]

    assert check_recovery([STRIKE], every(0, 10) + every(16, 30), waits, 30 * S, 2 * S).silences == ()
    assert check_recovery([STRIKE], every(0, 10) + every(18, 30), waits, 30 * S, 2 * S).silences != ()


def test_camera_that_goes_on_failing_after_the_fault_is_found() -> None:
    waits = [Wait(at_ns=at * S, wait_ns=3 * S) for at in range(13, 40, 4)]
    assert check_recovery([STRIKE], every(0, 10), waits, 40 * S, 2 * S).silences != ()


def test_silence_in_the_middle_of_a_calm_time_is_found() -> None:
    frames = every(0, 10) + every(12.5, 20) + every(25, 30)
    found = check_recovery([STRIKE], frames, [], 30 * S, 2 * S)
    assert [silence.due_ns for silence in found.silences] == [pytest.approx(22 * S, abs=S / 5)]


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 100))))
def test_calm_times_are_what_no_strike_covers(spans: list[tuple[int, int]]) -> None:
    strikes = [Strike(begin_ns=begin, end_ns=begin + length) for begin, length in spans]
    calm = calm_times(strikes, 1200)

    first = min((begin for begin, _ in spans), default=1200)
    covered = {at for begin, length in spans for at in range(begin, begin + length)}
    got = {at for begin, end, _ in calm for at in range(begin, end)}
    assert got == set(range(first, 1200)) - covered if spans else calm == []


@given(st.lists(st.floats(0.5, 1.0), min_size=1, max_size=30))
def test_no_back_off_of_redis_is_longer_than_its_bound(jitter: list[float]) -> None:
    passed_ns = 0
    for attempt, share in enumerate(jitter):
        pause_ns = int(min(5 * S, (S // 10) << attempt) * share)
        assert pause_ns <= redis_backoff_ns(passed_ns)
        passed_ns += pause_ns


# ── what a process holds ─────────────────────────────────────────────────────────────────────────────────────────────

MIB = 1 << 20


def looks(seconds: int, *, mib: float = 0.0, threads: float = 0.0, files: float = 0.0, pid: int = 7) -> list[Sample]:
    """A look a second at a process that settles within its first 600 s and then gains so much an hour, with noise."""
    return [
        Sample(
            pid=pid,
            at_ns=second * S,
            rss_bytes=int((300 + min(second, 600) / 10 + mib * second / 3600 + second % 3) * MIB),
            threads=int(40 + threads * second / 3600 + second % 2),
            open_files=int(60 + files * second / 3600 + second % 5),
            problems=(),
        )
        for second in range(seconds)
    ]


def test_what_a_process_gains_in_its_warm_up_is_no_growth() -> None:
    grown = growth(looks(7200), 120)

    assert grown is not None
    assert grown.warm_up_s == 720
    assert abs(grown.rss_slope_mib) < 0.05
    assert grown.rss_mib == (361, 361)
    assert len(grown.trace) <= 800
    assert list(check_growth(grown, 0)) == []


@pytest.mark.parametrize(
    ("gain", "said"), [({"mib": 1.5}, "1.5"), ({"threads": 3.0}, "threads"), ({"files": 3.0}, "files")]
)
def test_a_leak_is_found(gain: dict[str, float], said: str) -> None:
    grown = growth(looks(7200, **gain), 120)

    assert grown is not None
    (broken,) = check_growth(grown, 9)
    assert (broken.promise, broken.at_ns) == ("nothing grows", 9)
    assert said in broken.what


def test_growth_is_of_the_longest_life_and_of_no_short_one() -> None:
    assert growth([], 2) is None
    assert growth(looks(45), 2) is None
    grown = growth([*looks(90, pid=1), *looks(60, pid=2)], 2)
    assert grown is not None
    assert grown.seconds == 69
    assert list(check_growth(grown, 0)) == []  # +360 MiB an hour, but over a minute
