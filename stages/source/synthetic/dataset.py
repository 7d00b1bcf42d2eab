"""Writes a rendered scene as a data set: a video, pictures, and the truth as COCO JSON.

Called by `vedette synth`. The folder is written beside its place under another name and moved there when it is
complete, so that half a data set is never taken for a whole one.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import cv2

from stages.source.synthetic.options import SyntheticOptions
from stages.source.synthetic.render import Renderer, SyntheticPicture
from stages.source.synthetic.scene import Scene
from stages.source.synthetic.truth import TrueObject, true_objects
from vedette.errors import UsageError

CATEGORIES = {"person": 1, "vehicle": 2, "bike": 3}
LEAST_VISIBLE = 0.25
"""An object of which less can be seen is marked `iscrowd`: neither to be found nor a mistake when found."""
_JPEG_QUALITY = 92


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a data set holds."""

    frames: int
    images: int
    annotations: int
    tracks: int

    def counts(self) -> dict[str, int]:
        return asdict(self)


def write_dataset(out: Path, options: SyntheticOptions, *, every: int, progress: Callable[[], None]) -> Written:
    """Render the scene into the folder `out`, which must not exist or be empty; `progress` is called for each frame.

    Every `every`-th frame is written as a picture with its boxes. Raises UsageError if `out` cannot be written.
    """
    frames = options.frames
    if frames is None:
        msg = "a data set needs an end: give seconds"
        raise UsageError(msg)
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            msg = f"OUT: {out} exists already and is not an empty folder"
            raise UsageError(msg, hint="choose another name, or remove it first")
        out.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        msg = f"OUT: {out} cannot be written: {error.strerror}"
        raise UsageError(msg) from error
    try:
        written = _write(work, options, frames, every, progress)
        work.chmod(0o755)
        work.replace(out)
    except OSError as error:
        msg = f"OUT: {out} cannot be written: {error.strerror or error}"
        raise UsageError(msg) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return written


def _write(work: Path, options: SyntheticOptions, frames: int, every: int, progress: Callable[[], None]) -> Written:
    scene = Scene(options)
    renderer = Renderer(scene)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    (work / "images").mkdir()
    with _Video(work / "video.mp4", options) as video:
        for frame in range(frames):
            picture = renderer.render(frame)
            video.write(picture, frame)
            if frame % every == 0:
                name = f"{frame:06d}.jpg"
                _write_jpeg(work / "images" / name, picture)
                image_id = len(images) + 1
                width, height = options.size_wh
                images.append({"id": image_id, "file_name": name, "width": width, "height": height, "frame": frame})
                for truth in true_objects(scene, frame):
                    annotations.append(_annotation(len(annotations) + 1, image_id, truth))
            progress()
    document = {
        "info": {"description": "rendered by Vedette's synthetic camera", "options": asdict(options)},
        "images": images,
        "categories": [{"id": number, "name": name} for name, number in CATEGORIES.items()],
        "annotations": annotations,
    }
    (work / "annotations.json").write_text(json.dumps(document), encoding="utf-8")
    tracks = {annotation["track_id"] for annotation in annotations}
    return Written(frames=frames, images=len(images), annotations=len(annotations), tracks=len(tracks))


def _annotation(number: int, image_id: int, truth: TrueObject) -> dict[str, Any]:
    """COCO's fields for one object; the box is that of the whole object, within the picture."""
    x1, y1, x2, y2 = (round(value, 2) for value in truth.xyxy_px)
    seen = None if truth.visible_xyxy_px is None else [round(value, 2) for value in truth.visible_xyxy_px]
    return {
        "id": number,
        "image_id": image_id,
        "category_id": CATEGORIES[truth.kind],
        "bbox": [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)],
        "area": round(truth.area_px, 2),
        "iscrowd": int(truth.visible < LEAST_VISIBLE),
        "track_id": truth.id,
        "visibility": round(truth.visible, 4),
        "truncation": round(truth.truncated, 4),
        "visible_xyxy": seen,
    }


def _write_jpeg(path: Path, picture: SyntheticPicture) -> None:
    done, data = cv2.imencode(".jpg", picture.bgr(), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        msg = "the JPEG encoder failed"
        raise OSError(msg)
    path.write_bytes(data.tobytes())


class _Video:
    """An H.264 file that pictures are written into."""

    def __init__(self, path: Path, options: SyntheticOptions) -> None:
        rate = Fraction(options.fps).limit_denominator(1001)
        self._container = av.open(str(path), "w")
        self._stream: Any = self._container.add_stream("libx264", rate=rate)
        self._stream.width, self._stream.height = options.size_wh
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {"preset": "veryfast", "crf": "20"}
        self._time_base = 1 / rate

    def __enter__(self) -> _Video:
        return self

    def write(self, picture: SyntheticPicture, number: int) -> None:
        frame = av.VideoFrame.from_ndarray(picture.i420, format="yuv420p")
        frame.pts, frame.time_base = number, self._time_base
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                for packet in self._stream.encode(None):
                    self._container.mux(packet)
        finally:
            self._container.close()
