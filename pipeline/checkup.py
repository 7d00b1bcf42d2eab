"""Does everything that a configuration names work, now? Model, streams, sinks and port, each tried for real.

In:  a configuration.
Out: a `Finding` for each part, in the configuration's order; nothing is left behind, no frame is published.
Streams are opened at the same time, each bounded by its own time-outs. Called by `vedette check`.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from pipeline.config import Config, HttpOptions
from pipeline.config_checks import host_and_port
from pipeline.supervisor import Supervisor
from stages.options import JsonlSinkOptions, RedisSinkOptions, StreamOptions
from stages.sink.jsonl import NOT_OF_LINES, is_of_lines
from stages.types import Clock
from vedette.errors import SourceError, VedetteError
from vedette.secrets import scrub

Part = Literal["model", "stream", "sink", "http"]
State = Literal["ok", "warning", "wrong"]

_AT_ONCE = 32
"""Streams opened at the same time; a guess: more would compete for the cores and run into their own time-outs."""
_GRACE_S = 2.0
_PORT_HINTS = {
    errno.EADDRINUSE: "another process listens there: stop it, or choose another port in http.listen",
    errno.EADDRNOTAVAIL: "this machine has no such address: give one of its own in http.listen",
    errno.EACCES: "this user may not have ports below 1024: choose another in http.listen",
}
_HINTS = {
    "refused": "check the address and the port, and that the camera is on",
    "timeout": "check the address, and that nothing between here and the camera blocks it",
    "unresolved": "check the host's name, or write its address",
}
_FILE_HINTS = {
    "refused": "give this user the right to read it",
    "corrupt": "does a player show it? It may be cut off or empty, or no video at all",
}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What was found about one part; `hint` says what to do where it is not `ok`."""

    part: Part
    name: str
    state: State
    detail: str
    hint: str | None = None


def check_up(config: Config, clock: Clock) -> list[Finding]:
    """Try everything. Raises only what is our own fault."""
    findings = [check_model(config, clock)]
    findings += check_streams(config.streams, clock)
    findings += check_sinks(config)
    if config.http is not None:
        findings.append(check_port(config.http))
    return findings


def exit_status(findings: list[Finding]) -> int:
    """0 all is well (warnings are); 2 the model cannot be used; 3 a stream, sink or port cannot be had."""
    wrong = {finding.part for finding in findings if finding.state == "wrong"}
    return 2 if "model" in wrong else 3 if wrong else 0


def check_model(config: Config, clock: Clock) -> Finding:
    """Open the engine and close it again."""
    from engines.runtimes import open_engine
    from pipeline.analysis import repeats
    from stages.suppress import Suppress

    name = Path(config.model.path).name
    try:
        engine = open_engine(
            config.model, now_ns=clock.mono_ns, at_most=config.batch.max, one_size=repeats(config.streams)
        )
        try:
            Suppress(engine.spec, config.model)  # knows whether the model has the classes that are asked for
            return Finding(part="model", name=name, state="ok", detail=engine.description)
        finally:
            engine.close()
    except VedetteError as error:
        return Finding(part="model", name=name, state="wrong", detail=error.message, hint=error.hint)


def check_streams(streams: tuple[StreamOptions, ...], clock: Clock) -> list[Finding]:
    """Open every stream and wait for its first picture."""
    findings: list[Finding] = []
    for start in range(0, len(streams), _AT_ONCE):
        findings += _check_together(streams[start : start + _AT_ONCE], clock)
    return findings


def check_sinks(config: Config) -> list[Finding]:
    """Reach every Redis, and see that spools and files can be written."""
    findings: list[Finding] = []
    streams = [stream.id for stream in config.streams]
    for sink in config.sinks:
        if isinstance(sink, RedisSinkOptions):
            findings.append(_check_redis(sink, streams))
            findings.append(_tried("spool", sink.spool.path, partial(_check_spool, sink)))
        else:
            findings.append(_tried("jsonl", sink.path, partial(_check_jsonl, sink)))
    return findings


def check_port(http: HttpOptions) -> Finding:
    """Whether the address is ours and free."""
    address = host_and_port(http.listen)
    assert address is not None, "the configuration was checked"
    host, port = address
    try:
        family, _, _, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(target)
    except OSError as error:
        hint = _PORT_HINTS.get(error.errno or 0, "check host and port in http.listen")
        reason = (error.strerror or "cannot be used").lower()
        return Finding(part="http", name=http.listen, state="wrong", detail=reason, hint=hint)
    return Finding(part="http", name=http.listen, state="ok", detail="free")


@dataclass(slots=True)
class _Probe:
    options: StreamOptions
    finding: Finding | None = None


def _check_together(streams: tuple[StreamOptions, ...], clock: Clock) -> list[Finding]:
    probes = [_Probe(options) for options in streams]
    group = Supervisor(clock)
    for probe in probes:

        def body(probe: _Probe = probe) -> None:
            probe.finding = _probe(probe.options, clock, group.stop)

        group.spawn(f"check:{probe.options.id}", body)
    limit_s = max(options.open_timeout_s + options.read_timeout_s for options in streams) + _GRACE_S
    group.join(timeout_s=limit_s)
    if group.failure is not None:
        raise group.failure.error
    group.request_stop()
    return [probe.finding or _wrong(probe.options, f"no picture within {limit_s:g} s", None) for probe in probes]


def _probe(options: StreamOptions, clock: Clock, stop: threading.Event) -> Finding:
    from stages.source import Decoded, open_connection
    from stages.source.av_open import is_local

    try:
        connection = open_connection(options, clock, stop)
        try:
            for item in connection.pictures():
                if isinstance(item, Decoded):
                    width, height = item.picture.size_wh
                    info = connection.info
                    rate = f", {info.fps:.4g} fps" if info.fps else ""
                    return Finding(
                        part="stream",
                        name=options.id,
                        state="ok",
                        detail=f"{info.codec} {width}x{height}{rate}, {options.url}",
                    )
        finally:
            connection.close()
    except SourceError as error:
        hint = _FILE_HINTS.get(error.reason) if is_local(options.url) else _HINTS.get(error.reason)
        return _wrong(options, f"{error.message} ({error.reason})", error.hint or hint)
    return _wrong(options, "ended before its first picture", None)


def _wrong(options: StreamOptions, detail: str, hint: str | None) -> Finding:
    text = scrub(f"{detail}, {options.url}", options.url)
    return Finding(part="stream", name=options.id, state="wrong", detail=text, hint=hint)


def _check_redis(sink: RedisSinkOptions, streams: list[str]) -> Finding:
    shown = str(sink.url)

    def finding(state: State, detail: str, hint: str | None = None) -> Finding:
        return Finding(part="sink", name="redis", state=state, detail=f"{scrub(detail, sink.url)}, {shown}", hint=hint)

    client = _redis_client(sink)
    try:
        client.ping()
        leased = [stream for stream in streams if client.exists(f"{sink.prefix}:lease:{stream}")]
        info = client.info()
    except redis.exceptions.AuthenticationError:
        return finding("wrong", "user or password refused", "check user and password in the sink's url")
    except redis.exceptions.NoPermissionError as error:
        return finding("wrong", str(error), "the account must be allowed PING, INFO, EXISTS and what sinks need")
    except redis.exceptions.ResponseError as error:
        return finding("wrong", str(error), "check the number of the database in the sink's url, and the server's log")
    except (redis.exceptions.RedisError, OSError) as error:
        hint = "start Redis, or correct the sink's url; `vedette run` waits for it and drops the frames of cameras"
        return finding("wrong", _words(error), hint)
    finally:
        client.close()
    server = info.get("redis_version", "?")
    if info.get("cluster_enabled"):
        return finding("wrong", "a Redis Cluster, which is not supported", "use one server, or a master with replicas")
    if info.get("role") == "slave":
        return finding("wrong", "a read-only replica", "give the address of the master")
    if leased:
        hint = "another process publishes them now; both at once is refused"
        return finding("warning", f"Redis {server}, leased at the moment: {', '.join(leased)}", hint)
    if not info.get("aof_enabled"):
        hint = "events survive a restart of Redis only with `appendonly yes` there"
        return finding("warning", f"Redis {server} without an append-only file", hint)
    return finding("ok", f"Redis {server}")


def _redis_client(sink: RedisSinkOptions) -> redis.Redis:
    tls: dict[str, object] = {}
    if sink.url.scheme == "rediss":
        tls = {"ssl_cert_reqs": "required" if sink.tls.verify else "none", "ssl_check_hostname": sink.tls.verify}
        if sink.tls.ca is not None:
            tls["ssl_ca_certs"] = sink.tls.ca
    return redis.Redis.from_url(
        sink.url.reveal(), socket_timeout=2.0, socket_connect_timeout=2.0, retry=Retry(NoBackoff(), 0), **tls
    )


def _words(error: Exception) -> str:
    """The inner reason of a connection error, without the address that redis puts before it."""
    cause = error.__cause__ or error.__context__
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.lower()
    return " ".join(str(error).split()) or type(error).__name__


def _tried(name: str, shown: str, check: Callable[[], Finding]) -> Finding:
    """What `check` finds, or that the path cannot be looked at: a folder without right, a name that is too long."""
    try:
        return check()
    except OSError as error:
        detail = f"{shown}: {error.strerror}"
        return Finding(part="sink", name=name, state="wrong", detail=detail, hint="correct the path, or choose another")


def _check_spool(sink: RedisSinkOptions) -> Finding:
    return _check_folder("spool", Path(sink.spool.path), needed_mb=sink.spool.max_mb)


def _check_jsonl(sink: JsonlSinkOptions) -> Finding:
    path = Path(sink.path)
    if path.exists() and not path.is_file() and not path.is_fifo() and not path.is_char_device():
        return Finding(part="sink", name="jsonl", state="wrong", detail=f"expected a file at {path}, found a folder")
    if path.is_file():
        with path.open("rb") as file:
            if not is_of_lines(file.fileno()):
                why = "choose another path: lines would be written on its end"
                return Finding(part="sink", name="jsonl", state="wrong", detail=f"{path}: {NOT_OF_LINES}", hint=why)
    if path.exists():
        writable = os.access(path, os.W_OK)
        hint = None if writable else "give this user the right to write it, or choose another path"
        detail = f"{path}" if writable else f"{path} cannot be written"
        return Finding(part="sink", name="jsonl", state="ok" if writable else "wrong", detail=detail, hint=hint)
    return _check_folder("jsonl", path.parent, needed_mb=None, shown=path)


def _check_folder(name: str, folder: Path, *, needed_mb: float | None, shown: Path | None = None) -> Finding:
    """Whether `folder` can be written, or made."""
    existing = next(parent for parent in _upwards(folder) if parent.exists() or parent.is_symlink())
    shown = shown or folder
    if not existing.is_dir():
        detail = f"{shown}: {existing} is not a folder"
        return Finding(
            part="sink", name=name, state="wrong", detail=detail, hint="move it away, or choose another path"
        )
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError:
        hint = "give this user the right to write there, or choose another path"
        return Finding(
            part="sink", name=name, state="wrong", detail=f"{shown}: {existing} cannot be written", hint=hint
        )
    free_mb = shutil.disk_usage(existing).free / 1e6
    if needed_mb is not None and free_mb < needed_mb:
        detail = f"{shown}: {free_mb:.0f} MB free, and the spool may take {needed_mb:g}"
        return Finding(part="sink", name=name, state="warning", detail=detail, hint="make room, or lower spool.max_mb")
    return Finding(part="sink", name=name, state="ok", detail=str(shown))


def _upwards(folder: Path) -> Iterator[Path]:
    yield folder
    yield from folder.parents
