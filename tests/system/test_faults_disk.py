"""A disk that takes no more of the spool: new events are dropped, counted and told of; what was promised stays."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from tests.support.media import make_clip
from tests.support.redis_server import RedisServer
from tests.support.site import Run, Site, assert_once_and_in_order, looping

pytestmark = pytest.mark.system


@pytest.fixture
def site(tmp_path: Path, redis_server: RedisServer) -> Site:
    return Site(tmp_path, redis_server)


def limit_files(run: Run, size: int) -> None:
    """From now on the process can't write beyond `size` bytes of a file: to it, the disk is full."""
    hard = resource.prlimit(run.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(run.pid, resource.RLIMIT_FSIZE, (size, hard))


def away(site: Site, run: Run) -> None:
    """Take Redis away and wait until events have been promised without it."""
    site.events().wait_state("gate", "streaming")
    site.redis.kill()
    run.wait_log("trying again", "warning")
    run.wait_status("promised events", lambda status: status["sinks"]["redis"]["totals"]["spooled"] >= 2)


def dropping(run: Run, reason: str, *words: str) -> None:
    """Wait until new events are dropped; it must be counted and stand in /readyz."""
    run.wait_log(*words, "new events are dropped", "error")
    run.wait_status("drops", lambda status: status["sinks"]["redis"]["totals"]["dropped"].get(reason, 0) >= 2)
    code, ready = run.get("/readyz")
    assert code == 503
    assert any(all(word in told for word in words) for told in ready["reasons"])


def finish(site: Site, run: Run, reason: str) -> None:
    """Wait until subscribers have been told and all is well again; stop, and compare the stream with the ledger."""
    events = site.events()
    events.wait_for("the gap", lambda _: bool(events.gaps("gate", what="events")))
    run.wait_status("readiness", lambda answer: answer["ready"], "/readyz")
    assert run.terminate() == 0, run.log
    run.check()
    events.all()

    assert_once_and_in_order(events.messages)
    sink = run.sink()
    gaps = events.gaps("gate", what="events")
    assert {gap.reason for gap in gaps} == {reason}
    assert sum(gap.count for gap in gaps) == sink["dropped"][reason] >= 2
    assert len(events.messages) == sink["accepted_events"] + sink["gaps"] - sink["dropped"][reason], (
        "the others are there"
    )
    assert sink["spooled"] == 0


def test_full_disk_drops_new_events_keeps_the_promised_and_recovers(site: Site) -> None:
    with site.run(looping("gate", make_clip(site.folder / "loop.mkv", frames=10))) as run:
        away(site, run)
        limit_files(run, 0)
        dropping(run, "spool_error", "cannot be written")
        limit_files(run, resource.RLIM_INFINITY)
        run.wait_log("can be written again", "info")
        site.redis.start()
        finish(site, run, "spool_error")
    assert len(run.said("new events are dropped")) == len(run.said("can be written again")) == 1


def test_full_spool_drops_new_events_keeps_the_promised_and_recovers(site: Site) -> None:
    clip = make_clip(site.folder / "loop.mkv", frames=10)
    with site.run(looping("gate", clip), spool={"max_mb": 0.003, "retain_s": 0.1}) as run:
        away(site, run)
        dropping(run, "spool_full", "full")
        site.redis.start()
        run.wait_log("can be written again", "info")
        finish(site, run, "spool_full")
