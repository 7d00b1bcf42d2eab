"""What `vedette annotate` writes of recordings that are pieces of others."""

from __future__ import annotations

from fractions import Fraction

import pytest

from pipeline.annotate import Rising


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ([0, 40, 80], [0, 40, 80]),
        ([7_200_000, 7_200_040, 7_200_120], [0, 40, 120]),
        ([0, 40, 80, 0, 40], [0, 40, 80, 120, 160]),
        ([0, 40, 40, 40], [0, 40, 80, 120]),
        ([0, 40, 3_600_040], [0, 40, 80]),
        ([5, 5], [0, 40]),
    ],
    ids=["as it is", "begins late", "two in one file", "time stands still", "a hole of an hour", "nothing known"],
)
def test_time_begins_at_0_and_rises(given: list[int], written: list[int]) -> None:
    times = Rising()
    assert [times.after(pts, Fraction(1, 1000)) for pts in given] == written
