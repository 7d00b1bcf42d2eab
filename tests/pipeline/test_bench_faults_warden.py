"""No server outlives the command that started it, and no file of it, even if that is killed."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.bench.faults.warden import Warden

PARENT = """
import signal, subprocess, sys, threading
from pathlib import Path
from pipeline.bench.faults.redis_server import RedisServer
from pipeline.bench.faults.warden import Warden

warden = Warden(Path(sys.argv[1]))
redis = RedisServer(Path(sys.argv[1]), "secret", watch=warden.watch)
thread = threading.Thread(target=redis.start)
thread.start()
thread.join()
redis.pause()
over = subprocess.Popen(["true"])
warden.watch(over.pid)
over.wait()
print(redis.pid, flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_server_dies_with_its_parent_even_if_it_was_stopped(how: signal.Signals, tmp_path: Path) -> None:
    words = [sys.executable, "-c", PARENT, str(tmp_path / "redis")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        server = os.pidfd_open(int(parent.stdout.readline()))
        parent.send_signal(how)

        ended, _, _ = select.select([server], [], [], 60)
        os.close(server)
        assert ended
        assert parent.stdout.read() == ""  # until the last that has it ends, and that is the warden
    assert not (tmp_path / "redis").exists()


def test_what_has_ended_is_not_touched_and_what_lives_is_killed_at_the_end() -> None:
    with Warden() as warden:
        over = subprocess.Popen(["true"])
        warden.watch(over.pid)
        assert over.wait(60) == 0
        lives = subprocess.Popen(["sleep", "1000"])
        warden.watch(lives.pid)
    assert lives.wait(60) == -signal.SIGKILL
