"""From what a user names to files that can be opened: one for each runtime and precision.

A MODEL is a file, the name of one that ships, or yolo-nas-n|s|m|l: that network with random weights. INT8 of a float
file is made here, by `engines.quantize`; where no pictures are given, it is calibrated with noise, for speed alone.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from engines.bench.job import Yardstick
from engines.bench.noise import noise_images
from engines.runtimes import read_model_file
from engines.runtimes.onnx_numbers import numbers_of
from engines.spec import COCO_CLASSES, InputSpec, ModelSpec, find_spec, sha256_of
from engines.types import SizeWH
from engines.weights import NAMES, find_model
from vedette.errors import ModelError, UsageError

RANDOM: dict[str, Literal["n", "s", "m", "l"]] = {
    "yolo-nas-n": "n",
    "yolo-nas-s": "s",
    "yolo-nas-m": "m",
    "yolo-nas-l": "l",
}
"""Names of networks with random weights."""

RANDOM_SIZE = (640, 640)
YARDSTICK = "nncf-int8"
PRECISIONS = ("fp32", "bf16", "fp16", "int8", YARDSTICK)
RUNTIMES = ("openvino", "onnxruntime", "torch", "tensorrt")
YARDSTICK_IMAGES = 32  # NNCF is slow, and its speed does not depend on them
NOISE_IMAGES = 32  # as few as `engines.quantize` takes


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One file in one runtime and precision. `compiled`: see `engines.bench.job.Job`; `note` for the table's foot."""

    model: str
    runtime: str
    precision: str
    size_wh: SizeWH
    path: Path
    compiled: Path | None = None
    note: str = ""

    @property
    def file_bytes(self) -> int:
        """Of what is opened: for OpenVINO's own form the network and its weights."""
        if self.compiled is None:
            return self.path.stat().st_size
        return self.compiled.stat().st_size + self.compiled.with_suffix(".bin").stat().st_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Kitchen:
    """Where files are made, of what, and who is told.

    `images` calibrate, none: noise does. `child` starts a process for a task of `engines.bench.job`.
    """

    folder: Path
    images: Sequence[Path]
    child: Sequence[str]
    progress: Callable[[str], None]


def labels(words: Sequence[str]) -> dict[str, str]:
    """What each MODEL is called: its name, or that of its file without folder and ending if no other has the same."""
    short = {word: word if word in RANDOM or word in NAMES else Path(word).stem for word in words}
    several = Counter(short.values())
    return {word: word if several[name] > 1 else name for word, name in short.items()}


def prepare(
    word: str,
    label: str,
    size_wh: SizeWH | None,
    runtimes: Sequence[str],
    precisions: Sequence[str],
    kitchen: Kitchen,
) -> tuple[list[Candidate], list[str]]:
    """The candidates of a MODEL, which is called `label`, runtime by runtime, and what cannot be had, with why.

    Raises ModelError for a file that does not fit, UsageError for a size that the file does not have.
    """
    path = _source(word, size_wh, kitchen)
    size = find_spec(read_model_file(path)).spec.input.size
    if size_wh is not None and size != size_wh:
        msg = f"--size: {word} is made for {size[0]}x{size[1]}, got {size_wh[0]}x{size_wh[1]}"
        raise UsageError(msg, hint="leave --size out, or export the model for that size")
    folder = kitchen.folder / sha256_of(path)[:16]
    folder.mkdir(exist_ok=True)
    quantized = numbers_of(path).quantized
    made = _Made(label, path, size, folder, kitchen)
    candidates: list[Candidate] = []
    missing: dict[str, None] = {}
    for runtime in runtimes:
        for precision in ("int8",) if quantized else precisions:
            try:
                found = Candidate(model=label, runtime=runtime, precision=precision, size_wh=size, path=path)
                if precision == YARDSTICK:
                    if runtime != "openvino":
                        continue
                    found = msgspec.structs.replace(found, compiled=made.yardstick(), note=made.calibrated)
                elif precision == "int8" and not quantized:
                    file = made.int8(signed=runtime == "tensorrt")
                    found = msgspec.structs.replace(found, path=file, note=made.calibrated)
                elif precision == "fp16" and runtime != "torch":
                    found = msgspec.structs.replace(found, path=made.fp16())
                candidates.append(found)
            except ModelError as error:
                missing[f"{label}, {precision}: {error.message}"] = None
    return candidates, list(missing)


def _source(word: str, size_wh: SizeWH | None, kitchen: Kitchen) -> Path:
    if word not in RANDOM:
        return find_model(word)
    from engines.yolo_nas.export import export_onnx
    from engines.yolo_nas.random_weights import random_network

    size = size_wh or RANDOM_SIZE
    kitchen.progress(f"making {word}, {size[0]}x{size[1]}")
    network = random_network(RANDOM[word], len(COCO_CLASSES))
    spec = ModelSpec(name=f"{word}-random", head="yolo_nas", classes=COCO_CLASSES, input=InputSpec(size=size))
    return export_onnx(network, spec, kitchen.folder / f"{word}_{size[0]}x{size[1]}.onnx")


class _Made:
    """What is made of one float file, each thing once, when it is first wanted."""

    def __init__(self, label: str, path: Path, size_wh: SizeWH, folder: Path, kitchen: Kitchen) -> None:
        self._label = label
        self._path = path
        self._size_wh = size_wh
        self._folder = folder
        self._kitchen = kitchen
        self._int8: dict[bool, Path] = {}
        self._fp16: Path | None = None
        self._yardstick: Path | None = None
        self._noise: list[Path] = []
        self.calibrated = "" if kitchen.images else "calibrated with noise: for speed, not for use"

    def int8(self, *, signed: bool) -> Path:
        if not self._int8:
            from engines.quantize import QuantizeOptions, quantize

            self._kitchen.progress(f"quantizing {self._label}")
            # Of noise no method makes good ranges; this one is quick.
            options = QuantizeOptions() if self._kitchen.images else QuantizeOptions(method="minmax")
            made = quantize(self._path, self._images(), options, out_dir=self._folder)
            self._int8 = {False: made.unsigned, True: made.signed}
        return self._int8[signed]

    def fp16(self) -> Path:
        if self._fp16 is None:
            from engines.half import to_float16

            self._fp16 = to_float16(self._path, self._folder / f"{self._path.stem}_fp16.onnx")
        return self._fp16

    def yardstick(self) -> Path:
        if self._yardstick is None:
            self._kitchen.progress(f"NNCF quantizes {self._label}")
            out = self._folder / "nncf.xml"
            images = [str(image) for image in self._images()[:YARDSTICK_IMAGES]]
            task = Yardstick(path=str(self._path), images=images, out=str(out))
            words = [*self._kitchen.child, msgspec.json.encode(task).decode()]
            done = subprocess.run(words, capture_output=True, check=False)
            if done.returncode or not out.exists():
                said = done.stderr.decode(errors="replace").strip().splitlines()
                msg = f"NNCF failed: {said[-1] if said else f'exit status {done.returncode}'}"
                raise ModelError(msg)
            self._yardstick = out
        return self._yardstick

    def _images(self) -> Sequence[Path]:
        if self._kitchen.images:
            return self._kitchen.images
        if not self._noise:
            self._noise = noise_images(self._folder, self._size_wh, NOISE_IMAGES)
        return self._noise
