"""The Head protocol, and how the outputs of a file are held against what a head reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from engines.engine import Outputs
from engines.heads.candidates import Candidates
from engines.spec import ModelSpec
from engines.types import F32
from vedette.errors import ModelError

Shape = tuple[int, ...]
"""The sides of an output, the batch first; -1 for one that is free."""


class Head(Protocol):
    """What a network's outputs mean. Stateless, so that threads may share one."""

    @property
    def needs_nms(self) -> bool:
        """False if the network itself leaves one box an object."""
        ...

    def check(self, shapes: Mapping[str, Shape]) -> None:
        """Hold the outputs of a file against what `decode` reads. Raises ModelError with expected and got."""
        ...

    def decode(self, outputs: Outputs, index: int, score: float) -> Candidates:
        """The candidates of picture `index` whose score is at least `score`. Copies what it keeps."""
        ...


def sole_output(outputs: Outputs, index: int) -> F32:
    """Picture `index` of the only output, whatever its name."""
    (output,) = outputs.values()
    return as_float(output[index])


def as_float(output: npt.NDArray[Any]) -> F32:
    """The array as float32: itself if it is, else (float16 engines) a copy."""
    return np.asarray(output, dtype=np.float32)


def check_outputs(spec: ModelSpec, shapes: Mapping[str, Shape], expected: Mapping[str, Shape]) -> None:
    """Raise ModelError unless `shapes` has every expected output (-1: any side); others are not read.

    An expected name "" is the only output there is.
    """
    for name, want in expected.items():
        got = next(iter(shapes.values())) if name == "" and len(shapes) == 1 else shapes.get(name)
        if got is None or not _agree(got, want):
            break
    else:
        return
    wanted = ", ".join(_said(name or "one output", shape) for name, shape in expected.items())
    found = ", ".join(_said(name, shape) for name, shape in shapes.items()) or "none"
    width, height = spec.input.size
    msg = (
        f"model {spec.name!r}: outputs: head {spec.head} with {len(spec.classes)} classes at {width}x{height} "
        f"expected {wanted}, got {found}"
    )
    raise ModelError(msg, hint="head, classes or input.size of the spec are of another model")


def _agree(got: Shape, want: Shape) -> bool:
    return len(got) == len(want) and all(-1 in pair or pair[0] == pair[1] for pair in zip(got, want, strict=True))


def _said(name: str, shape: Shape) -> str:
    return f"{name} [{','.join('?' if side < 0 else str(side) for side in shape)}]"
