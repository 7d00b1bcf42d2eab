"""`python -m tests.gpu.repeat_clip SOURCE OUT TIMES`: a film again and again, as one file, nothing encoded anew."""

from __future__ import annotations

import sys
from pathlib import Path

import av


def repeat(source: Path, out: Path, times: int) -> int:
    """Copy the packets of the first video stream `times` times, one after the other in time; how many there are."""
    count = 0
    with av.open(str(source)) as inner, av.open(str(out), "w") as container:
        video = inner.streams.video[0]
        stream = container.add_stream_from_template(video)
        packets = [packet for packet in inner.demux(video) if packet.dts is not None]
        shown = [packet.pts for packet in packets if packet.pts is not None]
        step = min(packet.duration for packet in packets if packet.duration)
        length = max(shown) - min(shown) + step
        whens = [(packet.pts, packet.dts) for packet in packets]
        for turn in range(times):
            for packet, (pts, dts) in zip(packets, whens, strict=True):
                packet.stream = stream
                packet.pts = None if pts is None else pts + turn * length
                packet.dts = dts + turn * length
                packet.time_base = video.time_base
                container.mux(packet)
                count += 1
    return count


if __name__ == "__main__":
    given, written, turns = sys.argv[1:]
    sys.stdout.write(f"{repeat(Path(given), Path(written), int(turns))} packets\n")
