"""What the command line says of quantization, for `quantize` and `build`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from vedette.errors import UsageError

if TYPE_CHECKING:
    from engines.quantize import QuantizeOptions


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--images", type=int, metavar="N", help="how many of them are looked at, evenly spread (300)")
    add("--method", choices=("mse", "minmax", "percentile", "entropy"), help="how ranges follow from values (mse)")
    add("--percentile", type=float, metavar="P", help="with --method percentile: the share that stays within (99.999)")
    add(
        "--exclude",
        action="append",
        default=[],
        metavar="PATTERN",
        help="leave nodes with such names float; repeatable",
    )
    add("--per-tensor", action="store_true", help="one scale for all weights of a convolution, not one a channel")
    add("--up-branch", choices=("zero_point", "float"), help="transposed convolutions in INT8 or not (zero_point)")


def quantize_options(arguments: argparse.Namespace) -> QuantizeOptions:
    """Raises UsageError for a setting that is none."""
    if arguments.percentile is not None and arguments.method != "percentile":
        msg = "--percentile: needs --method percentile"
        raise UsageError(msg)
    import msgspec

    from engines.quantize import QuantizeOptions

    names = ("method", "percentile", "images", "up_branch")
    given: dict[str, Any] = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    given |= {"exclude": arguments.exclude, "per_channel": not arguments.per_tensor}
    try:
        return msgspec.convert(given, QuantizeOptions)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        name = where.rstrip("`").replace("_", "-")
        msg = f"--{name}: {what[:1].lower()}{what[1:].replace('`', '')}, got {given.get(name.replace('-', '_'))}"
        raise UsageError(msg) from error
