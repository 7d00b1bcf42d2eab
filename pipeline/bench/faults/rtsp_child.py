"""A real RTSP server (GStreamer), run by the system's own Python as a child process; driven by `rtsp_server.py`.

It serves prepared access units without encoding anything, each mount from one thread, for ever. Commands come as JSON
lines on standard input, one answer each goes to standard output; it ends when its standard input does, so that it never
outlives its owner. Passwords come the same way, never on the command line. Standard library and gi only.
"""

from __future__ import annotations

import json
import struct
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

CAPS = {
    "h264": "video/x-h264,stream-format=byte-stream,alignment=au",
    "h265": "video/x-h265,stream-format=byte-stream,alignment=au",
}
# Parameter sets are in the units already. With config-interval=-1 the payloader repeats them before every slice of a
# key frame, and a decoder takes the second slice for another picture.
PAYLOADERS = {
    "h264": "h264parse ! rtph264pay name={name} pt=96 config-interval=0",
    "h265": "h265parse ! rtph265pay name={name} pt=96 config-interval=0",
    "jpeg": "rtpjpegpay name={name} pt=26",
}
RTPBIN_NTP_FROM_THE_PIPELINE_CLOCK = 3


class Units:
    """Access units of one file, in decoding order: (display order less decoding order, bytes)."""

    def __init__(self, path: str) -> None:
        with Path(path).open("rb") as file:
            header = json.loads(file.readline())
            self.codec = header["codec"]
            self.size_wh = header["size_wh"]
            self.delay = header["delay"]
            self.units: list[tuple[int, bytes]] = []
            while head := file.read(8):
                offset, length = struct.unpack("<iI", head)
                self.units.append((offset, file.read(length)))


class Mount:
    """One path: the media it may serve (switched on command) and how fast."""

    def __init__(self, command: dict[str, Any], loaded: Callable[[str], Units]) -> None:
        self.media = [loaded(path) for path in command["media"]]
        self.fps = command["fps"]
        self.phase = command.get("phase")
        self.chosen = 0
        self.drop = command.get("drop", False)
        self.clock_off = command.get("clock_off", False)
        self.probability = 0.0
        self.droppers: list[Any] = []
        self.sent = 0

    def launch(self) -> str:
        first = self.media[0]
        caps = CAPS.get(first.codec) or "image/jpeg,width={},height={},framerate=0/1".format(*first.size_wh)
        source = f"appsrc name=source is-live=true format=time do-timestamp=false max-bytes=0 caps={caps}"
        name = "payloader" if self.drop else "pay0"
        tail = " ! identity name=pay0" if self.drop else ""
        return f"( {source} ! {PAYLOADERS[first.codec].format(name=name)}{tail} )"

    def configure(self, _factory: Any, media: Any) -> None:
        element = media.get_element()
        source = element.get_child_by_name("source")
        if self.drop:
            dropper = element.get_child_by_name("pay0")
            dropper.set_property("drop-probability", self.probability)
            self.droppers.append(dropper)
        over = threading.Event()
        media.connect("unprepared", lambda _media: over.set())
        media.connect("prepared", self.prepared)
        threading.Thread(target=self.feed, args=(source, over), daemon=True).start()

    def prepared(self, media: Any) -> None:
        if not self.clock_off:
            return
        iterator = media.get_element().get_parent().iterate_recurse()
        while True:
            found, element = iterator.next()
            if found != Gst.IteratorResult.OK:
                return
            if element.get_factory() and element.get_factory().get_name() == "rtpbin":
                element.set_property("ntp-time-source", RTPBIN_NTP_FROM_THE_PIPELINE_CLOCK)

    def feed(self, source: Any, over: threading.Event) -> None:
        """Push one access unit after the other at the mount's rate, from the first one on, for ever."""
        period = int(1e9 / self.fps)
        while source.current_state < Gst.State.PLAYING or source.get_clock() is None:
            if over.wait(0.002):
                return
        clock = source.get_clock()
        start = clock.get_time()
        if self.phase is not None:
            # The clock is the host's monotonic one, the same for every server and after every restart.
            start = (start // period + 1) * period + int(self.phase * period)
            if over.wait((start - clock.get_time()) / 1e9):
                return
        base = start - source.get_base_time()
        media, index, sent = self.media[self.chosen], 0, 0
        while not over.is_set():
            if index == 0:
                media = self.media[self.chosen]
            offset, unit = media.units[index]
            index = (index + 1) % len(media.units)
            buffer = Gst.Buffer.new_wrapped(unit)
            buffer.dts = base + sent * period
            buffer.pts = buffer.dts + (offset + media.delay) * period
            buffer.duration = period
            sent += 1
            self.sent += 1
            if source.emit("push-buffer", buffer) != Gst.FlowReturn.OK:
                return
            late = clock.get_time() - (start + sent * period)
            if late < 0 and over.wait(-late / 1e9):
                return


class Server:
    def __init__(self) -> None:
        self.loaded: dict[str, Units] = {}
        self.mounts: dict[str, Mount] = {}
        self.server: Any = None

    def do_start(self, command: dict[str, Any]) -> Any:
        server = self.server = GstRtspServer.RTSPServer()
        server.set_address("127.0.0.1")
        server.set_service(str(command["port"]))
        user, tls = command.get("user"), command.get("tls")
        if user or tls:
            auth = GstRtspServer.RTSPAuth()
            token = GstRtspServer.RTSPToken()
            token.set_string("media.factory.role", "viewer")
            if user:
                if command.get("digest"):
                    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
                    auth.add_digest(user, command["password"], token)
                else:
                    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, command["password"]), token)
            else:
                auth.set_default_token(token)
            if tls:
                auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(tls))
            server.set_auth(auth)
        self.guarded = bool(user or tls)
        if not server.attach(None):
            msg = f"port {command['port']} is taken"
            raise RuntimeError(msg)
        return server.get_bound_port()

    def do_mount(self, command: dict[str, Any]) -> None:
        mount = Mount(command, self.load)
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(mount.launch())
        factory.set_shared(True)
        if self.guarded:
            role = "viewer,media.factory.access=(boolean)true,media.factory.construct=(boolean)true"
            factory.add_role_from_structure(Gst.Structure.from_string(role)[0])
        factory.connect("media-configure", mount.configure)
        self.server.get_mount_points().add_factory(command["path"], factory)
        self.mounts[command["path"]] = mount

    def do_switch(self, command: dict[str, Any]) -> None:
        self.mounts[command["path"]].chosen = command["index"]

    def do_drop(self, command: dict[str, Any]) -> None:
        mount = self.mounts[command["path"]]
        mount.probability = command["probability"]
        for dropper in mount.droppers:
            dropper.set_property("drop-probability", mount.probability)

    def do_sent(self, command: dict[str, Any]) -> int:
        return self.mounts[command["path"]].sent

    def load(self, path: str) -> Units:
        if path not in self.loaded:
            self.loaded[path] = Units(path)
        return self.loaded[path]

    def command(self, line: str) -> None:
        command = json.loads(line)
        try:
            answer = {"ok": getattr(self, "do_" + command["do"])(command)}
        except Exception as error:  # noqa: BLE001 - told to the owner, who raises it
            answer = {"error": repr(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def main() -> None:
    Gst.init(None)
    loop = GLib.MainLoop()
    server = Server()

    def read() -> None:
        for line in sys.stdin:
            GLib.idle_add(server.command, line)
        GLib.idle_add(loop.quit)

    threading.Thread(target=read, daemon=True).start()
    loop.run()


main()
