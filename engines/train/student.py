"""The network in training: one step, and the state that a run can go on from exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from engines.train.batches import Batch
from engines.train.distill import Adapters, DistillOptions, distillation_loss
from engines.train.ema import Average
from engines.train.loss import LossOptions, detection_loss
from engines.train.options import TrainOptions
from engines.train.teachers import DeviceTeacher, Taught
from engines.yolo_nas import RawOutputs, YoloNas
from engines.yolo_nas.body import NeckMaps
from vedette.errors import VedetteError

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


class DivergedError(VedetteError):
    """The loss is no number any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """Losses of one step as they count, and the number of anchors that show an object."""

    classes: float
    boxes: float
    bins: float
    distill: float
    features: float
    positives: int
    gradient: float

    @property
    def total(self) -> float:
        return self.classes + self.boxes + self.bins + self.distill + self.features


class Student:
    """`network` in training form on `device`; `average` follows it."""

    def __init__(
        self,
        network: YoloNas,
        options: TrainOptions,
        *,
        device: torch.device,
        loss: LossOptions | None = None,
        distill: DistillOptions | None = None,
        teachers: Sequence[DeviceTeacher] = (),
        host_teachers: int = 0,
        host_features: Sequence[Sequence[int]] = (),
    ) -> None:
        """`host_features`: the widths of the features of each teacher on the host, () for one that shows none."""
        self.options = options
        self.device = device
        # torch's stubs know no `memory_format` beside a device
        self.network: YoloNas = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._loss = loss or LossOptions(classification=options.classification, box=options.box)
        self._distill = distill or DistillOptions(box=options.box)
        self.teachers = list(teachers)
        self.frozen = options.freeze_backbone
        if self.frozen:
            self.network.backbone.requires_grad_(False)
        widths = network.variant.neck_out[1:]
        shown = [*(host_features or [()] * host_teachers), *(teacher.widths for teacher in teachers)]
        self.adapters = nn.ModuleList(Adapters(widths, theirs) if theirs else nn.Identity() for theirs in shown)
        self.adapters.to(device)
        self.average = Average(self.network, options.ema)
        self.optimizer = _optimizer([self.network, self.adapters], options)
        self._scaler = torch.amp.GradScaler(device.type, enabled=options.precision == "fp16")

    def step(self, batch: Batch, step: int, rate: float) -> StepReport:
        """Learn from a batch. Raises DivergedError."""
        self.network.train()
        if self.frozen:
            self.network.backbone.eval()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        images = self._values(batch.levels)
        targets = batch.targets.to(self.device)
        raw, neck = self._seen(images)
        losses = detection_loss(raw, targets, self._loss)
        taught = [one.to(self.device) for one in batch.taught]
        taught += [teacher.look(images) for teacher in self.teachers]
        dense, features = self._taught(raw, neck, taught)
        total = losses.total + dense + features
        self.optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(total).backward()  # type: ignore[no-untyped-call] # torch's own, without types
        self._scaler.unscale_(self.optimizer)
        learning = [one for group in self.optimizer.param_groups for one in group["params"]]
        gradient = torch.nn.utils.clip_grad_norm_(learning, self.options.clip)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.average.update(step)
        figures = torch.stack(
            [losses.classes, losses.boxes, losses.bins, dense, features, losses.positives.float(), gradient]
        ).tolist()
        if not all(abs(figure) < float("inf") for figure in figures) and not self._scaler.is_enabled():
            msg = f"step {step}: the loss is no number any more: {', '.join(f'{figure:g}' for figure in figures)}"
            raise DivergedError(msg, hint="lower --rate, or give more --warmup")
        return StepReport(
            classes=figures[0],
            boxes=figures[1],
            bins=figures[2],
            distill=figures[3],
            features=figures[4],
            positives=int(figures[5]),
            gradient=figures[6],
        )

    def _values(self, levels: Tensor) -> Tensor:
        moved = levels.to(self.device, non_blocking=True)
        return moved.float().div_(255.0).contiguous(memory_format=torch.channels_last)

    def _seen(self, images: Tensor) -> tuple[RawOutputs, NeckMaps]:
        kind = _TYPES[self.options.precision]
        with torch.autocast(self.device.type, kind, enabled=kind != torch.float32):
            neck: NeckMaps = self.network.neck(self.network.backbone(images))
            maps = self.network.heads(neck)
        return self.network.gathered(maps), neck

    def _taught(self, raw: RawOutputs, neck: NeckMaps, taught: Sequence[Taught]) -> tuple[Tensor, Tensor]:
        zero = raw.cls_logits.new_zeros(())
        if not taught or not self.options.distill:
            return zero, zero
        share = self.options.distill / len(taught)
        dense = torch.stack([distillation_loss(raw, one, self._distill) for one in taught]).sum() * share
        mine = (neck.neck2, neck.neck3, neck.neck4)
        apart = [
            adapter(mine, one.features)
            for adapter, one in zip(self.adapters, taught, strict=True)
            if isinstance(adapter, Adapters)
        ]
        if not apart:
            return dense, zero
        return dense, torch.stack(apart).sum() * share * self._distill.feature_part

    def state(self) -> dict[str, Any]:
        """Plain containers and tensors."""
        return {
            "net": self.network.state_dict(),
            "ema_net": self.average.network.state_dict(),
            "adapters": self.adapters.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["net"])
        self.average.network.load_state_dict(state["ema_net"])
        self.adapters.load_state_dict(state["adapters"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])


def _optimizer(modules: Sequence[nn.Module], options: TrainOptions) -> torch.optim.Optimizer:
    """Weights of convolutions decay; biases, normalisations and alphas do not."""
    learning = [one for module in modules for one in module.parameters() if one.requires_grad]
    groups = [
        {"params": [one for one in learning if one.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [one for one in learning if one.ndim <= 1], "weight_decay": 0.0},
    ]
    if options.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=options.rate, momentum=0.9, nesterov=True)
    # Fused: one call in place of six hundred.
    return torch.optim.AdamW(groups, lr=options.rate, fused=True)
