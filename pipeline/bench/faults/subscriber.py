"""A subscriber of its own: reads every stream straight from the Redis that there is, and keeps all that it sees.

It shares no code with `vedette.client` but the messages' types. One thread; it connects again as often as it must.
When the server's data begin anew (restarted empty, a replica took over) it reads everything from the beginning: that is
another `era`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from pipeline.bench.faults.redis_server import RedisServer
from pipeline.bench.faults.schedule import FILE
from stages.types import Clock
from vedette.messages import Message, UnknownEvent, decode_message

_BLOCK_MS = 100
_AT_ONCE = 500
_AGAIN_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """One entry as it was read. `stream` is the key's last part, `events` for the events; `at_ns` is monotonic."""

    at_ns: int
    era: int
    stream: str
    id: tuple[int, int]
    raw: bytes
    message: Message | UnknownEvent


class FaultSubscriber:
    """`server` says which Redis, and which era of its data, there is now."""

    def __init__(
        self,
        server: Callable[[], tuple[RedisServer, int]],
        streams: Sequence[str],
        clock: Clock,
        prefix: str = "vedette",
    ) -> None:
        self._server = server
        self._keys = {f"{prefix}:frames:{stream}": stream for stream in streams} | {f"{prefix}:events": "events"}
        self._clock = clock
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._seen: list[Seen] = []
        self._last_frame_ns: dict[str, int] = {}
        self._of_the_file: set[int] = set()
        self._thread = threading.Thread(target=self._run, name="faults:subscriber", daemon=True)
        self.failure: Exception | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Read what is there still, and end."""
        self._stop.set()
        self._thread.join(20.0)

    def seen(self) -> list[Seen]:
        with self._lock:
            return list(self._seen)

    def last_ns(self, stream: str) -> int:
        """When the stream's last entry was read; 0 for never."""
        with self._lock:
            return self._last_frame_ns.get(stream, 0)

    def frames_of_the_file(self) -> int:
        """How many different frames of the file have been read."""
        with self._lock:
            return len(self._of_the_file)

    def _run(self) -> None:
        era, last, over = -1, dict[str, str](), False
        while not over:
            server, now_era = self._server()
            if now_era != era:
                era, last = now_era, dict.fromkeys(self._keys, "0")
            client = server.client(timeout_s=2.0)
            try:
                while not over and self._server() == (server, era):
                    stopping = self._stop.is_set()
                    over = not self._read(client, era, last) and stopping
            except (redis.RedisError, OSError):
                over = self._clock.wait(self._stop, _AGAIN_S)
            except Exception as error:  # noqa: BLE001 - an entry that cannot be read: the verdict shows it
                self.failure = error
                return
            finally:
                client.close()

    def _read(self, client: redis.Redis, era: int, last: dict[str, str]) -> bool:
        """Read what has come since; False if nothing has within 0.1 s."""
        keys: Any = last
        answer: Any = client.xread(keys, count=_AT_ONCE, block=_BLOCK_MS)
        now_ns = self._clock.mono_ns()
        for key, entries in answer or ():
            name = key.decode()
            stream = self._keys[name]
            for entry_id, fields in entries:
                text = entry_id.decode()
                last[name] = text
                ms, _, k = text.partition("-")
                raw = fields[b"m"]
                seen = Seen(
                    at_ns=now_ns, era=era, stream=stream, id=(int(ms), int(k)), raw=raw, message=decode_message(raw)
                )
                with self._lock:
                    self._seen.append(seen)
                    self._last_frame_ns[stream] = now_ns
                    if stream == FILE:
                        self._of_the_file.add(seen.message.n)
        return bool(answer)
