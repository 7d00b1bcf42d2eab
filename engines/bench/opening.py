"""Opens the engine of a bench's candidate as the product would, but for what the measurement is about.

Throughput: as the pipeline runs it. Latency: one request at a time with every core working on it, which OpenVINO wants
to know beforehand; the other runtimes use every core for each request anyway.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from engines.bench.job import Job
from engines.engine import Engine
from engines.options import ModelOptions
from engines.runtimes import open_engine, read_model_file
from engines.spec import find_spec
from vedette.errors import EngineError


def open_candidate(job: Job, *, now_ns: Callable[[], int]) -> Engine:
    """Raises ModelError, EngineError, MissingExtraError for what cannot run here."""
    precision = "auto" if job.compiled is not None else job.precision
    wanted = {"path": job.path, "backend": job.runtime, "precision": precision, "threads": job.threads}
    try:
        options = msgspec.convert(wanted, ModelOptions)
    except msgspec.ValidationError as error:
        msg = f"{job.runtime} has no {job.precision}"
        raise EngineError(msg) from error
    if job.runtime != "openvino" or (job.mode == "throughput" and job.compiled is None):
        return open_engine(options, now_ns=now_ns, batch=job.batch)
    from engines.runtimes.openvino import REQUESTS, Hint, OpenVinoEngine

    file = read_model_file(Path(job.path))
    spec = find_spec(file).spec
    if job.compiled is not None:
        file = msgspec.structs.replace(file, path=job.compiled)
    hint: Hint = "LATENCY" if job.mode == "latency" else "THROUGHPUT"
    requests = 1 if job.mode == "latency" else REQUESTS
    return OpenVinoEngine(
        file, spec, options, now_ns=now_ns, why="bench", hint=hint, requests=requests, batch=job.batch
    )
