"""The verdict: what a subscriber saw, held to what DESIGN.md promises. Pure: no clock, no thread, no server.

In:  entries as they were read (`Seen`), faults as they were done, lives of the process with their summaries.
Out: violations. Each check says the one promise that it looks at; `judge` puts them together in order of time.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.bench.faults.report import Growth
from pipeline.bench.faults.schedule import FILE
from pipeline.bench.faults.subscriber import Seen
from vedette.messages import FrameMessage, GapEvent

_S = 1_000_000_000
# A gap is told within a second of its first drop once it can be; who is killed before has not told it.
_GAP_GRACE_NS = 4 * _S
_TELL_NS = _S
_MOST = 50
_MOST_AN_HOUR = 1.0
_LONG_ENOUGH_S = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A promise broken at `at_ns` (monotonic)."""

    at_ns: int
    promise: str
    whom: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LifeSeen:
    """One life of the process. `asked_ns`: when it was told to end; `leased`: streams whose lease another had.

    `disk_away_ns`: since when its disk had taken nothing when it ended: what it had to tell it could promise to nobody.
    """

    started_ns: int
    asked_ns: int
    ended_ns: int
    killed: bool
    status: int | None
    summary: Any
    leased: frozenset[str]
    disk_away_ns: int | None = None
    log: Sequence[str] = field(default_factory=tuple)


def judge(seen: Sequence[Seen], lives: Sequence[LifeSeen]) -> list[Broken]:
    """All that follows from entries and lives alone, in order of time."""
    checks = (
        check_events(seen),
        check_repeats(seen),
        check_frame_order(seen, lives),
        check_holes(seen, lives),
        check_lives(lives),
        check_ledgers(seen, lives),
    )
    return limited(itertools.chain.from_iterable(checks))


def limited(broken: Iterable[Broken]) -> list[Broken]:
    """In order of time, at most 50 of each promise."""
    count: Counter[str] = Counter()
    kept = []
    for one in sorted(broken, key=lambda one: one.at_ns):
        count[one.promise] += 1
        if count[one.promise] <= _MOST:
            kept.append(one)
    return kept


# ── events ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def check_events(seen: Sequence[Seen]) -> Iterator[Broken]:
    """Each producer's events once, in order of `n` from 1, without a hole; a server that lost its data may repeat."""
    known: dict[str, int] = {}
    for era, entries in itertools.groupby(_events(seen), key=lambda entry: entry.era):
        last: dict[str, int] = {}
        for entry in entries:
            producer, n = entry.message.producer, entry.message.n  # type: ignore[union-attr] # events have both
            before = last.get(producer)
            expected = before + 1 if before is not None else known.get(producer, 0) + 1
            again = before is None and era > 0 and 1 <= n <= expected
            if n != expected and not again:
                how = "came twice or out of order" if n < expected else f"is missing before {n}"
                what = f"event {min(n, expected)} of producer {producer} {how} (expected {expected}, got {n})"
                yield Broken(at_ns=entry.at_ns, promise="events once and in order", whom=producer, what=what)
            last[producer] = n
            known[producer] = max(known.get(producer, 0), n)


def check_repeats(seen: Sequence[Seen]) -> Iterator[Broken]:
    """What comes again, because a server forgot it or a file is read anew, is the same, byte for byte."""
    first: dict[tuple[str, str, int], bytes] = {}
    for entry in seen:
        message = entry.message
        owner = message.run if isinstance(message, FrameMessage) else message.producer
        key = (entry.stream, owner, message.n)
        raw = first.setdefault(key, entry.raw)
        if raw != entry.raw:
            what = f"{owner} n={message.n} was {_short(raw)} and came again as {_short(entry.raw)}"
            yield Broken(at_ns=entry.at_ns, promise="repeats are the same", whom=entry.stream, what=what)


# ── frames ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def check_frame_order(seen: Sequence[Seen], lives: Sequence[LifeSeen]) -> Iterator[Broken]:
    """Ids rise; by run `n`, `seq` and epochs rise, times of capture never fall in an epoch; no run comes back."""
    for (stream, _), entries in _by_stream(seen).items():
        over: set[str] = set()
        begins = 0
        for before, entry in itertools.pairwise([None, *entries]):
            assert entry is not None
            now = _frame(entry)
            if before is None:
                continue
            then = _frame(before)
            if entry.id <= before.id:
                yield _disorder(entry, f"id {entry.id} came after {before.id}")
            if now.run != then.run:
                over.add(then.run)
                if now.run in over:
                    yield _disorder(entry, f"run {now.run} writes again after run {then.run}: two writers")
                continue
            if stream == FILE and now.n <= then.n and begins < len(lives):
                begins += 1  # the file is read anew by the next process, as the same run
                continue
            if now.n <= then.n or now.seq <= then.seq or now.epoch < then.epoch:
                yield _disorder(entry, f"{_place(now)} came after {_place(then)}")
            elif now.epoch == then.epoch and now.wall_ns < then.wall_ns:
                yield _disorder(entry, f"{_place(now)}: captured {then.wall_ns - now.wall_ns} ns before the one before")


def check_holes(seen: Sequence[Seen], lives: Sequence[LifeSeen]) -> Iterator[Broken]:
    """A run's `n` counts from 1 without a hole, but for what a gap tells, a server forgot, or a kill left untold."""
    told = _told(seen)
    for (stream, run), entries in _by_run(seen).items():
        if stream == FILE:
            continue  # lossless, and read anew by each process: `check_ledgers`
        previous: Seen | None = None
        for entry in entries:
            n, last = _frame(entry).n, 0 if previous is None else _frame(previous).n
            missing = set(range(last + 1, n)) - told.get((stream, run), set())
            forgot = previous is not None and previous.era != entry.era
            if missing and not forgot and not any(_untold(entry, life) for life in lives):
                what = f"run {run}: frames {_spans(missing)} are neither there nor told as a gap"
                yield Broken(at_ns=entry.at_ns, promise="no hole but told ones", whom=stream, what=what)
            previous = entry


def _untold(entry: Seen, life: LifeSeen) -> bool:
    """Whether a hole before this entry is one that the process had no way, or no time, to tell of before its end."""
    if life.killed and 0 <= life.asked_ns - entry.at_ns <= _GAP_GRACE_NS:
        return True
    return life.disk_away_ns is not None and life.disk_away_ns - _TELL_NS <= entry.at_ns <= life.ended_ns


# ── lives ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def check_lives(lives: Sequence[LifeSeen]) -> Iterator[Broken]:
    """A process that is told to end ends with 0 (3 if a lease was taken from it), without a traceback."""
    for life in lives:
        trace = next((line for line in life.log if "Traceback" in line or '"exception"' in line), None)
        if trace is not None:
            yield _life_broken(life, f"an exception in the log: {trace[-400:]}")
        if life.killed:
            continue
        expected = {0, 3} if life.leased else {0}
        if life.status not in expected:
            said = life.log[-1][-300:] if life.log else "nothing"
            yield _life_broken(life, f"exit status {life.status}, expected {sorted(expected)}; its last line: {said}")


def check_ledgers(seen: Sequence[Seen], lives: Sequence[LifeSeen]) -> Iterator[Broken]:
    """Every ledger closes, nothing is left in flight, and what it calls published is in the stream or told as a gap."""
    told, runs = _told(seen), _by_run(seen)
    for life in lives:
        if life.killed:
            continue
        if life.summary is None:
            yield _ledger_broken(life, "", "it ended without a summary")
            continue
        for problem in life.summary["ledger_problems"]:
            yield _ledger_broken(life, "", str(problem))
        ledger = life.summary["ledger"]
        for name, stream in ledger["streams"].items():
            ends = sum(stream[key] for key in ("published", "rate_limited", "superseded", "abandoned", "in_flight"))
            if stream["decoded"] != ends + sum(stream["failed"].values()) or stream["in_flight"]:
                yield _ledger_broken(life, name, f"it does not balance: {stream}")
            if name == FILE or name in life.leased:
                continue
            run = _run_of(life, name, runs)
            if run is None:
                continue
            entries = runs[name, run]
            missing = (
                set(range(1, stream["published"] + 1))
                - {_frame(entry).n for entry in entries}
                - told.get((name, run), set())
            )
            last = max(_frame(entry).n for entry in entries)
            tail = {n for n in missing if n > last}
            forgot = any(entry.era != entries[-1].era for entry in seen if entry.at_ns > entries[-1].at_ns)
            if tail and not forgot and life.disk_away_ns is None:
                yield _ledger_broken(
                    life, name, f"run {run}: frames {_spans(tail)} are neither there nor told as a gap"
                )
            if last > stream["published"]:
                what = f"run {run}: frame {last} is in the stream, only {stream['published']} were published"
                yield _ledger_broken(life, name, what)
        for name, sink in ledger["sinks"].items():
            taken = sum(sink[key] for key in ("accepted_frames", "accepted_events", "recovered", "gaps"))
            if taken != sink["delivered"] + sum(sink["dropped"].values()) + sink["spooled"] + sink["waiting"]:
                yield _ledger_broken(life, name, f"it does not balance: {sink}")
            if sink["waiting"]:
                yield _ledger_broken(life, name, f"{sink['waiting']} messages were left waiting")


def check_end(seen: Sequence[Seen], last: LifeSeen, promised: dict[str, int], frames: int) -> Iterator[Broken]:
    """With Redis up at the end nothing waits in the spool, its last event is in the stream, and the file is whole.

    `promised`: for each producer the last `n` on the disk; `frames`: how many the file has.
    """
    if last.summary is not None:
        for name, sink in last.summary["ledger"]["sinks"].items():
            if sink["spooled"]:
                yield _ledger_broken(last, name, f"{sink['spooled']} promised events stayed in the spool")
    got: dict[str, int] = {}
    for entry in _events(seen):
        got[entry.message.producer] = max(got.get(entry.message.producer, 0), entry.message.n)  # type: ignore[union-attr]
    for producer, n in promised.items():
        if got.get(producer, 0) != n:
            what = f"the last event on the disk is {n}, the last in the stream {got.get(producer, 0)}"
            yield Broken(at_ns=last.ended_ns, promise="events once and in order", whom=producer, what=what)
    whole = {_frame(entry).n for entry in seen if entry.stream == FILE}
    if whole != set(range(1, frames + 1)):
        missing = set(range(1, frames + 1)) - whole
        what = f"the file has {frames} frames; missing {_spans(missing)}" if missing else f"frames beyond {frames}"
        yield Broken(at_ns=last.ended_ns, promise="a file loses nothing", whom=FILE, what=what)


def check_growth(grown: Growth, at_ns: int) -> Iterator[Broken]:
    """What a process holds does not rise with time: a MiB, a thread, a descriptor an hour are too much.

    Slopes over less than half an hour say more of the last fault than of a leak: nothing is said of them.
    """
    if grown.seconds < _LONG_ENOUGH_S:
        return
    slopes = (("MiB", grown.rss_slope_mib), ("threads", grown.threads_slope), ("files", grown.open_files_slope))
    for what, slope in slopes:
        if slope > _MOST_AN_HOUR:
            said = f"{slope:+.2f} {what} an hour over {grown.seconds:.0f} s after {grown.warm_up_s:.0f} s of warm-up"
            yield Broken(at_ns=at_ns, promise="nothing grows", whom="process", what=said)


# ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _events(seen: Sequence[Seen]) -> list[Seen]:
    return [entry for entry in seen if entry.stream == "events"]


def _frame(entry: Seen) -> FrameMessage:
    assert isinstance(entry.message, FrameMessage)
    return entry.message


def _by_stream(seen: Sequence[Seen]) -> dict[tuple[str, int], list[Seen]]:
    streams: dict[tuple[str, int], list[Seen]] = defaultdict(list)
    for entry in seen:
        if entry.stream != "events":
            streams[entry.stream, entry.era].append(entry)
    return streams


def _by_run(seen: Sequence[Seen]) -> dict[tuple[str, str], list[Seen]]:
    """Each run's frames in order of `n`, the first that was seen of each."""
    runs: dict[tuple[str, str], dict[int, Seen]] = defaultdict(dict)
    for entry in seen:
        if entry.stream != "events":
            runs[entry.stream, _frame(entry).run].setdefault(_frame(entry).n, entry)
    return {key: [numbers[n] for n in sorted(numbers)] for key, numbers in runs.items()}


def _run_of(life: LifeSeen, stream: str, runs: dict[tuple[str, str], list[Seen]]) -> str | None:
    for (name, run), entries in runs.items():
        if name == stream and any(life.started_ns <= entry.at_ns <= life.ended_ns for entry in entries[:1]):
            return run
    return None


def _told(seen: Sequence[Seen]) -> dict[tuple[str, str], set[int]]:
    told: dict[tuple[str, str], set[int]] = defaultdict(set)
    for entry in _events(seen):
        gap = entry.message
        if isinstance(gap, GapEvent) and gap.what == "frames" and gap.first is not None and gap.last is not None:
            told[gap.stream, gap.run].update(range(gap.first, gap.last + 1))
    return told


def _disorder(entry: Seen, what: str) -> Broken:
    return Broken(at_ns=entry.at_ns, promise="frames in order", whom=entry.stream, what=what)


def _life_broken(life: LifeSeen, what: str) -> Broken:
    return Broken(at_ns=life.ended_ns, promise="a process ends as it should", whom="process", what=what)


def _ledger_broken(life: LifeSeen, whom: str, what: str) -> Broken:
    return Broken(at_ns=life.ended_ns, promise="every ledger closes", whom=whom or "process", what=what)


def _place(frame: FrameMessage) -> str:
    return f"run {frame.run} epoch {frame.epoch} seq {frame.seq} n {frame.n}"


def _spans(numbers: set[int]) -> str:
    """`3-5, 9`; at most five of them."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    told = [str(first) if first == last else f"{first}-{last}" for first, last in spans[:5]]
    return ", ".join([*told, *(["…"] if len(spans) > 5 else [])])


def _short(raw: bytes) -> str:
    text = raw.decode(errors="replace")
    return text if len(text) <= 160 else text[:157] + "…"
