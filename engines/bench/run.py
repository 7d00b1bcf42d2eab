"""The whole of `vedette model bench`: make what is to be measured, measure it in turns, put the report together."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from engines.bench.job import Job, Mode
from engines.bench.measure import measure
from engines.bench.prepare import Candidate, Kitchen, labels, prepare
from engines.bench.report import About, Report, machine_facts, package_versions, rows_of
from engines.types import SizeWH

_MODES: tuple[Mode, ...] = ("latency", "throughput")


class BenchOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured, and how long: `rounds` times `seconds` for each row's latency, and as long for its throughput.

    `size_wh`: of networks with random weights; None: 640x640 for these, and what each file is made for. `threads`:
    None for every core that the process may use. `images` calibrate INT8; without, noise does.
    """

    models: tuple[str, ...]
    size_wh: SizeWH | None
    runtimes: tuple[str, ...]
    precisions: tuple[str, ...]
    batches: tuple[int, ...]
    rounds: int
    seconds: float
    threads: int | None
    images: tuple[Path, ...]


class Steps(msgspec.Struct, frozen=True, kw_only=True):
    """For a progress bar: what is being done, how many steps are done, and how many there are (None: not known yet)."""

    what: str
    done: int
    total: int | None


def bench(
    options: BenchOptions,
    *,
    child: Sequence[str],
    command: str,
    accuracy: Callable[[Candidate], float | None],
    progress: Callable[[Steps], None],
) -> Report:
    """Measure. `child` starts a process for a task; `accuracy` says a candidate's AP, None where it is not known.

    Raises UsageError, ModelError.
    """
    machine = machine_facts()
    with tempfile.TemporaryDirectory(prefix="vedette-bench-") as folder:
        kitchen = Kitchen(
            folder=Path(folder),
            images=options.images,
            child=child,
            progress=lambda what: progress(Steps(what=what, done=0, total=None)),
        )
        candidates: list[Candidate] = []
        missing: list[str] = []
        for word, label in labels(options.models).items():
            found, lacking = prepare(word, label, options.size_wh, options.runtimes, options.precisions, kitchen)
            candidates += found
            missing += lacking
        # All latencies of a round side by side: what is compared is measured within seconds.
        jobs = [
            job_of(found, mode, batch, options) for mode in _MODES for found in candidates for batch in options.batches
        ]
        total, done = len(jobs) * (1 + options.rounds), 0

        def step(what: str) -> None:
            nonlocal done
            progress(Steps(what=what, done=done, total=total))
            done += 1

        measured = measure(jobs, command=child, seconds=options.seconds, rounds=options.rounds, progress=step)
        ran = {(one.job.label, one.job.runtime, one.job.precision) for one in measured if not one.failed}
        about = {}
        for candidate in candidates:
            key = (candidate.model, candidate.runtime, candidate.precision)
            if key in ran:
                progress(Steps(what=f"accuracy of {', '.join(key)}", done=total, total=total))
                about[key] = _about(candidate, accuracy(candidate))
        rows, failed = rows_of(measured, about)
    return Report(
        rows=rows,
        missing=missing + failed,
        rounds=options.rounds,
        seconds=options.seconds,
        versions=package_versions(),
        machine=machine,
        command=command,
    )


def job_of(found: Candidate, mode: Mode, batch: int, options: BenchOptions) -> Job:
    return Job(
        label=found.model,
        path=str(found.path),
        runtime=found.runtime,
        precision=found.precision,
        mode=mode,
        batch=batch,
        threads=options.threads,
        compiled=None if found.compiled is None else str(found.compiled),
    )


def _about(found: Candidate, ap: float | None) -> About:
    try:
        from engines.bench.cost import network_cost
    except ModuleNotFoundError:  # onnx, which counts
        gflops = None
    else:
        gflops = round(network_cost(found.path, found.size_wh).flops / 1e9, 3)
    return About(size=found.size_wh, file_bytes=found.file_bytes, gflops=gflops, ap=ap, note=found.note)
