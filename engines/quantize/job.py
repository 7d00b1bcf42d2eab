"""From a float ONNX file to two INT8 ones: read, place, look at pictures, choose ranges, write. Read it top to bottom.

`quantize` is called by `vedette model quantize` and `vedette model build`. What it writes has not been through the gate
of DESIGN.md: its spec says `unverified` until `build` has compared it with the float network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import onnx

from engines.heads import build_head
from engines.quantize.cache import hashes_of, key_of
from engines.quantize.calibration import input_range, ranges_of, see
from engines.quantize.files import writable, write_whole
from engines.quantize.graph import WEIGHTED, Graph, load_graph
from engines.quantize.options import LEAST_IMAGES, QuantizeOptions
from engines.quantize.placement import Placement, place
from engines.quantize.ranges import Range
from engines.quantize.statistics import Progress
from engines.quantize.writer import Form, step_of, write
from engines.runtimes import read_model_file
from engines.spec import ModelSpec, find_spec
from vedette.errors import DataError, ModelError


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the graph.

    `convolutions` with int8 weights, transposed ones too; `predictions`: those of them that give floats. `left_float`:
    a convolution's name and the reason. `float_nodes`: operators after the last convolutions, by kind. `tensors`: how
    many have a Q/DQ pair; `scales`: how many scales these have; `scaled`: multiplications that became a second reading
    of bytes. `zero_points`: those of the unsigned file that are not 0, by the first tensor that has it.
    """

    convolutions: int
    predictions: tuple[str, ...]
    left_float: dict[str, str]
    float_nodes: dict[str, int]
    tensors: int
    scales: int
    scaled: int
    zero_points: dict[str, int]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was done, and with what. `remark`: what was wrong with an older calibration cache, "" if nothing was."""

    model: str
    model_sha256: str
    options: QuantizeOptions
    images: int
    cached: bool
    remark: str
    graph: Summary


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    """The two files, and how they came about. `used`: the sha256 of each picture that was looked at."""

    unsigned: Path
    signed: Path
    report: Report
    used: tuple[str, ...]


def quantize(
    model: Path,
    images: Sequence[Path],
    options: QuantizeOptions,
    *,
    out_dir: Path,
    name: str | None = None,
    cache_dir: Path | None = None,
    progress: Progress = lambda _done, _all: None,
) -> Quantized:
    """Write NAME-int8-unsigned.onnx (OpenVINO, onnxruntime) and NAME-int8-signed.onnx (TensorRT) into `out_dir`.

    `name` is the model file's by default. `images` are pictures that the gate will not be held with; of more than
    `options.images` as many are taken, evenly spread. `progress` is called for each picture that is looked at.
    Raises ModelError, DataError, StillError, UsageError; then nothing is written but, maybe, the calibration cache in
    `cache_dir`.
    """
    if len(images) < LEAST_IMAGES:
        msg = f"calibration: expected at least {LEAST_IMAGES} images, got {len(images)}"
        raise DataError(msg, hint="100 to 500 that look like what the cameras see are good")
    file = read_model_file(model)
    spec = find_spec(file).spec
    build_head(spec).check({tensor.name: tensor.shape for tensor in file.outputs})
    graph = load_graph(model)
    usual = place(graph)
    chosen = usual
    if options.exclude or options.up_branch == "float":
        chosen = place(graph, exclude=options.exclude, up_branch_float=options.up_branch == "float")
    for folder in (out_dir, cache_dir):
        if folder is not None:
            writable(folder)
    taken = _spread(images, options.images)
    hashes = hashes_of(taken)
    seen = see(
        graph,
        [*usual.sources, *chosen.sources],
        taken,
        spec.input,
        options,
        key=key_of(file.sha256, hashes, spec.input, _rounding(options)),
        name=model.stem,
        cache_dir=cache_dir,
        progress=progress,
    )
    known = dict.fromkeys(graph.inputs, input_range(spec.input))
    ranges = ranges_of(chosen, seen.found.histograms, options, known)
    stem = out_dir / (name or model.stem)
    paths: dict[Form, Path] = {
        "unsigned": stem.with_name(f"{stem.name}-int8-unsigned.onnx"),
        "signed": stem.with_name(f"{stem.name}-int8-signed.onnx"),
    }
    int8 = msgspec.structs.replace(spec, name=f"{spec.name}-int8", sha256="", gate=None, unverified=True)
    contents = {
        path: _finished(write(graph, chosen, ranges, seen.found.rounded, form), int8) for form, path in paths.items()
    }
    write_whole(contents)
    report = Report(
        model=str(model),
        model_sha256=file.sha256,
        options=options,
        images=len(taken),
        cached=seen.cached,
        remark=seen.remark,
        graph=_summary(graph, chosen, ranges),
    )
    return Quantized(unsigned=paths["unsigned"], signed=paths["signed"], report=report, used=hashes)


def _rounding(options: QuantizeOptions) -> str:
    return f"{options.rounding}-{'channel' if options.per_channel else 'tensor'}"


def _spread(images: Sequence[Path], count: int) -> list[Path]:
    """`count` of the images, evenly spread; all if there are no more."""
    if len(images) <= count:
        return list(images)
    return [images[index * len(images) // count] for index in range(count)]


def _finished(model: onnx.ModelProto, spec: ModelSpec) -> bytes:
    """The file's bytes, with its spec in the metadata. Raises ModelError should the graph be wrong."""
    properties = {prop.key: prop.value for prop in model.metadata_props}
    properties["vedette"] = msgspec.json.encode(spec).decode()
    onnx.helper.set_model_props(model, properties)
    model.producer_name = "vedette"
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        msg = f"the quantized graph is not valid ONNX: {str(error).splitlines()[0]}"
        raise ModelError(msg) from error
    content: bytes = model.SerializeToString()
    return content


def _summary(graph: Graph, placement: Placement, ranges: Mapping[str, Range]) -> Summary:
    leading = graph.leading_to(WEIGHTED)
    after = Counter(node.op_type for node in graph.nodes if node.name not in leading and node.op_type not in WEIGHTED)
    steps = {group.tensors[0]: step_of(ranges[group.tensors[0]], "unsigned") for group in placement.groups}
    return Summary(
        convolutions=len(placement.convolutions),
        predictions=placement.predictions,
        left_float=dict(placement.left_float),
        float_nodes=dict(after),
        tensors=len(placement.tensors),
        scales=len(placement.groups),
        scaled=len(placement.scaled),
        zero_points={tensor: step.zero for tensor, step in steps.items() if step.zero},
    )
