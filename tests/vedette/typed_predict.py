"""How programs call `Model.predict`, for mypy alone (pyproject.toml, `make check`): nothing in here is ever run.

What has to be an error is said by `type: ignore`, which mypy reports where there is none.
"""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from vedette import Model
from vedette.model import Prediction, Source


def one_picture(model: Model, path: Path, array: npt.NDArray[np.uint8]) -> None:
    assert_type(model.predict("a.jpg"), Prediction)
    assert_type(model.predict(path), Prediction)
    assert_type(model.predict(array), Prediction)
    assert_type(model.predict(cv2.imread("a.jpg"), colour="bgr"), Prediction)
    assert_type(model.predict(Image.open("a.jpg")), Prediction)
    assert_type(model.predict(Image.fromarray(array).convert("L")), Prediction)


def several_pictures(
    model: Model,
    names: list[str],
    paths: list[Path],
    both: list[str | Path],
    arrays: list[npt.NDArray[np.uint8]],
    sources: list[Source],
    pair: tuple[str, Path],
    many: tuple[Source, ...],
) -> None:
    for found in (
        model.predict(names),
        model.predict(paths),
        model.predict(both),
        model.predict(arrays),
        model.predict(sources),
        model.predict(pair),
        model.predict(many),
    ):
        assert_type(found, list[Prediction])
    array = arrays[0]
    assert_type(model.predict([array, "a.jpg"]), list[Prediction])
    assert_type(model.predict((array, "a.jpg", Path("b.png"))), list[Prediction])
    assert_type(model.predict([Image.open("a.jpg"), array, "b.jpg", Path("c.jpg")]), list[Prediction])
    assert_type(model.predict([cv2.imread("a.jpg"), cv2.imread("b.jpg")], colour="bgr"), list[Prediction])
    assert_type(model.predict([cv2.imread(name) for name in names], colour="bgr"), list[Prediction])
    assert_type(model.predict([cv2.imread("a.jpg"), "b.jpg"]), list[Prediction])
    assert_type(model.predict([Image.open(name) for name in names]), list[Prediction])
    assert_type(model.predict(sorted(Path().glob("*.jpg"))), list[Prediction])
    assert_type(model.predict([]), list[Prediction])


def no_pictures(model: Model) -> None:
    model.predict(7)  # type: ignore[call-overload]
    model.predict(None)  # type: ignore[call-overload]
    model.predict([7])  # type: ignore[list-item]
    model.predict(["a.jpg", None])  # type: ignore[list-item]
    model.predict(b"a.jpg")  # type: ignore[call-overload]
    model.predict("a.jpg", colour="grey")  # type: ignore[call-overload]
