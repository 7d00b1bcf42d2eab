"""A whole Machine on scripted sources, a scripted engine and an outlet that collects."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from engines.options import ModelOptions
from pipeline.assembly import Machine, Outcome
from pipeline.config import Config
from pipeline.ledger import Ledger
from pipeline.outgoing import Outlet
from stages.options import JsonlSinkOptions, StreamOptions
from stages.source import Connection, ConnectionInfo, Decoded, Trouble
from stages.types import Clock
from tests.support.core import LIMIT_S, Collector
from tests.support.scripted import MS
from tests.support.scripted_engine import GreyPicture, ScriptedEngine
from vedette.secrets import SecretUrl

Pictures = Callable[[threading.Event], Iterable[Decoded | Trouble]]
"""What a source yields, given the event that stops it."""


class _Played:
    def __init__(self, pictures: Iterable[Decoded | Trouble]) -> None:
        self.info = ConnectionInfo(codec="grey", finite=True)
        self._pictures = pictures

    def pictures(self) -> Iterator[Decoded | Trouble]:
        yield from self._pictures

    def close(self) -> None: ...


def decoded(number: int, *, mono_ns: int = 0) -> Decoded:
    """The picture of that number: grey of level `number % 200`, 40 ms after the one before."""
    picture = GreyPicture(number % 200)
    return Decoded(pts=number * 40, time_base=MS, mono_ns=mono_ns, decoded_ns=mono_ns, picture=picture)


def film(count: int) -> Pictures:
    """So many pictures, as fast as they are taken."""
    return lambda _: (decoded(number) for number in range(count))


def camera(first: int = 1) -> Pictures:
    """A few pictures, then none until the stop."""

    def pictures(stop: threading.Event) -> Iterator[Decoded]:
        for number in range(first):
            yield decoded(number)
        stop.wait(LIMIT_S)

    return pictures


class Running:
    """A Machine in a thread of its own: `files` and `cameras` by name."""

    def __init__(
        self,
        *,
        files: Mapping[str, Pictures] | None = None,
        cameras: Mapping[str, Pictures] | None = None,
        engine: ScriptedEngine | None = None,
        clock: Clock | None = None,
        shutdown_s: float = 10.0,
        at_once: bool = True,
    ) -> None:
        self.engine = engine or ScriptedEngine()
        self.outcome: Outcome | None = None
        self.error: BaseException | None = None
        self._sources = {**(files or {}), **(cameras or {})}
        self._at_once = at_once
        streams = tuple(
            StreamOptions(id=name, url=SecretUrl(f"none/{name}.mkv"), mode="file" if name in (files or {}) else "live")
            for name in self._sources
        )
        config = Config(
            version=1,
            model=ModelOptions(path="none"),
            streams=streams,
            sinks=(JsonlSinkOptions(path="none"),),
            shutdown_s=shutdown_s,
        )
        self.outlet: Collector
        self.machine = Machine(
            config,
            clock=clock,
            opener=self._open,
            engine_opener=lambda *_, **__: self.engine,
            outlet_builder=self._build_outlet,
        )
        self._thread: threading.Thread | None = None

    def start(self, beside: Sequence[tuple[str, Callable[[], None]]] = (), **options: Any) -> Running:
        def body() -> None:
            try:
                self.outcome = self.machine.run(beside, **options)
            except BaseException as error:  # noqa: BLE001 - raised by `join`
                self.error = error

        self._thread = threading.Thread(target=body, name="main of the machine", daemon=True)
        self._thread.start()
        return self

    def join(self) -> Outcome:
        """Wait for its end; raises what it raised."""
        assert self._thread is not None
        self._thread.join(LIMIT_S)
        assert not self._thread.is_alive(), "the machine does not end"
        if self.error is not None:
            raise self.error
        assert self.outcome is not None
        return self.outcome

    def stop(self) -> Outcome:
        self.machine.request_stop()
        return self.join()

    @property
    def is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def threads_left(self) -> set[str]:
        return {thread.name for thread in threading.enumerate()} & set(self.machine.thread_ids())

    def _open(self, options: StreamOptions, clock: Clock, stop: threading.Event) -> Connection:
        return _Played(self._sources[options.id](stop))

    def _build_outlet(self, *_: object, ledger: Ledger, **__: object) -> list[Outlet]:
        self.outlet = Collector(ledger, at_once=self._at_once)
        return [self.outlet]
