"""The small network and the seed, quantized once for all tests of this folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from engines import weights
from engines.quantize import Quantized, QuantizeOptions, quantize
from tests.engines.quantize.small_network import write_pictures, write_small


@dataclass(frozen=True)
class Made:
    """A float model, the pictures it was calibrated with, and what came of it."""

    model: Path
    pictures: list[Path]
    quantized: Quantized


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory, pictures: list[Path]) -> Made:
    folder = tmp_path_factory.mktemp("small")
    model = write_small(folder)
    return Made(model, pictures, quantize(model, pictures, QuantizeOptions(), out_dir=folder))


@pytest.fixture(scope="session")
def seed(tmp_path_factory: pytest.TempPathFactory, pictures: list[Path]) -> Made:
    model = Path(weights.__file__).with_name("vedette-n-seed_416x256.onnx")
    options = QuantizeOptions(rounding="nearest", method="minmax")
    return Made(model, pictures, quantize(model, pictures, options, out_dir=tmp_path_factory.mktemp("seed")))
