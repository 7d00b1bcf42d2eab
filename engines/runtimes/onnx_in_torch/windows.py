"""ONNX operators that look through a window: convolutions, pools, resizing. Pictures are (n, channels, H, W)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F  # noqa: N812 - torch's own custom
from torch import Tensor

if TYPE_CHECKING:
    from engines.runtimes.onnx_in_torch.operators import Node


def conv(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Computed in the type of its weights, which is how a network is made to run in half precision."""
    sides = weight.dim() - 2
    strides = node.get("strides", [1] * sides)
    dilations = node.get("dilations", [1] * sides)
    kernel = list(weight.shape[2:])
    x, padding = _padded(node, x, kernel, strides, dilations, 0.0)
    function = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[sides]
    bias = None if bias is None else bias.to(weight.dtype)
    result: Tensor = function(x.to(weight.dtype), weight, bias, strides, padding, dilations, node.get("group", 1))
    return result


def conv_transpose(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    sides = weight.dim() - 2
    if sides != 2 or "output_shape" in node.attributes or node.get("auto_pad", "NOTSET") not in {"NOTSET", "VALID"}:
        msg = "ConvTranspose of another kind than 2 sides with given pads"
        raise NotImplementedError(msg)
    pads = node.get("pads", [0] * 2 * sides)
    if pads[:sides] != pads[sides:]:
        msg = f"ConvTranspose with pads {pads}, which differ from side to side"
        raise NotImplementedError(msg)
    return F.conv_transpose2d(
        x.to(weight.dtype),
        weight,
        None if bias is None else bias.to(weight.dtype),
        node.get("strides", [1] * sides),
        pads[:sides],
        node.get("output_padding", [0] * sides),
        node.get("group", 1),
        node.get("dilations", [1] * sides),
    )


def max_pool(node: Node, x: Tensor) -> Tensor:
    if node.outputs > 1 or node.get("storage_order", 0):
        msg = "MaxPool that gives places"
        raise NotImplementedError(msg)
    kernel = node.attributes["kernel_shape"]
    strides = node.get("strides", [1] * len(kernel))
    dilations = node.get("dilations", [1] * len(kernel))
    x, padding = _padded(node, x, kernel, strides, dilations, float("-inf"), most=[side // 2 for side in kernel])
    return F.max_pool2d(x, kernel, strides, padding, dilations, bool(node.get("ceil_mode", 0)))


def average_pool(node: Node, x: Tensor) -> Tensor:
    kernel = node.attributes["kernel_shape"]
    strides = node.get("strides", [1] * len(kernel))
    counted = bool(node.get("count_include_pad", 0))
    pads = node.get("pads", [0, 0, 0, 0])
    if (pads[:2] != pads[2:] and not counted) or node.get("auto_pad", "NOTSET") != "NOTSET":
        msg = "AveragePool with pads that differ from side to side"
        raise NotImplementedError(msg)
    x, padding = _padded(node, x, kernel, strides, [1, 1], 0.0)
    return F.avg_pool2d(x, kernel, strides, padding, bool(node.get("ceil_mode", 0)), counted)


def global_average_pool(_: Node, x: Tensor) -> Tensor:
    return x.mean(dim=tuple(range(2, x.dim())), keepdim=True)


def resize(
    node: Node, x: Tensor, roi: Tensor | None = None, scales: Tensor | None = None, sizes: Tensor | None = None
) -> Tensor:
    """To other height and width: nearest or linear, in the ways of lining up that torch knows."""
    del roi  # only of `tf_crop_and_resize`
    if sizes is not None and sizes.numel():
        target = [int(side) for side in sizes.tolist()]
        ratios = [side / old for side, old in zip(target, x.shape, strict=True)]
    elif scales is not None and scales.numel():
        ratios = [float(ratio) for ratio in scales.tolist()]
        target = [int(old * ratio) for old, ratio in zip(x.shape, ratios, strict=True)]
    else:
        msg = "Resize without scales or sizes"
        raise NotImplementedError(msg)
    mode = node.get("mode", "nearest")
    lined_up = node.get("coordinate_transformation_mode", "half_pixel")
    if x.dim() != 4 or target[:2] != list(x.shape[:2]):
        msg = f"Resize of {list(x.shape)} to {target}: only height and width"
        raise NotImplementedError(msg)
    if mode == "nearest":
        whole = all(ratio.is_integer() for ratio in ratios)
        rounding = node.get("nearest_mode", "round_prefer_floor")
        # By whole numbers every way of lining up that floors takes the same pixels, and so does rounding from centres.
        if not (whole and (lined_up, rounding) in _NEAREST):
            msg = f"Resize nearest with {lined_up}, {rounding}"
            raise NotImplementedError(msg)
        return F.interpolate(x, size=target[2:], mode="nearest")
    if mode == "linear" and lined_up in {"half_pixel", "pytorch_half_pixel", "align_corners"}:
        return F.interpolate(x, size=target[2:], mode="bilinear", align_corners=lined_up == "align_corners")
    msg = f"Resize {mode} with {lined_up}"
    raise NotImplementedError(msg)


_NEAREST = {
    ("asymmetric", "floor"),
    ("half_pixel", "round_prefer_floor"),
    ("half_pixel", "round_prefer_ceil"),
    ("pytorch_half_pixel", "round_prefer_floor"),
    ("pytorch_half_pixel", "round_prefer_ceil"),
}


def _padded(
    node: Node,
    x: Tensor,
    kernel: list[int],
    strides: list[int],
    dilations: list[int],
    value: float,
    most: list[int] | None = None,
) -> tuple[Tensor, list[int]]:
    """The input and the padding that torch may add itself: alike on both sides, and no more than `most`."""
    sides = len(kernel)
    pads = list(node.get("pads", [0] * 2 * sides))
    auto = node.get("auto_pad", "NOTSET")
    if auto in {"SAME_UPPER", "SAME_LOWER"}:
        for axis in range(sides):
            length = x.shape[2 + axis]
            reach = (kernel[axis] - 1) * dilations[axis] + 1
            total = max(0, (-(-length // strides[axis]) - 1) * strides[axis] + reach - length)
            small, large = total // 2, total - total // 2
            pads[axis], pads[sides + axis] = (small, large) if auto == "SAME_UPPER" else (large, small)
    if pads[:sides] == pads[sides:] and (most is None or all(p <= m for p, m in zip(pads, most, strict=False))):
        return x, pads[:sides]
    # torch wants the last axis first, both ends of each.
    ends = [pad for axis in reversed(range(sides)) for pad in (pads[axis], pads[sides + axis])]
    return F.pad(x, ends, value=value), [0] * sides
