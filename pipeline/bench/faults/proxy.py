"""TCP proxies on loopback, which make the network's faults: one thread with an event loop for all of them.

A proxy forwards both ways; on command it closes and refuses connections, forwards nothing, forwards late, or lets
RTSP's packets through a `Weather`. Called from the thread that runs the schedule.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from types import TracebackType

from pipeline.bench.faults.ports import HOST, free_port
from pipeline.bench.faults.rtp_weather import FAIR, RtspStream, Weather

_PIECE = 1 << 16
_PATIENCE_S = 10.0


class Proxy:
    """One listening port in front of one server. What is public may be called from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, target_port: int, rng: random.Random | None) -> None:
        """`rng`: for RTSP's weather; None forwards bytes as they are."""
        self._loop = loop
        self._rng = rng
        self.target_port = target_port
        self.port = free_port()
        self.weather: Weather = FAIR
        self.delay_s = 0.0
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, HOST, self.port)

    def cut(self) -> None:
        """Close every connection and refuse new ones; returns when that is done."""
        asyncio.run_coroutine_threadsafe(self.close(), self._loop).result(_PATIENCE_S)

    def mend(self) -> None:
        """Take connections again."""
        asyncio.run_coroutine_threadsafe(self.listen(), self._loop).result(_PATIENCE_S)

    def hush(self) -> None:
        """Connections stay open, nothing comes through."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def speak(self) -> None:
        self._loop.call_soon_threadsafe(self._flowing.set)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(HOST, self.target_port)
        except OSError:
            writer.transport.abort()  # what a dead server's port would do
            return
        both = {writer, far_writer}
        self._writers |= both
        rtsp = None if self._rng is None else RtspStream(self._rng)
        pumps = [
            asyncio.ensure_future(self._pump(reader, far_writer, None)),
            asyncio.ensure_future(self._pump(far_reader, writer, rtsp)),
        ]
        try:
            # asyncio logs a handler that was cancelled with a traceback: all are, at the end.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._writers -= both
            for end in both:
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rtsp: RtspStream | None) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_PIECE):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                await self._flowing.wait()
                writer.write(data if rtsp is None else rtsp.feed(data, self.weather))
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()


class Proxies:
    """The thread of all proxies: `with Proxies() as proxies: proxies.add(port)`."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="faults:proxies", daemon=True)
        self._proxies: list[Proxy] = []

    def __enter__(self) -> Proxies:
        self._thread.start()
        return self

    def add(self, target_port: int, rng: random.Random | None = None) -> Proxy:
        proxy = Proxy(self._loop, target_port, rng)
        asyncio.run_coroutine_threadsafe(proxy.listen(), self._loop).result(_PATIENCE_S)
        self._proxies.append(proxy)
        return proxy

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(_PATIENCE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE_S)
        self._loop.close()

    async def _end(self) -> None:
        for proxy in self._proxies:
            await proxy.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
