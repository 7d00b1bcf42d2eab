"""What the cameras film and what the file holds: rendered streets, encoded once, before any fault."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from pipeline.bench.faults.rtsp_server import units_of
from stages.source.synthetic.options import parse_synthetic
from stages.source.synthetic.render import Renderer
from stages.source.synthetic.scene import Scene

FPS = 10
SIZES_WH = ((416, 256), (320, 192))
FILE_FRAMES = 300
_FRAMES = 40
# A key frame every half second: what a lost connection costs beside the back-off.
_KEY_FRAMES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Footage:
    """`cameras`: for each camera its access units in both sizes. `file`: a clip of FILE_FRAMES pictures."""

    cameras: tuple[tuple[Path, Path], ...]
    file: Path


def make_footage(folder: Path, cameras: int) -> Footage:
    """Render and encode it into `folder`. The same every time."""
    folder.mkdir(parents=True, exist_ok=True)
    filmed = []
    for number in range(1, cameras + 1):
        pictures = _render(number)
        filmed.append((_units(folder, f"{number}-large", pictures, 0), _units(folder, f"{number}-small", pictures, 1)))
    return Footage(cameras=tuple(filmed), file=_file(folder, _render(cameras + 1)))


def _render(seed: int) -> list[Any]:
    width, height = SIZES_WH[0]
    url = f"synthetic://street?people=5&vehicles=1&bikes=0&size={width}x{height}&fps={FPS}&seed={seed}"
    renderer = Renderer(Scene(parse_synthetic(url)))
    return [
        av.VideoFrame.from_ndarray(renderer.render(frame).i420.copy(), format="yuv420p") for frame in range(_FRAMES)
    ]


def _units(folder: Path, name: str, pictures: Sequence[Any], size: int) -> Path:
    return units_of(_encode(folder / f"{name}.mkv", pictures, SIZES_WH[size], 1), folder / f"{name}.units")


def _file(folder: Path, pictures: Sequence[Any]) -> Path:
    return _encode(folder / "archive.mkv", pictures, SIZES_WH[1], FILE_FRAMES // _FRAMES + 1)


def _encode(path: Path, pictures: Sequence[Any], size_wh: tuple[int, int], times: int) -> Path:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=Fraction(FPS))
        stream.width, stream.height = size_wh
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = _KEY_FRAMES
        stream.codec_context.max_b_frames = 0
        stream.options = {"preset": "ultrafast", "x264-params": "sliced-threads=0:slices=1:scenecut=0"}
        wanted = len(pictures) if times == 1 else FILE_FRAMES
        for number in range(wanted):
            frame = pictures[number % len(pictures)].reformat(*size_wh, format="yuv420p")
            frame.pts, frame.time_base = number, 1 / Fraction(FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
