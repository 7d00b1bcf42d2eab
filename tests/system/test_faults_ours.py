"""Our own faults are not hidden: a crash in a thread, or a frame that is counted wrongly, makes the run fail.

The faults are put in by a few lines of Python that run before `vedette` does.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.support.redis_server import RedisServer
from tests.support.site import Run, Site, assert_once_and_in_order, assert_whole, camera

pytestmark = pytest.mark.system


def faulty(site: Site, fault: str) -> Run:
    """A run in which the third time that a lane is told of detections begins with `fault`."""
    wrapper = site.folder / "faulty.py"
    wrapper.write_text(f"""
from pipeline.lane import Lane
from vedette.cli.main import entry

genuine, calls = Lane.detected, 0

def detected(self, found):
    global calls
    calls += 1
    job = found[0][0]
    if calls == 3:
        {fault}
    genuine(self, found)

Lane.detected = detected
entry()
""")
    return site.run(camera("gate", fps=10), program=(sys.executable, str(wrapper)))


@pytest.fixture
def site(tmp_path: Path, redis_server: RedisServer) -> Site:
    return Site(tmp_path, redis_server)


def test_crash_in_a_thread_ends_the_process_with_its_traceback(site: Site) -> None:
    with faulty(site, 'raise RuntimeError("broken by the test")') as run:
        assert run.wait() == 70, run.log

    (failed,) = [
        record for line in run.log_lines if line.startswith("{") if (record := json.loads(line))["level"] == "error"
    ]
    assert "thread finish failed: RuntimeError" in failed["message"]
    assert "RuntimeError: broken by the test" in failed["exception"]
    assert run.log_lines[-2:] == ["RuntimeError: broken by the test", "in the thread finish"]
    events = site.events().all()
    assert_once_and_in_order(events)
    assert len(site.frames("gate").all()) == 2, "what was finished before is delivered"


def test_frame_that_is_counted_twice_ends_the_process(site: Site) -> None:
    with faulty(site, "self._ledger.published(self.stream, job.frame.seq)") as run:
        assert run.wait() == 71, run.log

    assert run.log_lines[-1].startswith("LedgerError: stream gate: frame ")
    assert "but it was not in flight" in run.log_lines[-1]


def entered(totals: dict[str, int]) -> int:
    """How many frames have not given way to a newer one; the last of them may still do so, and its successor counts."""
    return totals["decoded"] - totals["superseded"]


def test_frame_that_is_forgotten_makes_the_run_fail(site: Site) -> None:
    with faulty(site, "return") as run:
        run.wait_status("frames behind it", lambda status: entered(status["streams"]["gate"]["totals"]) >= 6)
        assert run.terminate() == 71, run.log

    assert run.summary["ledger_problems"] == ["stream gate: 1 frames were never accounted for"]
    (said,) = run.said("was forgotten on its way")
    assert (said["level"], said["stream"]) == ("error", "gate")
    frames = site.frames("gate").all()
    assert_whole(frames)
    assert said["frame_seq"] not in {frame.seq for frame in frames}
    assert len(frames) == run.stream("gate")["published"] >= 4, "those behind it came out at the end"
