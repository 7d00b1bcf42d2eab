"""AP of a bench's candidates: what the gate found when the engine was made, or what labelled pictures say now."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engines.bench.job import Job
from engines.bench.opening import open_candidate
from engines.bench.prepare import RANDOM, Candidate
from engines.datasets import Dataset, match_classes
from engines.runtimes import read_model_file
from engines.spec import find_spec
from engines.validate import average_precision, predict
from engines.weights import find_model


def ap_of_gate(word: str | Path) -> float | None:
    """AP, 0 to 1, in a model's own report of the gate, on that report's data. Raises ModelError."""
    if word in RANDOM:
        return None
    gate = find_spec(read_model_file(find_model(word))).spec.gate or {}
    ap = gate.get("candidate_ap")
    return float(ap) if isinstance(ap, int | float) else None


def known_ap(candidate: Candidate) -> float | None:
    return None if candidate.note else ap_of_gate(candidate.path)


def measured_ap(
    candidate: Candidate, dataset: Dataset, *, threads: int | None, now_ns: Callable[[], int]
) -> float | None:
    """AP (COCO, 0 to 1) over the data set, in the classes that both know; None for what is only fit for speed.

    Raises ModelError, DataError, EngineError.
    """
    if candidate.note or candidate.model in RANDOM:
        return None
    job = Job(
        label=candidate.model,
        path=str(candidate.path),
        runtime=candidate.runtime,
        precision=candidate.precision,
        mode="throughput",
        threads=threads,
        compiled=None if candidate.compiled is None else str(candidate.compiled),
    )
    engine = open_candidate(job, now_ns=now_ns)
    try:
        mapped = match_classes(engine.spec.classes, dataset.classes, {})
        found = predict(engine, dataset.images, class_map=mapped)
    finally:
        engine.close()
    return average_precision(found, mapped.apply(dataset)).mean.ap
