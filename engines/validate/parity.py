"""Where the running path leaves the plain one: the largest difference after each of its stages.

The running path is the engine that would be taken, filled by `PictureWriter`, read by heads and NMS as they run. The
plain one is written down a second time, slowly: the picture in float64, the network in onnxruntime with nothing
optimised, decoding and NMS in Python. Each stage of both gets the same input, that of the running path, so that what is
wrong (a letterbox, the order of colours) shows where it is; then both whole ways are compared.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from engines.engine import Engine
from engines.heads import Candidates, build_head
from engines.nms import nms
from engines.options import ModelOptions
from engines.runtimes import open_engine, read_model_file
from engines.runtimes.onnx_numbers import numbers_of
from engines.spec import ModelSpec, Tensor
from engines.stills import read_still
from engines.types import Detections, Picture
from engines.validate.agreement import FOUND_IOU, pair_up
from engines.validate.differences import Difference, Differences, Stage
from engines.validate.plain_decoding import PlainBox, plain_boxes, plain_candidates, plain_nms, plain_to_source
from engines.validate.plain_network import PlainNetwork
from engines.validate.plain_picture import plain_input, plain_placement
from engines.validate.running_path import F64, MOST, Run, run, to_levels
from vedette.errors import ModelError

LEVELS = 4.0
"""Of 255: OpenCV's weights have 11 bits, so that a plane's sample may be one level off (engines/picture.py)."""
FLOAT_PART = 1e-4
"""Of an output's largest value: float32, summed in another order."""
REDUCED_PART = 0.1
"""Of an output's norm, for a network of fewer bits against itself in float32. Seen: BF16 and INT8 0.02, signed 0.04."""
QUANTIZED_PART = 0.35
"""The same for an INT8 network against its float original. Seen: 0.21 in the worst picture; a layer of
twice its scale makes 0.65."""
SIDE_PX, SCORE = 0.01, 1e-5
"""Decoding in float32 against Python's float64, in inputs of up to some thousand pixels."""
MANY = 0.02
"""Suppression is compared on the boxes from this score on: at a model's own threshold few overlap."""
SLACK = 0.1
"""End to end, a box is found again if the other way has it with a score this much below the threshold, or better."""
NOT_FOUND, NOT_FOUND_QUANTIZED = 0.03, 0.1
"""The part of boxes that need not be found again; against a float original more: accuracy is the gate's affair."""


class ParityReport(msgspec.Struct, frozen=True, kw_only=True):
    """`first_wrong` is the first stage that is not what its plain definition says, None if all are."""

    model: str
    path: str
    sha256: str
    runtime: str
    reference: str
    reference_sha256: str
    images: int
    differences: tuple[Difference, ...]
    first_wrong: Stage | None


def check_parity(
    options: ModelOptions,
    images: Sequence[Path],
    *,
    now_ns: Callable[[], int],
    reference: Path | None = None,
    reference_spec: ModelSpec | None = None,
    progress: Callable[[], None] = lambda: None,
) -> ParityReport:
    """Run both ways over the images; `progress` is called once for each.

    `reference` is another file for the plain network (the float original of an INT8 file), `reference_spec` another
    spec for the plain way; by default both are the model's own. Raises StillError, ModelError, EngineError.
    """
    path = Path(options.path)
    engine = open_engine(options, now_ns=now_ns)
    try:
        file = read_model_file(path)
        spec = engine.spec if reference_spec is None else reference_spec
        _must_fit(spec, engine.spec, file.outputs, path)
        network = PlainNetwork(reference or path, engine.spec.input.size)
        compare = _Comparison(spec, network, _norm_limit(options, engine, with_reference=reference is not None))
        for image in images:
            picture = read_still(image)
            compare.add(run(engine, picture, takes_bytes=file.inputs[0].dtype == "uint8"), picture, image)
            progress()
    finally:
        engine.close()
    rows = compare.differences.rows(allowed=NOT_FOUND if reference is None else NOT_FOUND_QUANTIZED)
    return ParityReport(
        model=engine.spec.name,
        path=str(path),
        sha256=engine.spec.sha256,
        runtime=engine.description,
        reference=str(reference or path),
        reference_sha256=network.sha256,
        images=len(images),
        differences=rows,
        first_wrong=next((row.stage for row in rows if not row.good), None),
    )


def _must_fit(plain: ModelSpec, running: ModelSpec, outputs: Sequence[Tensor], path: Path) -> None:
    if plain.input.size != running.input.size:
        got, want = list(plain.input.size), list(running.input.size)
        msg = f"reference spec: input.size: expected {want} as of {path}, got {got}"
        raise ModelError(msg)
    build_head(plain).check({tensor.name: tensor.shape for tensor in outputs})


def _norm_limit(options: ModelOptions, engine: Engine, *, with_reference: bool) -> float | None:
    """What the norm of the difference may be, for an engine that computes with fewer bits than float32; else None.

    That it does is said by its file, its options or its own words.
    """
    path = Path(options.path)
    numbers = numbers_of(path) if path.suffix == ".onnx" else None
    if numbers is None or numbers.quantized:
        return QUANTIZED_PART if with_reference else REDUCED_PART
    if options.precision != "auto":
        reduced = options.precision != "fp32"
    else:
        words = r"\b(fp16|f16|float16|bf16|bfloat16)\b"
        reduced = numbers.floats != "float32" or re.search(words, engine.description, re.IGNORECASE) is not None
    return REDUCED_PART if reduced else None


class _Comparison:
    """Both ways, image by image. `norm_limit` is for networks of fewer bits, None for those of float32."""

    def __init__(self, spec: ModelSpec, network: PlainNetwork, norm_limit: float | None) -> None:
        self.differences = Differences()
        self._spec = spec
        self._network = network
        self._norm_limit = norm_limit

    def add(self, running: Run, picture: Picture, image: Path) -> None:
        spec = self._spec.input
        values, _ = plain_input(picture.planes(), spec)
        apart = np.abs(to_levels(running.values, spec) - to_levels(values, spec))
        self.differences.add("pre-process", "input", apart, unit="levels of 255", limit=LEVELS, image=image)
        self._compare_outputs(running, image)
        self._compare_candidates(running, image)
        self._compare_suppression(running, image)
        self._compare_boxes(running, picture, image)
        self._compare_whole(running, values, picture, image)

    def _compare_outputs(self, running: Run, image: Path) -> None:
        outputs = self._network(running.values)
        if {name: output.shape for name, output in outputs.items()} != _shapes(running.outputs):
            msg = f"the reference gives {_shapes(outputs)}, expected {_shapes(running.outputs)}"
            raise ModelError(msg, hint="it must be the same network, for one picture")
        for name, output in outputs.items():
            want, got = output.astype(np.float64), running.outputs[name].astype(np.float64)
            if self._norm_limit is not None:
                part = np.atleast_1d(np.linalg.norm(got - want) / max(float(np.linalg.norm(want)), 1e-12))
                what, unit, limit = f"{name}, norm", "of the output's", self._norm_limit
            else:
                part = np.abs(got - want) / max(float(np.abs(want).max(initial=0.0)), 1e-12)
                what, unit, limit = name, "of its largest", FLOAT_PART
            self.differences.add("network", what, part, unit=unit, limit=limit, image=image)
            self.differences.add("network", f"{name}, as it is", np.abs(got - want), unit="", limit=None, image=image)

    def _compare_candidates(self, running: Run, image: Path) -> None:
        # A score that is at the threshold to the last bit may fall to either side.
        least = self._spec.score + SCORE
        wanted = [one for one in plain_candidates(self._spec, running.outputs, least) if one.score > least]
        found = [one for one in _plain(running.candidates) if one.score > least]
        add = self.differences.add
        lone = np.array([abs(len(wanted) - len(found))])
        add("head", "candidates in one only", lone, unit="boxes", limit=0.0, image=image)
        pairs = list(zip(wanted, found, strict=False))
        other = np.array([one.class_id != two.class_id for one, two in pairs], np.float64)
        add("head", "other class", other, unit="", limit=0.0, image=image)
        sides = np.array([np.subtract(one.xyxy_px, two.xyxy_px) for one, two in pairs])
        add("head", "sides", np.abs(sides), unit="px of the input", limit=SIDE_PX, image=image)
        scores = np.array([one.score - two.score for one, two in pairs])
        add("head", "scores", np.abs(scores), unit="", limit=SCORE, image=image)

    def _compare_suppression(self, running: Run, image: Path) -> None:
        if not build_head(running.spec).needs_nms:
            return
        boxes = build_head(running.spec).decode(running.outputs, 0, min(MANY, running.spec.score))
        fast = nms(boxes.xyxy_px, boxes.scores, boxes.class_ids, running.spec.nms_iou, MOST).tolist()
        slow = plain_nms(_plain(boxes), self._spec.nms_iou, MOST)
        lone = np.array([len(set(fast) ^ set(slow))])
        self.differences.add("suppression", "boxes kept by one only", lone, unit="boxes", limit=0.0, image=image)

    def _compare_boxes(self, running: Run, picture: Picture, image: Path) -> None:
        placement = plain_placement(picture.size_wh, self._spec.input)
        wanted = [plain_to_source(box.xyxy_px, placement) for box in _plain(running.candidates)]
        apart = np.abs(running.placement.to_source(running.candidates.xyxy_px) - np.array(wanted).reshape(-1, 4))
        self.differences.add("boxes", "sides", apart, unit="px of the picture", limit=SIDE_PX, image=image)

    def _compare_whole(self, running: Run, values: F64, picture: Picture, image: Path) -> None:
        """Each way with its own input to every stage."""
        spec = self._spec
        iou = spec.nms_iou if build_head(spec).needs_nms else None
        candidates = plain_candidates(spec, self._network(values), max(spec.score - SLACK, 1e-6))
        placement = plain_placement(picture.size_wh, spec.input)
        wanted = _detections(plain_boxes(candidates, placement, iou=iou, most=MOST))
        found = running.detections(max(running.spec.score - SLACK, 1e-6))
        pairs = pair_up(wanted, found, iou=FOUND_IOU)
        count, add = self.differences.count, self.differences.add
        for what, one, paired, score in (
            ("the plain way's boxes not found", wanted, pairs.first, spec.score),
            ("the running way's boxes not found", found, pairs.second, running.spec.score),
        ):
            shown = np.flatnonzero(one.scores >= score)
            count("end to end", what, np.isin(shown, paired, invert=True), image=image)
        sides = np.abs(wanted.xyxy_px[pairs.first] - found.xyxy_px[pairs.second])
        add("end to end", "sides of pairs", sides, unit="px of the picture", limit=None, image=image)
        scores = np.abs(wanted.scores[pairs.first] - found.scores[pairs.second])
        add("end to end", "scores of pairs", scores, unit="", limit=None, image=image)


def _shapes(outputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, tuple[int, ...]]:
    return {name: output.shape for name, output in outputs.items()}


def _plain(candidates: Candidates) -> list[PlainBox]:
    rows = zip(candidates.xyxy_px.tolist(), candidates.scores.tolist(), candidates.class_ids.tolist(), strict=True)
    return [PlainBox((x1, y1, x2, y2), score, class_id) for (x1, y1, x2, y2), score, class_id in rows]


def _detections(boxes: Sequence[PlainBox]) -> Detections:
    return Detections(
        xyxy_px=np.array([box.xyxy_px for box in boxes], np.float32).reshape(-1, 4),
        scores=np.array([box.score for box in boxes], np.float32),
        class_ids=np.array([box.class_id for box in boxes], np.int32),
    )
