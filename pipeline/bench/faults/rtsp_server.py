"""A real RTSP server: GStreamer's, in a child process of the system's Python, serving prepared video.

`units_of` prepares a clip once (access units with their order, no encoding later), `RtspServer` serves any number of
mounts of them for ever. It can be killed, paused (SIGSTOP), restarted on the same port, told to switch a mount to
another clip and to drop packets. The cameras of `vedette bench faults`, and of the tests.
"""

from __future__ import annotations

import contextlib
import functools
import json
import signal
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import av
from av.bitstream import BitStreamFilterContext

from pipeline.bench.faults.warden import Watch, unwatched
from vedette.errors import MissingExtraError, VedetteError
from vedette.secrets import SecretUrl

PACKAGES = (
    "python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good "
    "gstreamer1.0-plugins-bad glib-networking"
)
_PYTHON = "/usr/bin/python3"
_CHILD = Path(__file__).with_name("rtsp_child.py")
_CODECS = {"h264": "h264", "hevc": "h265", "mjpeg": "jpeg"}
_ANNEX_B = {"h264": "h264_mp4toannexb", "h265": "hevc_mp4toannexb"}
_DELIMITERS = {"h264": b"\0\0\0\1\x09\xf0", "h265": b"\0\0\0\1\x46\x01\x50"}


class RtspServerError(VedetteError):
    """The RTSP server has ended, or cannot do what it was told."""


def units_of(clip: Path, out: Path) -> Path:
    """Write the clip's access units, Annex B or JPEG, as the server wants them. Returns `out`."""
    with av.open(str(clip)) as container:
        video: Any = container.streams.video[0]
        codec = _CODECS[video.codec_context.name]
        packets: list[Any] = [packet for packet in container.demux(video) if packet.pts is not None]
        order = {pts: index for index, pts in enumerate(sorted(packet.pts for packet in packets))}
        offsets = [order[packet.pts] - index for index, packet in enumerate(packets)]
        if codec in _ANNEX_B and not bytes(packets[0]).startswith((b"\0\0\0\1", b"\0\0\1")):
            bsf = BitStreamFilterContext(_ANNEX_B[codec], video)
            packets = [filtered for packet in packets for filtered in bsf.filter(packet)]
        context = video.codec_context
        header = {"codec": codec, "size_wh": (context.width, context.height), "delay": -min(offsets)}
        with out.open("wb") as file:
            file.write(json.dumps(header).encode() + b"\n")
            for offset, packet in zip(offsets, packets, strict=True):
                unit = _DELIMITERS.get(codec, b"") + bytes(packet)
                file.write(struct.pack("<iI", offset, len(unit)) + unit)
    return out


@functools.cache
def check_parts() -> None:
    """Raise MissingExtraError, with what to install, if the server cannot run here."""
    code = (
        "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst, GstRtspServer; "
        "Gst.init(None); import sys; "
        "sys.exit(not all(map(Gst.ElementFactory.find, ['appsrc','rtph264pay','rtph265pay','rtpjpegpay','h265parse'])))"
    )
    try:
        done = subprocess.run([_PYTHON, "-c", code], capture_output=True, timeout=60, check=False)
        said = done.stderr.decode(errors="replace").strip().splitlines()
        problem = None if done.returncode == 0 else (said[-1] if said else "an element of GStreamer's is missing")
    except OSError as error:
        problem = str(error)
    if problem is not None:
        msg = f"the RTSP server's parts are missing from {_PYTHON}: {problem}"
        raise MissingExtraError(msg, hint=f"apt-get install --no-install-recommends {PACKAGES}")


@dataclass(frozen=True)
class Certificate:
    """A certificate for 127.0.0.1 and localhost: `both` holds key and certificate, `ca` the latter."""

    both: Path
    ca: Path


@dataclass
class RtspServer:
    """One server process. Mounts are remembered, so that a restart serves them again.

    `watch` is told of each process as it starts: they end with us, but not while they are paused.
    """

    user: str | None = None
    password: str | None = None
    digest: bool = False
    certificate: Certificate | None = None
    port: int = 0
    watch: Watch = unwatched
    _mounts: dict[str, dict[str, Any]] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None

    # ── life ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> RtspServer:
        """Start, on the same port as before if there was one, with all mounts."""
        check_parts()
        assert self._process is None
        self._process = subprocess.Popen(
            [_PYTHON, str(_CHILD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.watch(self._process.pid)
        self.port = self._do(
            "start",
            port=self.port,
            user=self.user,
            password=self.password,
            digest=self.digest,
            tls=str(self.certificate.both) if self.certificate else None,
        )
        for mount in self._mounts.values():
            self._do("mount", **mount)
        return self

    def kill(self) -> None:
        """SIGKILL: connections close, nothing is said."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(20)
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    if pipe is not None:
                        pipe.close()

    def restart(self) -> None:
        """Kill it and start it again on the same port."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing comes any more."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._running().send_signal(signal.SIGCONT)

    # ── mounts ───────────────────────────────────────────────────────────────────────────────────────────────────

    def mount(
        self,
        path: str,
        media: Path | Sequence[Path],
        *,
        fps: float,
        drop: bool = False,
        clock_off: bool = False,
        phase: float | None = None,
    ) -> None:
        """Serve prepared units at `/path` for ever. `drop`: packets can be dropped; `clock_off`: wrong RTCP times.

        `phase`: by how much of a period, from 0 to 1, each unit is sent after a multiple of the period on the host's
        monotonic clock, also after a restart; None: from when the first client plays.
        Several media: `switch` chooses; all have the codec of the first.
        """
        files = [media] if isinstance(media, Path) else list(media)
        mount = {
            "path": f"/{path}",
            "media": [str(file) for file in files],
            "fps": fps,
            "drop": drop,
            "clock_off": clock_off,
            "phase": phase,
        }
        self._mounts[path] = mount
        self._do("mount", **mount)

    def forget(self, path: str) -> None:
        """Do not serve `/path` again after the next start."""
        del self._mounts[path]

    def switch(self, path: str, index: int) -> None:
        """Go on with another of the mount's media, once the present one is at its end."""
        self._do("switch", path=f"/{path}", index=index)

    def drop(self, path: str, probability: float) -> None:
        """Drop so many of the RTP packets from now on."""
        self._do("drop", path=f"/{path}", probability=probability)

    def sent(self, path: str) -> int:
        """How many access units the mount has sent since it was mounted."""
        return int(self._do("sent", path=f"/{path}"))

    def url(self, path: str, *, user: str | None = None, password: str | None = None) -> SecretUrl:
        """The URL of a mount, with the server's credentials unless others are given (`user=""`: none)."""
        user = self.user if user is None else user
        password = self.password if password is None else password
        who = f"{quote(user, safe='')}:{quote(password or '', safe='')}@" if user else ""
        scheme = "rtsps" if self.certificate else "rtsp"
        return SecretUrl(f"{scheme}://{who}127.0.0.1:{self.port}/{path}")

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the RTSP server is not running"
        return self._process

    def _do(self, do: str, **command: Any) -> Any:
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"do": do, **command}).encode() + b"\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            msg = f"the RTSP server has ended before it answered `{do}`"
            raise RtspServerError(msg)
        answer = json.loads(line)
        if "error" in answer:
            msg = f"the RTSP server cannot `{do}`: {answer['error']}"
            raise RtspServerError(msg)
        return answer["ok"]
