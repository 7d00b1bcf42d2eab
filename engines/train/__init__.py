"""The trainer: makes checkpoints of YOLO-NAS out of labelled pictures, teachers, and time. Needs torch.

In reading order: `options`, `materials` (data and teachers, opened), `pictures` (memory), `planner` with `geometry` and
`looks` (what is in a batch), `batches` with `warp` and `appearance` (made on the host) or `device_batches` with
`device_warp`, `device_looks` and `device_codec` (made on a GPU), `assigner` and `loss`, `teachers`, `host_teacher`,
`onnx_teacher` and `distill`, `student` (one step), `job` (the run), `evaluate`, `checkpoints`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engines.train.job import TrainReport, train
    from engines.train.materials import Materials
    from engines.train.options import TrainOptions

__all__ = ["Materials", "TrainOptions", "TrainReport", "train"]

_HOMES = {"Materials": "materials", "TrainOptions": "options", "TrainReport": "job", "train": "job"}


def __getattr__(name: str) -> Any:
    """Loaded when asked for: processes that plan batches need a few modules of this package, and no torch."""
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
