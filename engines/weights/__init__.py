"""The models that ship with Vedette, by the names that people call them."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Final, Literal, get_args

from vedette.errors import ModelError

DEFAULT: Final = "vedette-n"

ModelName = Literal["vedette-n", "vedette-n-float", "vedette-n-416", "vedette-n-seed", "vedette-s"]
NAMES: tuple[ModelName, ...] = get_args(ModelName)
_FILES: dict[str, str] = {
    DEFAULT: "vedette-n_640x384-int8-unsigned.onnx",
    "vedette-n-float": "vedette-n_640x384.onnx",
    "vedette-n-416": "vedette-n_416x256-int8-unsigned.onnx",
    "vedette-n-seed": "vedette-n-seed_416x256.onnx",
    "vedette-s": "vedette-s_640x384-int8-unsigned.onnx",
}
"""The default and S are in INT8, which TensorRT takes, too; beside them lie `vedette-n.pth` and `vedette-s.pth`, to
train on from. The seed is what it was trained from: small, weak, and what the tests run.
"""


def find_checkpoint(name: str | Path) -> Path:
    """The weights to train on from: those of a shipped name, or `name` itself as a path. Raises ModelError."""
    path = Path(name)
    if path.suffix or os.path.exists(path):  # noqa: PTH110 - which is False where the other one raises
        return path  # as below
    shipped = {file.stem: file for file in Path(__file__).parent.glob("*.pth")}
    if str(name) in shipped:
        return shipped[str(name)]
    near = difflib.get_close_matches(str(name), shipped, 1)
    msg = f"{name}: expected a checkpoint (.pth) or the name of one that ships"
    raise ModelError(msg, hint=f"did you mean {near[0]!r}?" if near else f"these ship: {', '.join(sorted(shipped))}")


def find_model(name: str | Path) -> Path:
    """The file of a shipped name, or `name` itself as a path. Raises ModelError for what is neither."""
    if isinstance(name, str) and name in _FILES:
        return Path(__file__).parent / _FILES[name]
    path = Path(name)
    if path.suffix or os.path.exists(path):  # noqa: PTH110 - which is False where the other one raises
        return path  # whether it is there and good is for its reader to say
    near = difflib.get_close_matches(str(name), NAMES, 1)
    msg = f"{name}: expected a model file or the name of a model that ships"
    raise ModelError(msg, hint=f"did you mean {near[0]!r}?" if near else f"these ship: {', '.join(NAMES)}")
