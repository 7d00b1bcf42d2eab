"""How good an engine is: average precision, agreement with another engine, and the gate that INT8 has to pass."""

from __future__ import annotations

from engines.validate.agreement import Agreement, agreement
from engines.validate.average_precision import Ap, ApReport, ClassAp, average_precision
from engines.validate.gate import GateLimits, GateReport
from engines.validate.predictions import Predictions, PredictOptions, predict

__all__ = [
    "Agreement",
    "Ap",
    "ApReport",
    "ClassAp",
    "GateLimits",
    "GateReport",
    "PredictOptions",
    "Predictions",
    "agreement",
    "average_precision",
    "predict",
]
