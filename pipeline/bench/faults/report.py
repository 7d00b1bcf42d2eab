"""The report of `vedette bench faults`: what was done, what was seen, what was broken."""

from __future__ import annotations

import msgspec

from pipeline.bench.faults.schedule import Fault


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """A fault as it was done: seconds after the beginning; `ends_s` when what was taken away was there again."""

    fault: Fault
    begins_s: float
    ends_s: float


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """A promise that was broken: which, of whom, when, how; and what had been done before (`led`), latest first."""

    promise: str
    whom: str
    at_s: float
    what: str
    led: list[str]


class LifeReport(msgspec.Struct, frozen=True, kw_only=True):
    """One process: when it started, how it ended, its exit status."""

    starts_s: float
    ends_s: float
    how: str
    status: int | None


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """Resident memory, threads and descriptors of the longest life after its warm-up, over at least 30 s.

    The pairs are medians over the first and the last tenth of the time; slopes are by least squares, an hour.
    `trace`: (seconds since that process was first looked at, MiB, threads, descriptors), warm-up included, thinned.
    """

    warm_up_s: float
    seconds: float
    rss_mib: tuple[float, float]
    threads: tuple[float, float]
    open_files: tuple[float, float]
    rss_slope_mib: float
    threads_slope: float
    open_files_slope: float
    trace: list[tuple[float, float, int, int]]


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What the subscriber read, and what the verdict rests on.

    `longest_lapse_s`: the longest that a wait of 0.05 s of the command's own took: what the machine did to all of it.
    """

    frames: int
    events: int
    gaps_told: int
    frames_told_lost: int
    recoveries_checked: int
    slowest_recovery_s: float
    ledgers_checked: int
    statuses_checked: int
    longest_lapse_s: float


class FaultReport(msgspec.Struct, frozen=True, kw_only=True):
    """`verdict` is `held` or `broken`; `violations` in order of time, at most 50 of each promise."""

    command: str
    version: str
    machine: dict[str, str]
    versions: dict[str, str]
    seed: int
    minutes: float
    slack_s: float
    verdict: str
    violations: list[Violation]
    counts: Counts
    growth: Growth | None
    lives: list[LifeReport]
    skipped: dict[str, str]
    done: list[Done]
