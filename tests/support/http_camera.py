"""An HTTP camera: MJPEG as multipart parts, or an MPEG transport stream, from the standard library's server."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import pytest

from tests.support.media import make_clip, painted_frames

_BOUNDARY = "vedetteframe"


def jpegs(count: int, size_wh: tuple[int, int] = (320, 240)) -> list[bytes]:
    """Painted frames as JPEG files."""
    pictures = []
    for frame in painted_frames(count, size_wh, pixels="yuvj420p"):
        buffer = io.BytesIO()
        with av.open(buffer, "w", format="image2pipe") as container:
            stream: Any = container.add_stream("mjpeg", rate=25)
            stream.width, stream.height = size_wh
            stream.pix_fmt = "yuvj420p"
            frame.pts = 0
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        pictures.append(buffer.getvalue())
    return pictures


def transport_stream(path: Path, **clip: Any) -> bytes:
    """A painted clip as MPEG-TS."""
    return make_clip(path, format="mpegts", **clip).read_bytes()


class HttpCamera:
    """Serves `/mjpeg` (parts, `fps` a second, for ever) and `/ts` (pieces, `fps` a second, then nothing more comes).

    `password`: asked for as basic authentication. `status`: answers every request with it instead.
    """

    def __init__(
        self,
        *,
        parts: Sequence[bytes] = (),
        pieces: Sequence[bytes] = (),
        fps: float = 50,
        password: str | None = None,
        status: int = 200,
        close_after: int | None = None,
    ) -> None:
        self._over = threading.Event()
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = f"Basic {base64.b64encode(f'viewer:{password}'.encode()).decode()}"
                if status != 200:
                    self.send_error(status)
                elif password is not None and self.headers.get("Authorization") != wanted:
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                elif self.path.startswith("/mjpeg"):
                    self.send_response(200)
                    self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
                    self.end_headers()
                    self._send(self._parts())
                elif self.path.startswith("/ts"):
                    self.send_response(200)
                    self.send_header("Content-Type", "video/mp2t")
                    self.end_headers()
                    self._send(iter(pieces))
                    if close_after is None:
                        camera._over.wait()
                else:
                    self.send_error(404)

            def _parts(self) -> Iterator[bytes]:
                sent = 0
                while close_after is None or sent < close_after:
                    for part in parts:
                        head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(part)}\r\n\r\n"
                        yield head.encode() + part + b"\r\n"
                        sent += 1

            def _send(self, pieces: Iterator[bytes]) -> None:
                try:
                    for piece in pieces:
                        self.wfile.write(piece)
                        self.wfile.flush()
                        if camera._over.wait(1 / fps):
                            return
                except OSError:
                    return

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def url(self, path: str, *, user: str = "") -> str:
        return f"http://{user + '@' if user else ''}127.0.0.1:{self.port}/{path}"

    def close(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def http_camera() -> Iterator[Callable[..., HttpCamera]]:
    """Starts HTTP cameras; all are closed after the test."""
    cameras: list[HttpCamera] = []

    def start(**options: Any) -> HttpCamera:
        camera = HttpCamera(**options)
        cameras.append(camera)
        return camera

    yield start
    for camera in cameras:
        camera.close()
