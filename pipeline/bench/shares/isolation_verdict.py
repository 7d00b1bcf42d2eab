"""Holds what was seen of the cameras to what is promised of isolation. Pure.

In:  the phases, filled (`view.fill`), and what the process said of itself. Out: a `Part` of the report.
The baseline is the calm of the same run: a trouble's p95 is held to that of the calm right before and after it, and of
several such troubles the median counts; a file's is held to all calm phases, both pooled.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import msgspec

from pipeline.bench.shares.report import Check, Own, Part, Phase
from pipeline.bench.shares.view import Figures, Spell, figures
from pipeline.latency import STAGES
from pipeline.status import Status, StreamReport

CALM = "calm"
WITH_FILE = "with a file"
GROWTH_LIMIT = 0.20
RATE_TOLERANCE = 0.02


def judge_struck(
    spells: Sequence[Spell],
    *,
    struck: str,
    others: Sequence[str],
    fps: float,
    away: Sequence[str],
    status: Status,
    summary: Any,
) -> Part:
    """One camera was in trouble: the others' frames, ages and connections.

    `away`: after which troubles it did not come back in time. `summary`: what the process ended with.
    """
    ages = _by_kind(spells)
    checks = []
    calm_lost = sum(spell.missed for spell in spells if spell.kind == CALM)
    for kind in (kind for kind in ages if kind != CALM):
        lost = sum(spell.missed for spell in spells if spell.kind == kind)
        checks.append(
            Check(
                promise=f"{struck} {kind}: the other {len(others)} lose no frame",
                holds=not lost,
                found=f"{lost}, and {calm_lost} when calm",
                limit="0",
            )
        )
        growth = statistics.median(_growths(spells, kind))
        checks.append(
            Check(
                promise=f"{struck} {kind}: the p95 of the others grows by less than {GROWTH_LIMIT:.0%}",
                holds=growth < GROWTH_LIMIT,
                found=f"{growth:+.1%} against the calm around it; over the run {ages[kind].p95:.2f} ms and "
                f"{ages[CALM].p95:.2f} when calm",
                limit=f"less than {GROWTH_LIMIT:+.0%}",
                timed=True,
            )
        )
    again = {name: sum(report.totals.reconnections.values()) for name, report in status.streams.items()}
    checks.append(count("none of the others connects again", sum(again[name] for name in others)))
    # Else nothing was done to it. What is corrupt may be decoded all the same.
    ends = sum(spell.kind in ("killed", "stalled") for spell in spells)
    checks.append(
        Check(
            promise=f"{struck} was lost and came back each time",
            holds=again[struck] >= ends and not away,
            found=f"{again[struck]} reconnections" + (f", none after it was {', '.join(away)}" if away else ""),
            limit=f"at least {ends}",
        )
    )
    failed = [f"{name} ({report.reason}): {report.note}" for name, report in status.streams.items() if _gave_up(report)]
    checks.append(
        Check(
            promise="nobody is given up for ever",
            holds=not failed,
            found="; ".join(failed) or "nobody",
            limit="nobody",
        )
    )
    checks.append(ledger([summary], [status]))
    return _part(spells, checks, ages, others, fps, [status])


def judge_file(
    spells: Sequence[Spell],
    *,
    live: Sequence[str],
    file: str,
    fps: float,
    statuses: Sequence[Status],
    summaries: Sequence[Any],
) -> Part:
    """A file was analysed at full speed beside cameras: their rates and ages. `statuses` and `summaries`: one a phase.

    One engine call is what it took while the file ran, in the middle: from submission to completion.
    """
    ages = _by_kind(spells)
    beside = [status for spell, status in zip(spells, statuses, strict=True) if spell.kind == WITH_FILE]
    call_ms = engine_call_ms(beside, live)
    slowest = min(spell.slowest_fps(live) for spell in spells if spell.kind == WITH_FILE)
    growth_ms = ages[WITH_FILE].p95 - ages[CALM].p95
    ended = sum(status.streams[file].state != "streaming" for status in beside)
    checks = [
        Check(
            promise=f"{len(live)} cameras keep their rate beside a file at full speed",
            holds=slowest >= fps * (1 - RATE_TOLERANCE),
            found=f"{slowest:.2f} frames a second, the slowest camera in the slowest phase",
            limit=f"{fps:g} within {RATE_TOLERANCE:.0%}",
            timed=True,
        ),
        count("they lose no frame beside it", sum(spell.missed for spell in spells if spell.kind == WITH_FILE)),
        Check(
            promise="their p95 grows by at most one engine call",
            holds=growth_ms <= call_ms,
            found=f"{growth_ms:+.2f} ms: {ages[CALM].p95:.2f} ms when calm, {ages[WITH_FILE].p95:.2f} ms",
            limit=f"{call_ms:.2f} ms",
            timed=True,
        ),
        count("the file was never over before its phase was", ended),
        ledger(summaries, statuses),
    ]
    alone = [status for spell, status in zip(spells, statuses, strict=True) if spell.kind == CALM]
    part = _part(spells, checks, ages, live, fps, beside)
    return msgspec.structs.replace(part, own_calm_ms=own_figures(alone, live))


def engine_call_ms(statuses: Sequence[Status], cameras: Sequence[str]) -> float:
    """From submission to completion, in the middle: the median over cameras and lives of their medians."""
    return statistics.median(status.streams[name].latency_ms["engine"].p50 for status in statuses for name in cameras)


def own_figures(statuses: Sequence[Status], cameras: Sequence[str]) -> dict[str, Own]:
    """By stage what the processes say of these cameras, since each one's start: medians over cameras and lives."""
    reports = [status.streams[name].latency_ms for status in statuses for name in cameras]
    return {
        stage: Own(
            p50=round(statistics.median(report[stage].p50 for report in reports), 2),
            p95=round(statistics.median(report[stage].p95 for report in reports), 2),
            p99=round(statistics.median(report[stage].p99 for report in reports), 2),
        )
        for stage in STAGES
    }


def _growths(spells: Sequence[Spell], kind: str) -> list[float]:
    """For each such phase by how much its p95 is above that of the calm before and after it, which are pooled.

    Machines that are shared change their speed within minutes: a phase is held to its neighbours.
    """
    found = []
    for before, spell, after in zip(spells, spells[1:], spells[2:], strict=False):
        if spell.kind == kind:
            found.append(figures(spell.frames).p95 / figures([*before.frames, *after.frames]).p95 - 1)
    return found


def _gave_up(report: StreamReport) -> bool:
    return report.state == "failed"


def _by_kind(spells: Sequence[Spell]) -> dict[str, Figures]:
    kinds = list(dict.fromkeys(spell.kind for spell in spells))
    return {kind: figures([view for spell in spells if spell.kind == kind for view in spell.frames]) for kind in kinds}


def count(promise: str, found: int) -> Check:
    return Check(promise=promise, holds=not found, found=str(found), limit="0")


def ledger(summaries: Sequence[Any], statuses: Sequence[Status]) -> Check:
    problems = [line for status in statuses for line in status.ledger_problems]
    problems += [line for summary in summaries for line in summary["ledger_problems"]]
    return Check(
        promise="every ledger closes",
        holds=not problems,
        found=problems[0] if problems else f"{len(statuses)} at a moment, {len(summaries)} at an end",
        limit="no difference",
    )


def _part(
    spells: Sequence[Spell],
    checks: list[Check],
    ages: dict[str, Figures],
    cameras: Sequence[str],
    fps: float,
    statuses: Sequence[Status],
) -> Part:
    begin_ns = spells[0].begin_ns
    return Part(
        checks=checks,
        ages_ms=ages,
        phases=[
            Phase(
                kind=spell.kind,
                begins_s=round((spell.begin_ns - begin_ns) / 1e9, 2),
                ends_s=round((spell.end_ns - begin_ns) / 1e9, 2),
                ages_ms=figures(spell.frames),
                missed=spell.missed,
                fps=round(spell.slowest_fps(cameras), 2),
                file_fps=round(spell.file_frames / spell.seconds, 1) if spell.file_frames else None,
            )
            for spell in spells
        ],
        cameras=len(cameras),
        fps=fps,
        engine_call_ms=round(engine_call_ms(statuses, cameras), 2),
        own_ms=own_figures(statuses, cameras),
    )
