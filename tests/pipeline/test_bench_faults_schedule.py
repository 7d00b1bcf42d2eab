"""The schedule of faults: a pure function of seed and minutes, in lanes that do not overlap."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pipeline.bench.faults.schedule import ALL, CAMERAS, KINDS, Fault, draw, lane_of

SEEDS = st.integers(min_value=0, max_value=2**63)
MINUTES = st.floats(min_value=0.3, max_value=60.0)
KIND = {kind.name: kind for kind in KINDS}


@given(SEEDS, MINUTES)
def test_same_seed_and_minutes_give_the_same_schedule(seed: int, minutes: float) -> None:
    assert draw(seed, minutes) == draw(seed, minutes)


def test_another_process_draws_the_same_schedule() -> None:
    code = "from pipeline.bench.faults.schedule import draw; print(*draw(7, 3.0), sep='\\n')"
    drawn = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }

    assert drawn == {"\n".join(map(str, draw(7, 3.0))) + "\n"}


@given(SEEDS, MINUTES, st.sets(st.sampled_from(sorted(ALL))))
def test_every_fault_is_of_a_wanted_kind_and_within_its_limits(seed: int, minutes: float, wanted: set[str]) -> None:
    for fault in draw(seed, minutes, frozenset(kind for kind in ALL if kind in wanted)):
        kind = KIND[fault.kind]
        assert fault.kind in wanted
        assert kind.for_s[0] <= fault.for_s <= kind.for_s[1]
        assert kind.amount[0] <= (abs(fault.amount) if kind.steep else fault.amount) <= kind.amount[1]
        assert fault.at_s + fault.for_s + kind.needs_s <= minutes * 60 + 0.02
        assert (fault.target in CAMERAS) == (kind.lane == "camera" or fault.kind == "lease-taken")


@given(SEEDS, MINUTES)
def test_faults_of_one_lane_follow_each_other(seed: int, minutes: float) -> None:
    lanes: dict[str, list[Fault]] = {}
    for fault in draw(seed, minutes):
        lanes.setdefault(lane_of(fault.kind), []).append(fault)

    for faults in lanes.values():
        assert all(before.at_s + before.for_s < after.at_s for before, after in pairwise(faults))


@given(SEEDS)
def test_ten_minutes_hold_every_kind(seed: int) -> None:
    assert {fault.kind for fault in draw(seed, 10.0)} == ALL


def test_seeds_differ() -> None:
    assert len({draw(seed, 1.0) for seed in range(50)}) == 50


def test_steps_of_the_hosts_clock_go_both_ways_by_seconds_and_by_days() -> None:
    steps = [fault.amount for fault in draw(1, 60.0, frozenset({"host-clock"}))]

    assert min(steps) < -80_000
    assert max(steps) > 80_000
    assert any(-10 < step < 0 for step in steps)
    assert any(0 < step < 10 for step in steps)
