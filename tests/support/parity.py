"""The weights, inputs and references of ../shared/parity, rebuilt as its README describes; None where it is not."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.support.shared import SHARED

FOLDER = SHARED / "parity" if SHARED is not None and (SHARED / "parity").is_dir() else None

Arrays = dict[str, npt.NDArray[Any]]


def keys(variant: str) -> dict[str, Any]:
    """`{variant, num_classes, training, fused_partial, fused_full}`; the last three map a key to its shape."""
    assert FOLDER is not None
    with gzip.open(FOLDER / f"yolo_nas_{variant}_keys.json.gz") as file:
        found: dict[str, Any] = json.load(file)
    return found


@cache
def summary() -> dict[str, Any]:
    assert FOLDER is not None
    found: dict[str, Any] = json.loads((FOLDER / "summary.json").read_text())
    return found


def references(variant: str, shape_hw: tuple[int, int]) -> Arrays:
    assert FOLDER is not None
    with np.load(FOLDER / f"yolo_nas_{variant}_{shape_hw[0]}x{shape_hw[1]}.npz") as file:
        return dict(file)


def weights(shapes: dict[str, list[int]]) -> Arrays:
    return {key: _tensor(key, tuple(shape)) for key, shape in shapes.items()}


def weights_sha256(arrays: Arrays) -> str:
    digest = hashlib.sha256()
    for key in sorted(arrays):
        digest.update(key.encode())
        digest.update(arrays[key].tobytes())
    return digest.hexdigest()


def image(shape_hw: tuple[int, int]) -> npt.NDArray[np.float32]:
    """(1, 3, H, W), 0..1; H and W multiples of 16."""
    height, width = shape_hw
    low = _uniform("image.low", (1, 3, height // 16, width // 16)).repeat(16, 2).repeat(16, 3)
    return (0.7 * low + 0.3 * _uniform("image.noise", (1, 3, height, width))).astype(np.float32)


def _uniform(name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    raw = np.random.PCG64(zlib.crc32(name.encode())).random_raw(int(np.prod(shape))).astype(np.uint64)
    return ((raw >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(shape)


def _tensor(key: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    leaf = key.rsplit(".", 1)[-1]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    u = _uniform(key, shape)
    if leaf == "alpha":
        r = 0.4 + 0.4 * u
    elif leaf == "running_var":
        r = (3.0 if ".post_bn." in key and ".bottlenecks." in key else 1.0) * (0.5 + u)
    elif leaf == "running_mean":
        r = 0.4 * u - 0.2
    elif leaf == "weight" and len(shape) == 1:
        r = 0.5 + u
    elif leaf == "bias":
        r = (0.4 * u - 0.2) + (-2.0 if ".cls_pred." in key else 0.0)
    else:
        fan = shape[0] if ".upsample." in key else shape[1] * shape[2] * shape[3]
        gains = ((".branch_3x3.", 0.5), (".branch_1x1.", 0.25), (".cls_pred.", 3.0), (".reg_pred.", 12.0))
        gain = next((gain for part, gain in (*gains, (".upsample.", 1.0)) if part in key), 1.5)
        r = (2 * u - 1) * np.sqrt(3 * gain / fan)
    return r.astype(np.float32)
