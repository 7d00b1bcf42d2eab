"""A long file to analyse at full speed: a short clip's packets again and again, nothing encoded anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av


def long_file(clip: Path, out: Path, frames: int) -> Path:
    """Write `clip` (a key frame first, no B-frames) over and over until `out` has so many frames. Returns `out`."""
    with av.open(str(clip)) as source:
        video: Any = source.streams.video[0]
        packets = [(bytes(packet), packet.is_keyframe) for packet in source.demux(video) if packet.pts is not None]
        step = int(1 / (video.average_rate * video.time_base))
        with av.open(str(out), "w") as container:
            stream: Any = container.add_stream_from_template(video)
            for number in range(frames):
                data, key = packets[number % len(packets)]
                packet: Any = av.Packet(data)
                packet.pts = packet.dts = number * step
                packet.duration = step
                packet.time_base = video.time_base
                packet.is_keyframe = key
                packet.stream = stream
                container.mux(packet)
    return out
