"""The verdicts on isolation and staleness, held to made-up runs: good ones pass, each planted violation is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from pipeline.bench.shares.isolation_verdict import CALM, WITH_FILE, judge_file, judge_struck
from pipeline.bench.shares.report import Check, Part, QueueSample, Setting, StalenessReport
from pipeline.bench.shares.staleness_verdict import Overload, judge_staleness
from pipeline.bench.shares.view import Spell
from pipeline.status import Status
from tests.support.shares import MS, SUMMARY, S, a_report, some_views
from vedette.cli import bench_isolation, bench_staleness

CAMERAS = [f"cam-{number}" for number in range(1, 9)]
STRUCK = "cam-4"
OTHERS = [name for name in CAMERAS if name != STRUCK]
LIVE = CAMERAS[:4]
SETTING = Setting(
    command="vedette bench", version="1", versions={}, machine={}, model="m", engine="e", judged_cores=[0],
    other_cores=[1], longest_lapse_ms=0.0,
)  # fmt: skip


def broken(checks: Sequence[Check]) -> list[str]:
    return [check.promise for check in checks if not check.holds]


def _in_state(status: Status, stream: str, state: Any) -> Status:
    streams = {
        name: msgspec.structs.replace(report, state=state) if name == stream else report
        for name, report in status.streams.items()
    }
    return msgspec.structs.replace(status, streams=streams)


# ── one of eight cameras in trouble ──────────────────────────────────────────────────────────────────────────────────


def phases(calm_ms: float = 20.0, killed_ms: float = 20.0, stalled_ms: float = 20.0) -> list[Spell]:
    kinds = [(CALM, calm_ms), ("killed", killed_ms), (CALM, calm_ms), ("stalled", stalled_ms), (CALM, calm_ms)]
    return [
        Spell(
            kind=kind,
            begin_ns=10 * S * index,
            end_ns=10 * S * (index + 1),
            frames=some_views(OTHERS, range(100 * index, 100 * index + 100), age_ms=age_ms),
        )
        for index, (kind, age_ms) in enumerate(kinds)
    ]


def struck(spells: Sequence[Spell], **changes: Any) -> Part:
    values: dict[str, Any] = {
        "struck": STRUCK,
        "others": OTHERS,
        "fps": 10.0,
        "away": (),
        "status": a_report(CAMERAS, reconnections={STRUCK: 2}),
        "summary": SUMMARY,
    }
    return judge_struck(spells, **{**values, **changes})


def test_a_good_run_holds() -> None:
    part = struck(phases(calm_ms=20.0, killed_ms=23.9, stalled_ms=10.0))

    assert broken(part.checks) == []
    assert list(part.ages_ms) == [CALM, "killed", "stalled"]
    assert [phase.kind for phase in part.phases] == [CALM, "killed", CALM, "stalled", CALM]
    assert [phase.begins_s for phase in part.phases] == [0, 10, 20, 30, 40]
    assert {phase.fps for phase in part.phases} == {10.0}
    assert part.ages_ms["killed"].frames == 700


def test_a_p95_that_grows_by_a_fifth_is_found_for_the_trouble_that_did_it() -> None:
    part = struck(phases(calm_ms=20.0, killed_ms=24.1))

    assert broken(part.checks) == [f"{STRUCK} killed: the p95 of the others grows by less than 20%"]
    assert "+20.5%" in next(check.found for check in part.checks if not check.holds)


def test_a_trouble_is_held_to_the_calm_around_it_and_the_median_of_several_counts() -> None:
    kinds = [(CALM, 20.0), ("killed", 21.0), (CALM, 20.0), (CALM, 60.0), ("killed", 66.0), (CALM, 60.0), (CALM, 20.0)]
    kinds += [("killed", 90.0), (CALM, 20.0)]
    spells = [
        replace(spell, kind=kind, frames=some_views(OTHERS, range(100), age_ms=age_ms))
        for (kind, age_ms), spell in zip(kinds, [*phases(), *phases()], strict=False)
    ]

    part = struck(spells, status=a_report(CAMERAS, reconnections={STRUCK: 3}))

    assert broken(part.checks) == []
    assert "+10.0% against the calm around it" in part.checks[1].found


def test_a_few_old_frames_are_no_growth_of_the_p95() -> None:
    spells = phases()
    late = [replace(view, age_ns=S) for view in spells[1].frames[:30]]
    spells[1] = replace(spells[1], frames=[*late, *spells[1].frames[30:]])

    assert broken(struck(spells).checks) == []


def test_one_frame_lost_in_trouble_is_found_and_one_lost_when_calm_is_told() -> None:
    spells = phases()

    assert broken(struck([*spells[:3], replace(spells[3], missed=1), spells[4]]).checks) == [
        f"{STRUCK} stalled: the other 7 lose no frame"
    ]
    part = struck([replace(spells[0], missed=2), *spells[1:]])
    assert broken(part.checks) == []
    assert [phase.missed for phase in part.phases] == [2, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("changes", "promise"),
    [
        ({"status": a_report(CAMERAS, reconnections={STRUCK: 2, "cam-1": 1})}, "none of the others connects again"),
        ({"status": a_report(CAMERAS, reconnections={STRUCK: 1})}, f"{STRUCK} was lost and came back each time"),
        ({"away": ["stalled"]}, f"{STRUCK} was lost and came back each time"),
        (
            {"status": _in_state(a_report(CAMERAS, reconnections={STRUCK: 2}), STRUCK, "failed")},
            "nobody is given up for ever",
        ),
        ({"summary": {"ledger_problems": ["stream cam-2: …"]}}, "every ledger closes"),
        (
            {"status": a_report(CAMERAS, reconnections={STRUCK: 2}, problems=["sink redis: …"])},
            "every ledger closes",
        ),
    ],
)
def test_what_is_counted_is_held_to_it(changes: dict[str, Any], promise: str) -> None:
    assert broken(struck(phases(), **changes).checks) == [promise]


def test_what_depends_on_speed_is_marked() -> None:
    timed = [check.promise for check in struck(phases()).checks if check.timed]

    assert timed == [f"{STRUCK} {kind}: the p95 of the others grows by less than 20%" for kind in ("killed", "stalled")]


# ── a file beside cameras ────────────────────────────────────────────────────────────────────────────────────────────


def beside(calm_ms: float = 15.0, file_ms: float = 22.0, numbers: int = 100) -> list[Spell]:
    return [
        Spell(
            kind=kind,
            begin_ns=20 * S * index,
            end_ns=20 * S * index + 10 * S,
            frames=some_views(LIVE, range(numbers), age_ms=age_ms),
            file_frames=900 if kind == WITH_FILE else 0,
        )
        for index, (kind, age_ms) in enumerate([(CALM, calm_ms), (WITH_FILE, file_ms), (CALM, calm_ms)])
    ]


def file_part(spells: Sequence[Spell], *, summary: Any = SUMMARY, state: str = "streaming") -> Part:
    statuses = [a_report(LIVE if spell.kind == CALM else [*LIVE, "archive"]) for spell in spells]
    statuses = [_in_state(status, "archive", state) for status in statuses]
    return judge_file(
        spells, live=LIVE, file="archive", fps=10.0, statuses=statuses, summaries=[SUMMARY, summary, SUMMARY]
    )


def test_a_file_that_costs_the_cameras_less_than_a_call_holds() -> None:
    part = file_part(beside())

    assert broken(part.checks) == []
    assert part.engine_call_ms == 10.0
    assert [phase.file_fps for phase in part.phases] == [None, 90.0, None]


@pytest.mark.parametrize(
    ("spells", "promise"),
    [
        (beside(file_ms=25.2), "their p95 grows by at most one engine call"),
        (beside(numbers=97), "4 cameras keep their rate beside a file at full speed"),
        ([replace(spell, missed=1) for spell in beside()], "they lose no frame beside it"),
    ],
)
def test_what_a_file_takes_from_the_cameras_is_found(spells: list[Spell], promise: str) -> None:
    assert broken(file_part(spells).checks) == [promise]


def test_a_file_that_was_over_is_no_measurement() -> None:
    assert broken(file_part(beside(), state="ended").checks) == ["the file was never over before its phase was"]


def test_a_ledger_of_any_phase_counts() -> None:
    part = file_part(beside(), summary={"ledger_problems": ["stream archive: …"]})

    assert broken(part.checks) == ["every ledger closes"]
    assert "BROKEN every ledger closes: stream archive: … (limit: no difference)" in "\n".join(
        bench_isolation.check_lines(part.checks)
    )


# ── three times what the engine can do ───────────────────────────────────────────────────────────────────────────────


def overload(**changes: Any) -> Overload:
    """Two minutes of 12 cameras of 25 fps: 36 000 frames sent, a tenth of them analysed, 30 ms old."""
    totals = {"decoded": 36_000, "published": 3_600, "superseded": 32_400}
    values: dict[str, Any] = {
        "fps": 25.0,
        "begin_ns": 0,
        "end_ns": 120 * S,
        "frames": some_views(CAMERAS, range(450), fps=3.75, age_ms=30.0),
        "sent": 36_000,
        "queues": [QueueSample(at_s=at, unsent=1000, unread=500) for at in range(120)],
        "before": a_report(CAMERAS),
        "after": a_report(CAMERAS, **{what: count // len(CAMERAS) for what, count in totals.items()}),
        "summary": SUMMARY,
    }
    return Overload(**{**values, **changes})


def staleness(seen: Overload, capacity_fps: Sequence[float] = (60.0, 62.0)) -> StalenessReport:
    return judge_staleness(seen, capacity_fps=capacity_fps, setting=SETTING)


def aged(old: int, age_ms: float = 200.0) -> Overload:
    """With so many frames of that age."""
    seen = overload()
    frames = [replace(view, age_ns=int(age_ms * MS)) for view in seen.frames[:old]]
    return replace(seen, frames=[*frames, *seen.frames[old:]])


def test_an_overload_that_is_borne_holds() -> None:
    report = staleness(overload())

    assert report.verdict == "held"
    assert broken(report.checks) == []
    assert (report.offered_fps, report.decoded_fps, report.published_fps) == (200.0, 300.0, 30.0)
    assert report.limit_ms == 70.0  # a period of 40 ms and three calls of 10
    assert report.from_capture_ms.p50 == pytest.approx(report.ages_ms.p50 + 40)
    assert len(report.ages_by_tenth_ms) == 10
    assert sum(tenth.frames for tenth in report.ages_by_tenth_ms) == 3600
    assert report.slowest_camera_fps == report.fastest_camera_fps == 3.75


def test_one_frame_in_a_thousand_may_be_older() -> None:
    assert broken(staleness(aged(3)).checks) == []
    assert broken(staleness(aged(4)).checks) == [
        "an analysed frame is at most one frame period and three engine calls old"
    ]
    assert staleness(aged(4)).verdict == "broken"
    assert staleness(aged(3)).ages_ms.max == 200.0
    assert staleness(aged(4)).older == 4


def test_an_age_that_grows_is_seen_in_its_tenths() -> None:
    seen = overload()
    frames = [replace(view, age_ns=view.at_ns // 1000) for view in seen.frames]
    report = staleness(replace(seen, frames=frames))

    assert "an analysed frame is at most one frame period and three engine calls old" in broken(report.checks)
    medians = [tenth.p50 for tenth in report.ages_by_tenth_ms]
    assert medians == sorted(medians)


@pytest.mark.parametrize(
    ("changes", "promise"),
    [
        ({"sent": 40_000}, "the cameras go on being read: all that they send is decoded"),
        (
            {"queues": [QueueSample(at_s=at, unsent=10_000 * at, unread=0) for at in range(120)]},
            "the servers' send queues and ours do not grow",
        ),
        (
            {"queues": [QueueSample(at_s=at, unsent=0, unread=10_000 * at) for at in range(120)]},
            "the servers' send queues and ours do not grow",
        ),
        (
            {"after": a_report(CAMERAS, decoded=4500, published=450, superseded=4000)},
            "what was not analysed is counted as superseded",
        ),
        (
            {"after": a_report(CAMERAS, decoded=4500, published=450, superseded=4050, reconnections={"cam-2": 1})},
            "nothing connects again",
        ),
        (
            {"after": a_report(CAMERAS, decoded=4500, published=450, superseded=4050, packets_lost=1)},
            "the cameras go on being read: all that they send is decoded",
        ),
        ({"summary": {"ledger_problems": ["stream cam-2: …"]}}, "every ledger closes"),
    ],
)
def test_each_broken_promise_of_an_overload_is_named(changes: dict[str, Any], promise: str) -> None:
    report = staleness(overload(**changes))

    assert broken(report.checks) == [promise]
    assert bench_staleness.lines(report)[-1].startswith("BROKEN")


def test_an_overload_that_was_none_is_no_measurement() -> None:
    assert broken(staleness(overload(), [60.0, 67.0]).checks) == ["the cameras offer 3 times what the engine can do"]
