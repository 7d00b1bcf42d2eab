"""What super-gradients notes in a checkpoint of how pictures were fed: classes, pre-processing, thresholds.

`processing_params` names its steps in the order in which they are done to an RGB picture: channels reversed, resized,
padded, divided, normalised. A step is a name, or a mapping of one name to its settings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from engines.spec import InputSpec
from engines.yolo_nas.inert_pickle import plain

Triple = tuple[float, float, float]

_SIZES = range(32, 8193, 32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a checkpoint says of itself; None for what it does not say. `notes`: what of it could not be kept."""

    class_names: tuple[str, ...] | None = None
    input: InputSpec | None = None
    score: float | None = None
    nms_iou: float | None = None
    notes: tuple[str, ...] = ()


def read_recipe(content: Mapping[object, object], classes: int) -> Recipe:
    """The recipe in a checkpoint's top level, for a network of so many classes."""
    given = plain(content.get("processing_params"))
    params = given if isinstance(given, dict) else {}
    notes: list[str] = []
    names = _class_names(params.get("class_names", plain(content.get("class_names"))), classes, notes)
    steps = _steps(params.get("image_processor"))
    return Recipe(
        class_names=names,
        input=None if steps is None else _input(steps, notes),
        score=_share(params.get("conf")),
        nms_iou=_share(params.get("iou")),
        notes=tuple(notes),
    )


def _share(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and 0.0 <= value <= 1.0 else None


def _class_names(value: object, classes: int, notes: list[str]) -> tuple[str, ...] | None:
    if not isinstance(value, list) or not value:
        return None
    names = tuple(item for item in value if isinstance(item, str) and item.strip())
    if len(names) != len(value) or len(set(names)) != len(names):
        notes.append("its class names are not kept: they are not all different names")
        return None
    if len(names) != classes:
        notes.append(f"its class names are not kept: it names {len(names)}, but its network has {classes} classes")
        return None
    return names


def _steps(value: object) -> list[tuple[str, dict[str, object]]] | None:
    """The steps of `image_processor` by name with their settings; None if there are none."""
    match value:
        case {"ComposeProcessing": {"processings": [*steps]}}:
            pass
        case [*steps]:
            pass
        case _:
            return None
    found: list[tuple[str, dict[str, object]]] = []
    for step in steps:
        match step:
            case str():
                found.append((step, {}))
            case dict():
                found += [(name, settings if isinstance(settings, dict) else {}) for name, settings in step.items()]
    return found or None


@dataclass(slots=True)
class _Seen:
    """The steps so far."""

    reversed_: bool = False
    fit: Literal["letterbox", "stretch"] = "letterbox"
    align: Literal["centre", "top_left"] = "centre"
    pad: int = 114
    scale: float = 1.0
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)
    inner: tuple[int, int] | None = None
    outer: tuple[int, int] | None = None
    unknown: list[str] = field(default_factory=list)


def _input(steps: Sequence[tuple[str, dict[str, object]]], notes: list[str]) -> InputSpec | None:
    seen = _Seen()
    for name, settings in steps:
        _take(seen, name, settings)
    size = seen.outer or seen.inner
    if seen.unknown:
        notes.append(f"its pre-processing is not kept: unknown steps or settings: {', '.join(seen.unknown)}")
        return None
    if size is None:
        notes.append("its pre-processing is not kept: it says no size")
        return None
    height, width = size
    if height not in _SIZES or width not in _SIZES:
        notes.append(f"its pre-processing is not kept: {width}x{height} is not a size in multiples of 32")
        return None
    if seen.outer and seen.inner and seen.inner != seen.outer and seen.fit == "letterbox":
        inner = f"{seen.inner[1]}x{seen.inner[0]}"
        notes.append(
            f"pictures are fitted into {width}x{height}, not into {inner} within it as in its own pre-processing"
        )
    return InputSpec(
        size=(width, height),
        fit=seen.fit,
        align=seen.align,
        pad=seen.pad,
        colour="bgr" if seen.reversed_ else "rgb",
        scale=seen.scale,
        mean=seen.mean,
        std=seen.std,
    )


def _take(seen: _Seen, name: str, settings: dict[str, object]) -> None:
    match name, settings:
        case "ReverseImageChannels", _:
            # Twice is none: super-gradients reads BGR, so a recipe for RGB says it twice.
            seen.reversed_ = not seen.reversed_
        case (("DetectionLongestMaxSizeRescale" | "DetectionRescale"), {"output_shape": [int(height), int(width)]}):
            seen.inner = (height, width)
            seen.fit = "stretch" if name == "DetectionRescale" else "letterbox"
        case (
            ("DetectionCenterPadding" | "DetectionBottomRightPadding"),
            {
                "output_shape": [int(height), int(width)],
                **rest,
            },
        ):
            seen.outer = (height, width)
            seen.align = "centre" if name == "DetectionCenterPadding" else "top_left"
            _take_pad(seen, rest.get("pad_value", 114))
        case "StandardizeImage", _ if (most := settings.get("max_value", 255.0)) and isinstance(most, int | float):
            # What was normalised before is divided, too: (level * s - mean) / std / most.
            seen.scale /= float(most)
            seen.mean = _times(seen.mean, 1.0 / float(most))
        case "NormalizeImage", {"mean": mean, "std": std} if (a := _triple(mean)) and (b := _triple(std)) and all(b):
            # On top of what came before: ((level * scale - mean0) / std0 - mean) / std.
            before = seen.std
            seen.mean = (
                seen.mean[0] + a[0] * before[0],
                seen.mean[1] + a[1] * before[1],
                seen.mean[2] + a[2] * before[2],
            )
            seen.std = (before[0] * b[0], before[1] * b[1], before[2] * b[2])
        case "ImagePermute", _:
            pass  # HWC to CHW, which every network wants
        case _:
            seen.unknown.append(name)


def _take_pad(seen: _Seen, value: object) -> None:
    values = set(value) if isinstance(value, list) else {value}
    match tuple(values):
        case (int(level),) if 0 <= level <= 255:
            seen.pad = level
        case _:
            seen.unknown.append(f"pad_value {value}")


def _times(triple: Triple, factor: float) -> Triple:
    return (triple[0] * factor, triple[1] * factor, triple[2] * factor)


def _triple(value: object) -> Triple | None:
    while isinstance(value, list) and len(value) == 1:  # arrays of shape (1, 1, 3)
        value = value[0]
    if not isinstance(value, list) or len(value) != 3:
        return None
    numbers = [float(item) for item in value if isinstance(item, int | float) and math.isfinite(item)]
    return (numbers[0], numbers[1], numbers[2]) if len(numbers) == 3 else None
