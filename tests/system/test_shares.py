"""`vedette bench isolation` and `vedette bench staleness` for real, as short as they can be.

What is counted must hold: nothing connects again, every ledger closes. What depends on the machine's speed, such as
whether a frame gives way to a newer one, is measured and not asserted; that it is judged rightly is in
tests/pipeline/test_bench_shares_verdict.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]


def bench(out: Path, *words: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "vedette", "bench", *words, "--json", str(out)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert ended.returncode in (0, 1), ended.stdout + ended.stderr
    report: dict[str, Any] = json.loads(out.read_text())
    assert report["verdict"] == ("held" if ended.returncode == 0 else "broken")
    assert ("BROKEN" in ended.stdout) is (ended.returncode == 1)
    return report


def counted(checks: list[dict[str, Any]]) -> dict[str, bool]:
    return {check["promise"]: check["holds"] for check in checks if not check["timed"]}


def test_a_camera_that_is_killed_leaves_the_others_connected_and_every_frame_counted(tmp_path: Path) -> None:
    words = ["--only", "cameras", "--kinds", "killed", "--seconds", "2", "--rounds", "1", "--fps", "5"]

    report = bench(tmp_path / "isolation.json", "isolation", *words)

    part = report["struck"]
    holds = counted(part["checks"])
    # A frame gives way to the next one of its camera when the machine stands still for a fifth of a second.
    assert "cam-4 killed: the other 7 lose no frame" in holds
    del holds["cam-4 killed: the other 7 lose no frame"]
    assert holds == {
        "none of the others connects again": True,
        "cam-4 was lost and came back each time": True,
        "nobody is given up for ever": True,
        "every ledger closes": True,
    }
    assert [phase["kind"] for phase in part["phases"]] == ["calm", "killed", "calm"]
    assert part["ages_ms"]["killed"]["frames"] >= 7 * 5
    assert report["file"] is None
    assert report["setting"]["command"].startswith("vedette bench isolation --only cameras")


def test_too_many_frames_are_read_and_counted_and_nothing_connects_again(tmp_path: Path) -> None:
    words = ["--model", "vedette-n-416", "--cameras", "6", "--seconds", "3", "--capacity-seconds", "1"]

    report = bench(tmp_path / "staleness.json", "staleness", *words)

    holds = counted(report["checks"])
    # Six cameras are no overload everywhere: whether anything is superseded is the machine's doing.
    assert holds.pop("what was not analysed is counted as superseded") or not report["superseded"]
    assert holds == {"nothing connects again": True, "every ledger closes": True}
    assert report["cameras"] == 6
    assert report["ages_ms"]["frames"] > 0
    assert len(report["capacity_fps"]) == 2
    assert {"openvino", "vedette", "python"} <= set(report["setting"]["versions"])
