"""`vedette tail [STREAM…]`: follow what is published, as lines for people or as JSON.

Works on the bare installation. Ctrl-C and a closed pipe end it (`main.py` makes exit statuses of them).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

from vedette.errors import ConfigError, MessageError, SubscribeError, UsageError

if TYPE_CHECKING:
    from stages.options import RedisSinkOptions
    from vedette.client import BadEntry, Gap, LinkChange, Received, Subscriber
    from vedette.client.types import AnyEvent
    from vedette.messages import FrameMessage

    Item: TypeAlias = Received[FrameMessage] | Received[AnyEvent] | Gap

_EPILOG = """\
A line has the time of capture, the stream, the frame's number and what was seen in it: `2 person #41 #44?, 1 car #12~`
is two persons and a car with their track ids; `?` marks a track that is not confirmed yet, `~` one that is not seen at
the moment. A gap says which messages were missed.
With --json each line is {"id": …, "message": …} with the message as docs/messages.md describes it, or {"gap": …}.

examples:
  vedette tail --config cameras.yaml                 all frames, from now on
  vedette tail gate lobby --redis redis://10.0.0.5   two streams of another machine
  vedette tail --events --from start                 what happened so far, and from now on
  vedette tail gate --json --count 100 | jq .message.objects

Where Redis is: --redis (never with a password: others can read a command line), else the first redis sink of --config,
else the environment's VEDETTE_REDIS_URL, which may have one. While Redis is away, it is tried again for ever.
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "tail",
        help="follow what is published",
        description="Follow the frames of all streams, or of each STREAM; or the events.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("streams", nargs="*", metavar="STREAM", help="the id of a stream (default: all)")
    parser.add_argument("--events", action="store_true", help="follow the events instead of the frames")
    parser.add_argument("--json", action="store_true", help="print JSON, one message a line")
    parser.add_argument(
        "--from",
        dest="start",
        default="now",
        metavar="PLACE",
        help="where to begin: now (default), start, the id of a message (then after it), or Unix milliseconds",
    )
    parser.add_argument("--count", type=_count, metavar="N", help="end after N messages (default: never)")
    parser.add_argument("--prefix", metavar="P", help="the prefix of the keys (default: the sink's, or vedette)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--config", type=Path, metavar="FILE", help="take Redis from this configuration")
    where.add_argument("--redis", metavar="URL", help="redis://HOST[:PORT][/DB], rediss:// or unix://, no password")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from vedette.cli.tail_lines import human_line, json_line
    from vedette.client import Gap
    from vedette.client.entries import is_start

    start = {"now": "$", "start": "0"}.get(arguments.start, arguments.start)
    if not is_start(start) or start == "resume":
        text = f"--from: expected now, start, the id of a message or Unix milliseconds, got {arguments.start!r}"
        raise UsageError(text)
    for stream in arguments.streams:
        if not stream.isprintable() or not stream or "://" in stream:
            text = "STREAM: expected the id of a stream"  # what was given may be a URL with a password: not shown
            raise UsageError(text, hint="Redis is given as --redis URL, or in VEDETTE_REDIS_URL")
    show = json_line if arguments.json else human_line
    with _subscriber(arguments) as subscriber:
        left: int | None = arguments.count
        for item in _follow(subscriber, arguments, start):
            print(show(item), flush=True)
            if left is not None and not isinstance(item, Gap):
                left -= 1
                if left == 0:
                    break
    return 0


def _follow(subscriber: Subscriber, arguments: argparse.Namespace, start: str) -> Iterator[Item]:
    wanted = set(arguments.streams)
    _name_the_unknown(subscriber, wanted, any_stream=not arguments.events)
    if not arguments.events:
        yield from subscriber.frames(*arguments.streams, start=start)
        return
    for item in subscriber.events(start=start):
        if not wanted or item.stream in wanted or not item.stream:  # a gap in the events is nobody's own
            yield item


def _name_the_unknown(subscriber: Subscriber, wanted: set[str], *, any_stream: bool) -> None:
    """Say so if a wanted stream has never been there, or none at all: it may be misspelt, or yet to come."""
    try:
        known = subscriber.streams()
    except (SubscribeError, MessageError):
        return  # following will say what is wrong
    if any_stream and not wanted and not known:
        _say("no stream has been published there yet, or under another --prefix; waiting for one")
    for stream in sorted(wanted - known.keys()):
        there = ", ".join(known) if known else "none"
        _say(f"there is no stream {_safe(stream)!r} yet; waiting for it (there are: {_safe(there)})")


def _subscriber(arguments: argparse.Namespace) -> Subscriber:
    from vedette.client import Subscriber
    from vedette.client.address import ENVIRONMENT, SCHEMES
    from vedette.secrets import SecretUrl

    url: SecretUrl | None = None  # then that of the environment
    prefix, tls_ca, tls_verify = "vedette", None, True
    if arguments.redis is not None:
        url = SecretUrl(arguments.redis)
        if url.scheme not in SCHEMES:
            text = "--redis: expected a URL that begins with redis://, rediss:// or unix://"
            raise UsageError(text)
        if url.has_password:
            text = "--redis: expected a URL without user and password, since others can read a command line"
            raise UsageError(text, hint="put the whole URL into the environment: VEDETTE_REDIS_URL")
    elif arguments.config is not None:
        sink = _redis_sink(arguments.config)
        url, prefix, tls_ca, tls_verify = sink.url, sink.prefix, sink.tls.ca, sink.tls.verify
    if url is None and not os.environ.get(ENVIRONMENT):
        text = "which Redis? Expected --config FILE, --redis URL, or a URL in the environment's VEDETTE_REDIS_URL"
        raise UsageError(text)
    return Subscriber(
        url,
        prefix=prefix if arguments.prefix is None else arguments.prefix,
        tls_ca=tls_ca,
        tls_verify=tls_verify,
        on_bad=_say_bad,
        on_link=_say_link,
    )


def _redis_sink(path: Path) -> RedisSinkOptions:
    from pipeline.clock import SystemClock
    from pipeline.config_file import load_config
    from pipeline.logs import configure_logging

    configure_logging(level="warning", format="human", clock=SystemClock())
    for sink in load_config(path, os.environ).sinks:
        if sink.__struct_config__.tag == "redis":
            return cast("RedisSinkOptions", sink)
    problem = f"{path}: sinks: expected one of kind redis, got none"
    raise ConfigError(problem)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        message = f"expected a number > 0, got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def _say_link(change: LinkChange) -> None:
    _say(change.text)


def _say_bad(bad: BadEntry) -> None:
    _say(f"skipped entry {bad.id} of {_safe(bad.key)}: {bad.error}")


def _say(text: str) -> None:
    print(f"vedette tail: {text}", file=sys.stderr, flush=True)


def _safe(text: str) -> str:
    """Without what a terminal would obey."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
