"""Redis as a sink: leases, frames, events, each as one round trip that may fail.

In:  encoded messages with their ids, from the thread `sink:{name}` (`pipeline/outlet_redis.py`), which decides when.
Out: entries in `{prefix}:frames:{stream}`, `{prefix}:events`, fields of `{prefix}:streams` and `{prefix}:producers`,
     keys `{prefix}:lease:{stream}`.

A plain object without threads, queues or a clock; not thread-safe. It talks over redis-py's Connection rather than its
client, which would renew a lost connection by itself: that could reach a server that has forgotten what the sender
believes it has. (It also takes 40 µs less of CPU for a frame: 45 against 80 for one script and its answer.)
One server, or a master with replicas; Redis Cluster isn't supported, because a script here uses several keys.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import redis
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection, parse_url
from redis.retry import Retry

from stages.options import RedisSinkOptions
from stages.sink.entry_id import NONE, EntryId
from stages.sink.scripts import EVENTS, FRAMES, LEASE, RELEASE, STATE
from stages.types import StreamId
from vedette.errors import SinkError
from vedette.messages import SCHEMA_VERSION
from vedette.secrets import scrub

logger = logging.getLogger(__name__)

_CODES: tuple[tuple[type[redis.RedisError], str], ...] = (
    (redis.exceptions.AuthenticationError, "NOAUTH"),
    (redis.exceptions.BusyLoadingError, "LOADING"),
    (redis.exceptions.ReadOnlyError, "READONLY"),
    (redis.exceptions.OutOfMemoryError, "OOM"),
    (redis.exceptions.NoPermissionError, "NOPERM"),
)
# What Redis wraps around the words of a command that failed inside a script: 6.2 before them, 7.0 behind.
_FRAME = re.compile(
    r"^(Error running script \(call to \w+\): )?(@user_script: ?\d+: )*-?| script: \w+, on @user_script:\d+\.$"
)
_AWAY = frozenset({"NOAUTH", "WRONGPASS", "LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "BUSY", "TRYAGAIN"})
_PASSES = frozenset({"OOM", "MISCONF", "NOREPLICAS", "NOPERM"})


class RedisAway(SinkError):  # noqa: N818 - a state of the world, handled by whoever asked
    """Nobody there, or nobody who can be written to: what was sent may have arrived. Disconnected by now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Who answered. `run_id` is another one after every start of the server; `aof`: whether it keeps what it has."""

    run_id: str
    version: str
    aof: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """Redis answered, and would not. `code` is its first word; `passes`: worth trying again (memory, disk, rights)."""

    code: str
    text: str

    @property
    def passes(self) -> bool:
        return self.code in _PASSES

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Lease:
    """What became of a stream's lease: kept, taken anew, held by another for `left_ms` more, or refused."""

    state: Literal["kept", "taken", "held", "refused"]
    left_ms: int = 0
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Added:
    """The first `count` entries are in the stream; `repeated` of them were before. Why not the next: `refusal`."""

    count: int
    repeated: int = 0
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class EventEntry:
    """An event on its way; `state_of`: the stream whose latest state it is, or ''."""

    producer: str
    n: int
    encoded: bytes
    state_of: str


class RedisPublisher:
    """The connection to one Redis and everything that is said over it."""

    def __init__(self, options: RedisSinkOptions, *, owner: str, token: str, lease_ms: int, timeout_s: float) -> None:
        """`token` (beginning with `owner:`) is this process's; `owner` the same in every life of the deployment.

        Raises SinkError for a URL that can't be used. Connects to nothing.
        """
        self._url = options.url
        self._prefix = options.prefix
        self._maxlen = options.maxlen
        self._owner = owner
        self._token = token
        self._lease_ms = lease_ms
        self._connection: Any = None
        try:
            # A query in the URL must not change how long a frame can be held up: ours come last.
            settings: dict[str, Any] = {
                **parse_url(options.url.reveal()),  # type: ignore[no-untyped-call] # redis-py has no types here
                "socket_timeout": timeout_s,
                "socket_connect_timeout": timeout_s,
                "retry": Retry(NoBackoff(), 0),
                "health_check_interval": 0,
                "protocol": 2,
                "decode_responses": False,
                "client_name": "vedette",
            }
            self._connection_class: Any = settings.pop("connection_class", Connection)
            if self._connection_class is SSLConnection:
                settings["ssl_cert_reqs"] = "required" if options.tls.verify else "none"
                settings["ssl_check_hostname"] = options.tls.verify
                settings["ssl_ca_certs"] = options.tls.ca
                if not options.tls.verify:
                    logger.warning("redis %s: the server's certificate is not verified (tls.verify: false)", self._url)
            self._connection_class(**settings)
            self._settings = settings
        except (ValueError, TypeError, redis.RedisError) as error:
            msg = f"redis {self._url}: not a URL that can be used: {scrub(str(error), self._url)}"
            raise SinkError(
                msg, hint="for example redis://127.0.0.1:6379/0, rediss://… or unix:///run/redis.sock"
            ) from None

    def __str__(self) -> str:
        return f"redis {self._url}"

    def connect(self) -> Server:
        """Open a new connection and look who is there. Raises RedisAway."""
        self.disconnect()
        connection = self._connection_class(**self._settings)
        try:
            connection.connect()
        except (redis.RedisError, OSError) as error:
            connection.disconnect()
            raise self._away(error) from None
        except UnicodeError:  # out of getaddrinfo: a label of the host's name is empty or too long
            connection.disconnect()
            msg = f"{self}: its host's name cannot be looked up"
            raise RedisAway(msg, hint="correct the sink's url") from None
        self._connection = connection
        (answer,) = self._execute([("INFO",)])
        if isinstance(answer, Refusal):
            self.disconnect()
            msg = f"{self}: {answer}"
            raise RedisAway(msg)
        info = dict(line.split(":", 1) for line in answer.decode(errors="replace").splitlines() if ":" in line)
        if info.get("cluster_enabled", "0") != "0":
            self.disconnect()
            msg = f"{self}: is a Redis Cluster, which isn't supported"
            raise RedisAway(msg, hint="use one server, or a master with replicas")
        if info.get("role") == "slave" and info.get("slave_read_only", "1") != "0":
            self.disconnect()
            msg = f"{self}: is a read-only replica"
            raise RedisAway(msg, hint="give the address of the master")
        return Server(
            run_id=info.get("run_id", ""),
            version=info.get("redis_version", "?"),
            aof=info.get("aof_enabled", "0") != "0",
        )

    def disconnect(self) -> None:
        """Close the connection, if there is one. Never raises; idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()

    # ── leases ───────────────────────────────────────────────────────────────────────────────────────────────────

    def lease(self, streams: Sequence[StreamId], *, first: bool) -> dict[StreamId, Lease]:
        """Keep or take the leases of `streams`; with `first`, also those that an earlier life of ours left behind.

        Raises RedisAway.
        """
        owner = self._owner if first else ""
        calls = [(LEASE, [self._lease_key(stream)], [self._token, self._lease_ms, owner]) for stream in streams]
        leases = {}
        for stream, answer in zip(streams, self._ask(calls), strict=True):
            if isinstance(answer, Refusal):
                leases[stream] = Lease("refused", refusal=answer)
            elif answer[0] == b"held":
                left_ms = int(answer[1])
                leases[stream] = Lease("held", self._lease_ms if left_ms < 0 else left_ms)
            elif answer[0] == b"refused":
                leases[stream] = Lease("refused", refusal=self._refusal(answer[1].decode()))
            else:
                leases[stream] = Lease("taken" if answer[0] == b"taken" else "kept")
        return leases

    def release(self, streams: Sequence[StreamId]) -> None:
        """Give our leases back, so that a successor need not wait. Raises RedisAway."""
        self._ask([(RELEASE, [self._lease_key(stream)], [self._token]) for stream in streams])

    # ── frames ───────────────────────────────────────────────────────────────────────────────────────────────────

    def last_ids(self, streams: Sequence[StreamId]) -> dict[StreamId, EntryId | Refusal]:
        """The last id that each frame stream ever gave, trimmed entries included. Raises RedisAway."""
        commands = [("XINFO", "STREAM", self._frames_key(stream)) for stream in streams]
        answers: dict[StreamId, EntryId | Refusal] = {}
        for stream, answer in zip(streams, self._execute(commands), strict=True):
            if isinstance(answer, Refusal):
                answers[stream] = NONE if "no such key" in answer.text else answer
            else:
                fields = dict(zip(answer[::2], answer[1::2], strict=True))
                answers[stream] = EntryId.parse(fields[b"last-generated-id"].decode())
        return answers

    def add_frames(self, batches: Mapping[StreamId, Sequence[tuple[EntryId, bytes]]]) -> dict[StreamId, Added]:
        """Add entries, each stream's in order and under its lease. Raises RedisAway: then any of them may have landed.

        A refusal's code may also be LEASE (not ours) or BEHIND (the stream has a later id, and not this entry).
        """
        calls = []
        for stream, entries in batches.items():
            arguments: list[Any] = [self._token, self._maxlen, SCHEMA_VERSION]
            for entry_id, encoded in entries:
                arguments += (str(entry_id), encoded)
            calls.append((FRAMES, [self._lease_key(stream), self._frames_key(stream)], arguments))
        added = {}
        for stream, answer in zip(batches, self._ask(calls), strict=True):
            if isinstance(answer, Refusal):
                added[stream] = Added(0, refusal=answer)
            else:
                why = answer[1].decode()
                added[stream] = Added(int(answer[0]), refusal=self._refusal(why) if why else None)
        return added

    # ── events ───────────────────────────────────────────────────────────────────────────────────────────────────

    def add_events(self, entries: Sequence[EventEntry]) -> Added:
        """Add events in order, each once however often it is sent. Raises RedisAway."""
        arguments: list[Any] = [self._maxlen, SCHEMA_VERSION, self._token, f"{self._prefix}:lease:"]
        for entry in entries:
            arguments += (entry.producer, entry.n, entry.encoded, entry.state_of)
        keys = [f"{self._prefix}:events", f"{self._prefix}:producers", f"{self._prefix}:streams"]
        (answer,) = self._ask([(EVENTS, keys, arguments)])
        if isinstance(answer, Refusal):
            return Added(0, refusal=answer)
        why = answer[2].decode()
        return Added(int(answer[0]), int(answer[1]), refusal=self._refusal(why) if why else None)

    def set_states(self, states: Mapping[StreamId, bytes]) -> None:
        """Put the latest states back where a server has forgotten them. Raises RedisAway."""
        streams = f"{self._prefix}:streams"
        self._ask([(STATE, [streams, self._lease_key(s)], [self._token, s, state]) for s, state in states.items()])

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _lease_key(self, stream: StreamId) -> str:
        return f"{self._prefix}:lease:{stream}"

    def _frames_key(self, stream: StreamId) -> str:
        return f"{self._prefix}:frames:{stream}"

    def _ask(self, calls: Sequence[tuple[str, Sequence[str], Sequence[Any]]]) -> list[Any]:
        """Run scripts in one round trip; an answer, or a Refusal, for each."""
        return self._execute([("EVAL", script, len(keys), *keys, *arguments) for script, keys, arguments in calls])

    def _execute(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Send commands in one go and read their answers, or Refusals. Raises RedisAway."""
        if not commands:
            return []
        connection = self._connection
        if connection is None:
            msg = f"{self}: not connected"
            raise RedisAway(msg)
        answers: list[Any] = []
        try:
            connection.send_packed_command(connection.pack_commands(commands), check_health=False)
            for _ in commands:
                answers.append(self._answer(connection))
        except (redis.RedisError, OSError) as error:
            raise self._away(error) from None
        return answers

    def _answer(self, connection: Any) -> Any:
        try:
            return connection.read_response()
        except redis.ResponseError as error:
            code = next((code for kind, code in _CODES if isinstance(error, kind)), None)
            if code in _AWAY:
                raise
            return self._refusal(f"{code} {error}" if code else str(error))

    def _refusal(self, text: str) -> Refusal:
        """From Redis's own words; raises RedisAway if they say so."""
        text = scrub(_FRAME.sub("", text).strip(), self._url)
        if "can't run this command" in text:  # a right that is missing inside a script has no code of its own
            text = f"NOPERM {text.removeprefix('ERR ')}"
        code = text.partition(" ")[0]
        if code in _AWAY:
            self.disconnect()
            msg = f"{self}: {text}"
            raise RedisAway(msg)
        return Refusal(code, text)

    def _away(self, error: Exception) -> RedisAway:
        self.disconnect()
        text = scrub(str(error), self._url) or type(error).__name__
        if isinstance(error, redis.exceptions.AuthenticationError):
            return RedisAway(f"{self}: refused the password: {text}", hint="check the URL's user and password")
        return RedisAway(f"{self}: {text}")
