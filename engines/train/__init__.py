"""The trainer: makes checkpoints of YOLO-NAS out of labelled pictures, teachers, and time. Needs torch.

In reading order: `options`, `pictures` (memory), `geometry` and `appearance` (augmentation), `batches`, `assigner` and
`loss`, `teachers` and `distill`, `student` (one step), `job` (the run), `evaluate`, `checkpoints`.
"""

from __future__ import annotations

from engines.train.job import TrainReport, train
from engines.train.materials import Materials
from engines.train.options import TrainOptions

__all__ = ["Materials", "TrainOptions", "TrainReport", "train"]
