"""Cores of its own for the process under judgement; everything else has the others."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from vedette.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """`judged`: where the process under judgement runs; `others`: everything else, the same ones if there are none."""

    judged: frozenset[int]
    others: frozenset[int]

    @property
    def apart(self) -> bool:
        return not self.judged & self.others


def share_out(wanted: str | None) -> Cores:
    """`0,1` as cores; by default the first two that we may use. Raises UsageError."""
    ours = frozenset(os.sched_getaffinity(0))
    if wanted is None:
        judged = frozenset(sorted(ours)[:2])
    else:
        try:
            judged = frozenset(int(word) for word in wanted.split(","))
        except ValueError:
            msg = f"--cores: expected numbers of cores separated by commas, got {wanted!r}"
            raise UsageError(msg) from None
        if not judged <= ours:
            names = ",".join(map(str, sorted(ours)))
            msg = f"--cores: expected some of {names}, which are there, got {wanted}"
            raise UsageError(msg)
    return Cores(judged=judged, others=(ours - judged) or ours)


@contextlib.contextmanager
def on_cores(cores: frozenset[int]) -> Iterator[None]:
    """What the calling thread starts meanwhile, threads and processes, keeps to these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
