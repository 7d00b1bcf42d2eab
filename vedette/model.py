"""A detector in three lines, for programs that want boxes of pictures and no cameras, queues or Redis:

    from vedette import Model

    with Model("vedette-n") as model:
        for box in model.predict("street.jpg").boxes:
            print(box.class_name, box.score, box.xyxy_px)

Pictures go through the same letterbox, network, heads and suppression as the frames of a camera. It needs
`pip install 'vedette[cpu]'`; this module is imported when `vedette.Model` is first used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_type_hints, overload

import msgspec
import numpy as np
import numpy.typing as npt

from engines.drawing import draw, to_rgb
from engines.engine import Engine
from engines.options import ModelOptions
from engines.pil_picture import PilImage, rgb_of_pil
from engines.predict import OneByOne
from engines.runtimes import open_engine, read_model_file
from engines.spec import ModelSpec
from engines.stills import read_still
from engines.types import U8, Detections, Picture, RgbPicture, SizeWH
from engines.weights import find_model
from pipeline.clock import SystemClock
from stages.suppress import Suppress
from vedette.errors import DataError, EngineError, PictureError, UsageError
from vedette.whole_file import write_whole

if TYPE_CHECKING:
    from engines.validate import ApReport

__all__ = ["Box", "Model", "ModelInfo", "Prediction"]


Source = str | Path | npt.NDArray[np.integer[Any] | np.floating[Any]] | PilImage
"""A file, an array (height, width, 3) uint8, or an image of PIL. Of its arrays cv2 says only that they are numbers."""

_Source = TypeVar("_Source", bound=Source)  # a list[str] is no list[Source]; a mixture is one, and no list[_Source]


class Box(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was found. `xyxy_px`: left, top, right, bottom in pixels of the picture, from its corner."""

    class_name: str
    score: float
    xyxy_px: tuple[float, float, float, float]


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a model is and how it runs here.

    `gate` is the report of the accuracy gate that let an INT8 engine pass; `unverified` says that it was built around
    the gate. `parameters` and `gflops` (of one picture, 2 x multiply-accumulate of all convolutions) are None where
    the package onnx, which counts them, is not installed.
    """

    name: str
    path: str
    sha256: str
    file_bytes: int
    classes: tuple[str, ...]
    input_size_wh: SizeWH
    runtime: str
    score: float
    nms_iou: float
    gate: dict[str, Any] | None
    unverified: bool
    parameters: int | None
    gflops: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """What was found in one picture, the surest first; as `boxes`, or as arrays in `detections`.

    `path` is None for a picture that was not a file. The picture itself is kept, not copied, for `plot`.
    """

    size_wh: SizeWH
    classes: tuple[str, ...]
    detections: Detections
    picture: Picture | RgbPicture
    path: Path | None = None

    def __len__(self) -> int:
        return len(self.detections)

    @property
    def boxes(self) -> tuple[Box, ...]:
        found = self.detections
        rows = zip(found.class_ids.tolist(), found.scores.tolist(), found.xyxy_px.tolist(), strict=True)
        return tuple(
            Box(class_name=self.classes[number], score=score, xyxy_px=(xyxy[0], xyxy[1], xyxy[2], xyxy[3]))
            for number, score, xyxy in rows
        )

    def plot(self) -> U8:
        """The picture with the boxes drawn into it, a new array (height, width, 3) uint8 RGB."""
        rgb = to_rgb(self.picture)
        draw(rgb, self.detections, self.classes)
        return rgb

    def save(self, path: str | Path) -> Path:
        """Write `plot()` to a file; its ending says how (.jpg, .png, …). Raises UsageError if it cannot be written."""
        import cv2

        path = Path(path)
        try:
            known, coded = cv2.imencode(path.suffix or " ", self.plot()[:, :, ::-1])
        except cv2.error:
            known = False
        if not known:
            msg = f"{path}: expected the ending of a picture's format, got {path.suffix or 'none'}"
            raise UsageError(msg, hint="name it .jpg or .png")
        try:
            write_whole(path, coded.tobytes())
        except OSError as error:
            msg = f"{path} cannot be written: {error.strerror}"
            raise UsageError(msg) from error
        return path


class Model:
    """A detector, open until `close` (or the end of its `with`). One thread at a time.

    `model` is the name of one that ships ("vedette-n") or a file; `backend` and `precision` are those of a
    configuration's `model` section; `score` and `nms_iou` default to the model's own, `classes` to all of them.
    Raises ModelError for a file that does not fit, UsageError for a setting that does not, MissingExtraError.
    """

    def __init__(
        self,
        model: str | Path = "vedette-n",
        *,
        backend: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        score: float | None = None,
        nms_iou: float | None = None,
        max_objects: int = 300,
        classes: Iterable[str] | None = None,
    ) -> None:
        path = find_model(model)
        given = {
            "path": str(path),
            "backend": backend,
            "precision": precision,
            "threads": threads,
            "score": score,
            "nms_iou": nms_iou,
            "max_objects": max_objects,
            "classes": None if classes is None else list(classes),
        }
        try:
            options = msgspec.convert(given, ModelOptions)
        except msgspec.ValidationError as error:
            what, _, where = str(error).partition(" - at `$.")
            name = where.rstrip("`").partition("[")[0]
            choices = get_args(get_type_hints(ModelOptions).get(name))
            if choices and all(isinstance(choice, str) for choice in choices):
                what = f"expected one of {', '.join(choices)}"
            msg = f"{name}: {what[0].lower()}{what[1:].replace('`', '')}, got {given.get(name)!r}"
            raise UsageError(msg) from error
        self._options = options
        self._engine: Engine | None = open_engine(options, now_ns=SystemClock().mono_ns)
        try:
            self._suppress = Suppress(self._engine.spec, options)
        except BaseException:
            self.close()
            raise
        self._look = OneByOne(self._engine, score=self._suppress.score)

    @property
    def spec(self) -> ModelSpec:
        return self._opened().spec

    @property
    def classes(self) -> tuple[str, ...]:
        return self.spec.classes

    @overload
    def predict(self, images: Source, *, colour: Literal["rgb", "bgr"] = "rgb") -> Prediction: ...

    @overload
    def predict(
        self, images: list[Source] | tuple[Source, ...], *, colour: Literal["rgb", "bgr"] = "rgb"
    ) -> list[Prediction]: ...

    @overload
    def predict(self, images: list[_Source], *, colour: Literal["rgb", "bgr"] = "rgb") -> list[Prediction]: ...

    def predict(
        self,
        images: Source | list[Source] | list[_Source] | tuple[Source, ...],
        *,
        colour: Literal["rgb", "bgr"] = "rgb",
    ) -> Prediction | list[Prediction]:
        """Find things in a picture, or in each of a list of pictures.

        An array is (height, width, 3) uint8 in the order red, green, blue; say `colour="bgr"` for one of OpenCV's. An
        image of PIL is what its file is: upright as its Exif block says, and boxes are in the pixels of that.
        Raises PictureError for a picture that cannot be read, naming it, and EngineError.
        """
        if colour not in ("rgb", "bgr"):
            msg = f"colour: expected rgb or bgr, got {colour!r}"
            raise UsageError(msg)
        if isinstance(images, list | tuple):
            return [self._predict(image, colour) for image in images]
        return self._predict(images, colour)

    def info(self) -> ModelInfo:
        """What this model is and how it runs here."""
        from engines.bench.cost import network_cost

        engine = self._opened()
        spec, path = engine.spec, Path(self._options.path)
        try:
            cost = network_cost(path, spec.input.size)
        except ModuleNotFoundError:
            cost = None
        return ModelInfo(
            name=spec.name,
            path=str(path),
            sha256=spec.sha256,
            file_bytes=read_model_file(path).bytes,
            classes=spec.classes,
            input_size_wh=spec.input.size,
            runtime=engine.description,
            score=self._suppress.score,
            nms_iou=spec.nms_iou if self._options.nms_iou is None else self._options.nms_iou,
            gate=spec.gate,
            unverified=spec.unverified,
            parameters=None if cost is None else cost.parameters,
            gflops=None if cost is None else round(cost.flops / 1e9, 3),
        )

    def validate(self, data: str | Path, *, class_names: Mapping[str, str] | None = None) -> ApReport:
        """COCO's average precision on labelled pictures: COCO JSON, or a YOLO folder.

        Classes are matched by name; `class_names` says which of the model's or the data's are called otherwise
        ({"car": "vehicle"}). `score` of this model plays no part: AP is over all scores. Needs
        `pip install 'vedette[quantize]'`. Raises DataError, EngineError.
        """
        from engines.datasets import match_classes, open_dataset
        from engines.validate import PredictOptions, average_precision, predict

        engine = self._opened()
        dataset = open_dataset(Path(data))
        if not dataset.is_labelled:
            msg = f"{data}: expected labelled pictures, got none with labels"
            raise DataError(msg, hint="expected COCO JSON, or a YOLO folder with labels")
        classes = match_classes(engine.spec.classes, dataset.classes, class_names or {})
        options = PredictOptions(nms_iou=self._options.nms_iou)
        found = predict(engine, dataset.images, options, class_map=classes)
        return average_precision(found, classes.apply(dataset))

    def close(self) -> None:
        """Free the engine. Idempotent."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Model({self._options.path!r}{', closed' if self._engine is None else ''})"

    def _opened(self) -> Engine:
        if self._engine is None:
            msg = f"{self._options.path}: this Model is closed"
            raise EngineError(msg)
        return self._engine

    def _predict(self, image: Source, colour: Literal["rgb", "bgr"]) -> Prediction:
        engine = self._opened()
        path = Path(image) if isinstance(image, str | Path) else None
        picture = read_still(path) if path is not None else _of_array(image, colour)
        candidates, placement = self._look(picture)
        return Prediction(
            size_wh=picture.size_wh,
            classes=engine.spec.classes,
            detections=self._suppress(candidates, placement),
            picture=picture,
            path=path,
        )


def _of_array(image: Source, colour: Literal["rgb", "bgr"]) -> RgbPicture:
    """Raises PictureError for what is no picture."""
    if isinstance(image, PilImage):
        image, colour = rgb_of_pil(image), "rgb"
    if not isinstance(image, np.ndarray):
        msg = f"expected a path, an array or an image of PIL, got {type(image).__name__}"
        raise PictureError(msg)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        msg = f"expected a picture as an array (height, width, 3) of uint8, got {image.shape} of {image.dtype}"
        raise PictureError(msg)
    return RgbPicture(rgb=np.ascontiguousarray(image if colour == "rgb" else image[:, :, ::-1]))
