"""What is written down of a run: a table (CSV) that grows, and a plot of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from vedette.errors import UsageError
from vedette.whole_file import write_whole

COLUMNS = (
    "step", "epoch", "seconds", "rate", "images_per_s", "loss", "classes", "boxes", "bins", "distill", "features",
    "positives", "gradient", "ap", "ap50",
)  # fmt: skip
"""AP of the half to choose by, in the rows in which it was measured; losses are means since the row before."""

Row = list[float | None]


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows([["" if value is None else f"{value:.6g}" for value in row] for row in rows])
    _whole(path, text.getvalue().encode())


def write_plot(path: Path, rows: Sequence[Row], title: str) -> None:
    """Losses and AP over the steps, as SVG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "vedette", "font.size": 9}):
        figure = Figure(figsize=(8, 5), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True)
        for name in ("loss", "classes", "boxes", "bins", "distill", "features"):
            x, y = _series(rows, name)
            if any(y):
                upper.plot(x, y, label=name, linewidth=2 if name == "loss" else 1)
        upper.set_ylabel("loss")
        if upper.lines:  # none before the first step
            upper.legend(ncols=6, frameon=False)
        for name in ("ap", "ap50"):
            lower.plot(*_series(rows, name), marker=".", label=name)
        lower.set_ylabel("AP, choosing half")
        lower.set_xlabel("step")
        lower.legend(frameon=False)
        figure.suptitle(title)
        drawn = io.BytesIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    _whole(path, drawn.getvalue())


def _series(rows: Sequence[Row], name: str) -> tuple[list[float], list[float]]:
    column = COLUMNS.index(name)
    pairs = [(row[0], row[column]) for row in rows]
    known = [(x, y) for x, y in pairs if x is not None and y is not None]
    return [x for x, _ in known], [y for _, y in known]


def _whole(path: Path, content: bytes) -> None:
    try:
        write_whole(path, content)
    except OSError as error:
        msg = f"{path}: cannot be written: {error.strerror}"
        raise UsageError(msg) from error
