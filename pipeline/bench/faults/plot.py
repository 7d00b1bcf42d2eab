"""Draws what the longest-lived process held over time: memory, threads, descriptors, and how many faults began when."""

from __future__ import annotations

import io
from pathlib import Path

from pipeline.bench.faults.report import FaultReport
from vedette.errors import UsageError
from vedette.whole_file import write_whole

_KINDS = ("camera", "redis", "lease", "disk", "process", "host")
_BINS = 60


def plot_growth(report: FaultReport, out: Path) -> None:
    """As SVG. Raises UsageError if there is nothing to draw or no place."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    growth = report.growth
    if growth is None:
        msg = "--plot: no process lived long enough"
        raise UsageError(msg, hint="give it at least --minutes 1.5")
    minutes = [sample[0] / 60 for sample in growth.trace]
    with mpl.rc_context({"svg.hashsalt": "vedette", "font.size": 9}):
        figure = Figure(figsize=(8, 6), layout="constrained")
        memory, threads, files, faults = figure.subplots(4, 1, sharex=True, height_ratios=(3, 1, 1, 1))
        memory.plot(minutes, [sample[1] for sample in growth.trace], linewidth=0.8)
        memory.set_ylabel("RSS, MiB")
        memory.axvspan(0, growth.warm_up_s / 60, color="0.92")
        slopes = f"{growth.rss_slope_mib:+.2f} MiB, {growth.threads_slope:+.2f} threads, "
        memory.set_title(
            f"seed {report.seed}: {len(report.done)} faults in {report.minutes:g} minutes, {report.verdict}; "
            f"{slopes}{growth.open_files_slope:+.2f} files an hour after the grey warm-up",
            fontsize=9,
        )
        for axes, column, name in ((threads, 2, "threads"), (files, 3, "files")):
            axes.plot(minutes, [sample[column] for sample in growth.trace], linewidth=0.8)
            axes.set_ylabel(name)
            axes.set_ylim(0, 1.2 * max(sample[column] for sample in growth.trace))
        begun = {kind: [one.begins_s / 60 for one in report.done if one.fault.kind.startswith(kind)] for kind in _KINDS}
        begun = {kind: minutes for kind, minutes in begun.items() if minutes}
        bins = [place * minutes[-1] / _BINS for place in range(_BINS + 1)]
        faults.hist([*begun.values()], bins, stacked=True, histtype="stepfilled", label=[*begun])
        faults.set_ylabel("faults begun")
        faults.legend(ncols=len(begun), fontsize=7, loc="lower right")
        faults.set_xlabel("minutes")
        drawn = io.BytesIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    try:
        write_whole(out, drawn.getvalue())
    except OSError as error:
        msg = f"--plot: {out} cannot be written: {error.strerror}"
        raise UsageError(msg) from error
