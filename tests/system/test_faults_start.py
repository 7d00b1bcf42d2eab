"""What another process already has: told in a line at start, and nothing is run."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.support.redis_server import RedisServer
from tests.support.site import Run, Site, camera

pytestmark = pytest.mark.system


@pytest.fixture
def site(tmp_path: Path, redis_server: RedisServer) -> Site:
    return Site(tmp_path, redis_server)


def said_plainly(run: Run) -> list[str]:
    """The lines that are no records of the log; a traceback would be among them."""
    assert "Traceback" not in run.log
    assert not run.out
    return [line for line in run.log_lines if not line.startswith("{")]


def test_port_in_use(site: Site) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with site.run(camera("gate"), http={"listen": listen}) as run:
            assert run.wait() == 2
    lines = said_plainly(run)
    assert lines[0].startswith(f"ConfigError: http.listen: cannot listen on {listen}: ")
    assert len([line for line in lines if not line.startswith("  hint:")]) == 1


def test_spool_in_use(site: Site) -> None:
    with site.run(camera("gate")) as first:
        site.events().wait_state("gate", "streaming")
        with site.run(camera("gate")) as second:
            assert second.wait() == 2
        assert first.terminate() == 0, first.log
    first.check()
    assert said_plainly(second) == [
        f"SpoolError: spool {site.folder}/site-spool: in use by process {first.pid}",
        "  hint: give every process and every sink a spool of its own",
    ]
