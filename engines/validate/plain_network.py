"""The network as its file says it, and nothing else: onnxruntime on one thread with all optimisation off."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.runtimes import read_model_file
from engines.types import SizeWH
from vedette.errors import ModelError

F64 = npt.NDArray[np.float64]


class PlainNetwork:
    """An ONNX file, run without hurry. Raises ModelError for a file that does not take pictures of `size_wh`."""

    def __init__(self, path: Path, size_wh: SizeWH) -> None:
        import onnxruntime

        file = read_model_file(path)
        width, height = size_wh
        shape = file.inputs[0].shape
        free = tuple(got in {-1, want} for got, want in zip(shape, (1, 3, height, width), strict=False))
        if len(file.inputs) != 1 or len(shape) != 4 or not all(free):
            got = ", ".join(map(str, file.inputs))
            msg = f"{path}: expected an input [1,3,{height},{width}], as the model that it is held against, got {got}"
            raise ModelError(msg)
        settings = onnxruntime.SessionOptions()
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        settings.log_severity_level = 4
        self._session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
        self._input = file.inputs[0].name
        self._dtype = np.dtype(file.inputs[0].dtype)
        self._outputs = [tensor.name for tensor in file.outputs]
        self.sha256 = file.sha256

    def __call__(self, values: F64) -> Mapping[str, npt.NDArray[Any]]:
        """Run on one picture (3, H, W) of values; outputs by name, the batch of 1 first."""
        rounded = np.rint(values) if self._dtype == np.uint8 else values
        results = self._session.run(self._outputs, {self._input: rounded[None].astype(self._dtype)})
        return dict(zip(self._outputs, results, strict=True))
