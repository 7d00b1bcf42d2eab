"""Histograms: percentiles within one percent of the truth, in constant memory."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.latency import STAGES, Histogram, Latencies, Stamps


@given(
    st.lists(st.integers(1_000, 10**13), min_size=1, max_size=200),
    st.floats(1, 100),
)
def test_a_percentile_is_within_one_percent_of_the_truth(durations_ns: list[int], percent: float) -> None:
    histogram = Histogram()
    for duration_ns in durations_ns:
        histogram.add(duration_ns)
    rank = max(1, math.ceil(len(durations_ns) * percent / 100))
    truth_ms = sorted(durations_ns)[rank - 1] / 1e6
    assert histogram.percentile_ms(percent) == pytest.approx(truth_ms, rel=0.0101)
    assert histogram.sum_ns == sum(durations_ns)


@pytest.mark.parametrize("duration_ns", [0, 1, 999, 10**14, 10**18])
def test_durations_beyond_the_buckets_are_counted_at_their_ends(duration_ns: int) -> None:
    histogram = Histogram()
    histogram.add(duration_ns)
    found_ms = histogram.percentile_ms(50)
    assert found_ms is not None
    assert found_ms <= duration_ns / 1e6
    assert histogram.count == 1


def test_without_samples_there_is_no_percentile() -> None:
    assert Histogram().percentile_ms(99) is None
    assert Latencies().quantiles() == {}


def test_the_stages_of_a_frame_add_up_to_its_total() -> None:
    stamps = Stamps(
        arrived_ns=0, decoded_ns=1_000, chosen_ns=11_000, submitted_ns=111_000, completed_ns=1_111_000,
        handed_ns=11_111_000, settled_ns=111_111_000, engine_ns=900_000,
    )  # fmt: skip
    durations = dict(zip(STAGES, stamps.stages_ns(), strict=True))
    assert durations == {
        "decode": 1_000, "wait": 10_000, "prepare": 100_000, "engine": 1_000_000, "finish": 10_000_000,
        "sink": 100_000_000, "total": 111_111_000,
    }  # fmt: skip
    latencies = Latencies()
    latencies.record(stamps)
    assert latencies.quantiles()["engine"].p50 == pytest.approx(1.0, rel=0.0101)


def test_a_stage_that_ended_before_it_began_took_no_time() -> None:
    latencies = Latencies()
    latencies.record(Stamps(arrived_ns=2_000_000, decoded_ns=1_000_000, settled_ns=3_000_000))
    assert latencies.quantiles()["decode"].sum_ms == 0.0
