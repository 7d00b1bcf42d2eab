"""Accuracy against latency as a picture: what is worth running, and what something else beats in both.

Importing this needs matplotlib, which draws into a file, without a display.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from engines.bench.report import Row
from vedette.errors import UsageError
from vedette.whole_file import whole_file

_COLOURS = {"openvino": "#0068b5", "onnxruntime": "#7a4bc4", "torch": "#d9481c", "tensorrt": "#5a9e00"}
_MARKS = {"fp32": "o", "bf16": "s", "fp16": "D", "int8": "^", "nncf-int8": "v"}


def pareto(rows: Sequence[Row]) -> list[Row]:
    """The rows with an AP that no other is both as fast and better than, or faster and as good as; fastest first."""
    best: list[Row] = []
    for row in sorted((row for row in rows if row.ap is not None), key=lambda row: (row.p50_ms, -(row.ap or 0.0))):
        if not best or (row.ap or 0.0) > (best[-1].ap or 0.0):
            best.append(row)
    return best


def plot(rows: Sequence[Row], out: Path, *, title: str) -> None:
    """Draw the rows whose AP is known, at batch 1, to `out` (.png, .svg, .pdf). Raises UsageError."""
    known = [row for row in rows if row.ap is not None and row.batch == 1]
    if not known:
        msg = "--plot: no row has an AP"
        raise UsageError(msg, hint="give labelled pictures: --data FILE")
    figure = Figure(figsize=(10, 6), layout="constrained")
    axes = figure.subplots()
    edge = pareto(known)
    # Left of the fastest nothing is to be had; right of it, the best so far can be had for any longer time.
    rightmost = max(row.p50_ms for row in known)
    axes.step(
        [*(row.p50_ms for row in edge), rightmost],
        [100 * (row.ap or 0.0) for row in (*edge, edge[-1])],
        where="post",
        color="0.55",
        linewidth=1.2,
        label="best for its time",
        zorder=1,
    )
    for runtime in dict.fromkeys(row.runtime for row in known):
        axes.scatter([], [], color=_COLOURS.get(runtime, "k"), label=runtime)
    for precision in dict.fromkeys(row.precision for row in known):
        axes.scatter([], [], color="0.3", marker=_MARKS.get(precision, "x"), label=precision)
    for row in known:
        colour, mark = _COLOURS.get(row.runtime, "k"), _MARKS.get(row.precision, "x")
        axes.scatter([row.p50_ms], [100 * (row.ap or 0.0)], color=colour, marker=mark, s=60, zorder=3)
    heights = itertools.cycle((6, 17))
    for row in edge:  # above and to the left of a best one there is nothing
        name = f"{row.model}, {row.runtime} {row.precision}"
        _name(axes, row, name, next(heights), "k")
    for model in dict.fromkeys(row.model for row in known):
        if model not in {row.model for row in edge}:  # its fastest stands for it; marks and colours say the rest
            fastest = min((row for row in known if row.model == model), key=lambda row: row.p50_ms)
            _name(axes, fastest, model, -12, "0.4")
    axes.set_xlabel("latency of one picture, p50, ms (logarithmic)")
    axes.set_ylabel("AP (COCO, 0.50:0.95), %")
    axes.set_title(title, fontsize=10)
    # Twice as fast is as far apart everywhere.
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.15, y=0.15)
    low, high = axes.get_xlim()
    axes.set_xlim(low / (high / low) ** 0.25, high)  # room for names on the left
    axes.grid(visible=True, color="0.9")
    axes.set_axisbelow(True)
    figure.legend(fontsize=8, loc="outside right upper")
    try:
        with (
            whole_file(out) as part,
            mpl.rc_context({"svg.hashsalt": "vedette"}),
        ):
            figure.savefig(part, dpi=120)
    except (OSError, ValueError) as error:
        msg = f"--plot: {out} cannot be written: {error}"
        raise UsageError(msg, hint="name it .png, .svg or .pdf") from error


def _name(axes: Axes, row: Row, name: str, height: float, colour: str) -> None:
    """Write to the left of a row's mark, `height` points above its middle."""
    axes.annotate(
        name,
        (row.p50_ms, 100 * (row.ap or 0.0)),
        xytext=(-7, height),
        textcoords="offset points",
        horizontalalignment="right",
        fontsize=8,
        color=colour,
    )
