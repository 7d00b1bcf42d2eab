"""Opens the engine of a bench's candidate as the product would, but for what the measurement is about.

Throughput: as the pipeline runs it. Latency: one request at a time with every core working on it, which OpenVINO wants
to know beforehand; the other runtimes use every core for each request anyway.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from engines.bench.batched import check_batch, fix_batch, open_onnxruntime
from engines.bench.job import Job
from engines.engine import Engine
from engines.options import ModelOptions
from engines.runtimes import open_engine, read_model_file
from engines.spec import find_spec
from vedette.errors import EngineError


def open_candidate(job: Job, *, now_ns: Callable[[], int]) -> Engine:
    """Raises ModelError, EngineError, MissingExtraError for what cannot run here."""
    precision = "int8" if job.precision == "nncf-int8" else job.precision
    wanted = {"path": job.path, "backend": job.runtime, "precision": precision, "threads": job.threads}
    try:
        options = msgspec.convert(wanted, ModelOptions)
    except msgspec.ValidationError as error:
        msg = f"{job.runtime} has no {job.precision}"
        raise EngineError(msg) from error
    if job.runtime == "openvino":
        return _openvino(job, options, now_ns)
    file = read_model_file(Path(job.path))
    if job.batch > 1:
        check_batch(file, job.batch)
        if job.runtime == "onnxruntime":
            return open_onnxruntime(file, find_spec(file).spec, options, job.batch, now_ns=now_ns)
    return open_engine(options, now_ns=now_ns)


def _openvino(job: Job, options: ModelOptions, now_ns: Callable[[], int]) -> Engine:
    from engines.runtimes.openvino import REQUESTS, OpenVinoEngine

    file = read_model_file(Path(job.path))
    spec = find_spec(file).spec
    if job.compiled is not None:
        file = msgspec.structs.replace(file, path=job.compiled)
        options = msgspec.structs.replace(options, precision="auto")
    with tempfile.TemporaryDirectory(prefix="vedette-bench-") as folder:
        if job.batch > 1:
            check_batch(file, job.batch)
            fixed = Path(folder) / "fixed.xml"
            fix_batch(file.path, spec.input.size, job.batch, fixed)
            file = msgspec.structs.replace(file, path=str(fixed))
        if job.mode == "latency":
            return OpenVinoEngine(file, spec, options, now_ns=now_ns, why="bench", hint="LATENCY", requests=1)
        return OpenVinoEngine(file, spec, options, now_ns=now_ns, why="bench", hint="THROUGHPUT", requests=REQUESTS)
