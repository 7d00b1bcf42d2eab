"""From the configuration's sinks to their outlets; each has its own queues and threads.

Called by `pipeline/assembly.py`. What an outlet promises: `pipeline/outgoing.py`.
"""

from __future__ import annotations

import contextlib
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.ledger import Ledger
from pipeline.outgoing import Outlet
from pipeline.outlet_jsonl import JsonlOutlet, JsonlTimes
from pipeline.outlet_redis import RedisOutlet, RedisTimes
from pipeline.spool import Directory, Spool
from stages.options import JsonlSinkOptions, RedisSinkOptions, SinkOptions, SpoolOptions
from stages.types import Clock, StreamId
from vedette.errors import SinkError, SpoolError

EXIT_NOT_OPENED = 2
"""The exit status when a sink can't even be opened: another process has it, or it isn't where it should be. That is for
whoever configures, and not our own fault, as a sink that breaks later is.
"""


def build_outlets(
    sinks: Sequence[SinkOptions],
    *,
    streams: Sequence[StreamId],
    ledger: Ledger,
    clock: Clock,
    on_leased: Callable[[StreamId], None],
    redis_times: RedisTimes | None = None,
    jsonl_times: JsonlTimes | None = None,
) -> list[Outlet]:
    """Open what lies on this machine (spools, files), and make each sink known to the ledger. Connects to nothing.

    Names: `redis`, `jsonl`, the second of a kind `redis-2`. `on_leased` is called from a sink's thread for a stream
    that another process publishes. Raises SpoolError, SinkError.
    """
    try:
        return _build(sinks, streams, ledger, clock, on_leased, redis_times, jsonl_times)
    except SinkError as error:
        error.exit_status = EXIT_NOT_OPENED
        raise


def _build(
    sinks: Sequence[SinkOptions],
    streams: Sequence[StreamId],
    ledger: Ledger,
    clock: Clock,
    on_leased: Callable[[StreamId], None],
    redis_times: RedisTimes | None,
    jsonl_times: JsonlTimes | None,
) -> list[Outlet]:
    outlets: list[Outlet] = []
    counts: Counter[str] = Counter()
    with contextlib.ExitStack() as opened:
        for options in sinks:
            kind = "redis" if isinstance(options, RedisSinkOptions) else "jsonl"
            counts[kind] += 1
            name = kind if counts[kind] == 1 else f"{kind}-{counts[kind]}"
            ledger.open_sink(name)
            if isinstance(options, JsonlSinkOptions):
                jsonl = JsonlOutlet(name, options, ledger=ledger, clock=clock, times=jsonl_times or JsonlTimes())
                opened.callback(jsonl.abort)
                outlets.append(jsonl)
                continue
            spool = open_spool(options.spool, clock)
            opened.callback(spool.close)
            outlets.append(
                RedisOutlet(
                    name,
                    options,
                    spool,
                    streams=streams,
                    ledger=ledger,
                    clock=clock,
                    on_leased=on_leased,
                    nonce=secrets.token_hex(8),
                    times=redis_times or RedisTimes(),
                )
            )
        opened.pop_all()
    return outlets


def open_spool(options: SpoolOptions, clock: Clock) -> Spool:
    """Lock and recover the spool. Raises SpoolError."""
    directory = Directory(Path(options.path))
    try:
        return Spool(
            directory,
            max_bytes=int(options.max_mb * 1e6),
            retain_ns=int(options.retain_s * 1e9),
            now_ns=clock.mono_ns(),
            new_id=lambda: secrets.token_hex(8),
        )
    except OSError as error:
        directory.close()
        msg = f"spool {options.path}: cannot be read: {error.strerror}"
        raise SpoolError(msg) from error
    except SpoolError:
        directory.close()
        raise
