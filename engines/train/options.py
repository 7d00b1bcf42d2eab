"""Everything that a training run is given; kept in its checkpoint, so that `--resume` needs no more than DATA."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import torch

from engines.types import SizeWH
from engines.yolo_nas.variants import VariantName

Positive = Annotated[float, msgspec.Meta(gt=0.0, le=1e9)]
Weight = Annotated[float, msgspec.Meta(ge=0.0, le=1e9)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Seed = Annotated[int, msgspec.Meta(ge=0)]


TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
"""What `precision` means."""


class TrainOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`sizes`: the first is that of validation and of the checkpoint; batches have any of them.

    The run ends after `epochs` or `minutes`, whichever is first; one of them must be given. `warmup_steps` of rising
    rate, then a cosine down to `final_rate` of it. `calm`: the last share of the run, without augmentation.
    Validated every `evaluate_epochs` if that is given, else every `evaluate_minutes`; after `patience` validations in a
    row that were no better than the best, the run ends early. `mixed`: which share of the pictures comes from each
    further set. `distill`: what the teachers' losses count beside that of the labels, all together.
    """

    arch: VariantName
    classes: tuple[str, ...]
    sizes: tuple[SizeWH, ...] = ((640, 384),)
    batch: Count = 16
    epochs: Positive | None = None
    minutes: Positive | None = None
    optimizer: Literal["adamw", "sgd"] = "adamw"
    rate: Positive = 1e-3
    final_rate: Share = 0.02
    weight_decay: Weight = 0.02
    warmup_steps: Annotated[int, msgspec.Meta(ge=0)] = 200
    clip: Positive = 10.0
    ema: Share = 0.9995
    precision: Literal["bf16", "fp16", "fp32"] = "bf16"
    calm: Share = 0.1
    mosaic: Share = 0.5
    augment: bool = True
    classification: Literal["varifocal", "quality"] = "varifocal"
    box: Literal["giou", "ciou"] = "giou"
    balance: Literal["none", "weights", "resample"] = "none"
    freeze_backbone: bool = False
    distill: Weight = 1.0
    mixed: tuple[Share, ...] = ()
    seed: Seed = 0
    threads: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 2
    evaluate_minutes: Positive = 5.0
    evaluate_epochs: Positive | None = None
    patience: Count | None = None
