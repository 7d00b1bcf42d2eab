"""NNCF's own INT8 of a network: the best that OpenVINO's makers get out of it, to measure ours against.

Its MIXED preset (weights symmetric, activations with a zero point) on OpenVINO's form of the network: the fastest that
was found (FACTS). Nothing is left out, so it rounds the prediction's tail, too: for speed, not for use.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.picture import PictureWriter
from engines.runtimes import read_model_file
from engines.spec import InputSpec, find_spec
from engines.stills import read_still


def make_yardstick(path: Path, images: Sequence[Path], out: Path) -> None:
    """Write `out` (.xml, with its .bin). Raises ModelError, StillError; RuntimeError for what NNCF cannot do."""
    import nncf
    import openvino

    logging.getLogger("nncf").setLevel(logging.ERROR)
    spec = find_spec(read_model_file(path)).spec
    width, height = spec.input.size
    model = openvino.Core().read_model(path)
    if model.is_dynamic():
        model.reshape([-1, 3, height, width])
    inputs = [_input(image, spec.input) for image in images]
    quantized = nncf.quantize(
        model, nncf.Dataset(inputs), preset=nncf.QuantizationPreset.MIXED, subset_size=len(inputs)
    )
    openvino.save_model(quantized, out, compress_to_fp16=False)


def _input(image: Path, spec: InputSpec) -> npt.NDArray[Any]:
    array = np.zeros((1, 3, spec.size[1], spec.size[0]), np.float32)
    PictureWriter(spec).write(read_still(image), array, 0)
    return array
