"""The network in training: one step, and the state that a run can go on from exactly.

On a CPU a step is cut into one part for each core, and each is learnt by one thread from first to last, on a replica of
the network that shares its weights; their gradients are added up in order. Nearly twice as fast on four cores as
threads inside each operation, which meet a thousand times a step (N, 416x256: 28 ms a picture, not 51). As with several
GPUs, normalisation sees a part at a time, and its averages are the first part's.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from engines.train.batches import Batch
from engines.train.distill import Adapters, DistillOptions, distillation_loss
from engines.train.ema import Average
from engines.train.loss import LossOptions, detection_loss
from engines.train.options import TYPES, TrainOptions
from engines.train.teachers import Taught, TorchTeacher
from engines.yolo_nas import RawOutputs, YoloNas
from engines.yolo_nas.body import NeckMaps
from vedette.errors import VedetteError

_LEAST_SCALE = 1.0
"""Of FP16's losses: below, gradients overflow by themselves."""


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


class _Learner:
    """What one thread learns with: a network and the adapters to its teachers' features."""

    def __init__(self, network: YoloNas, adapters: nn.ModuleList) -> None:
        self.network = network
        self.adapters = adapters

    def replica(self) -> _Learner:
        """Another with the same weights (the very memory), and gradients and averages of its own."""
        twin = _Learner(copy.deepcopy(self.network), copy.deepcopy(self.adapters))
        for theirs, mine in zip(twin._weights(), self._weights(), strict=True):
            theirs.data = mine.data
        return twin

    def take_gradients(self, other: _Learner) -> None:
        """Add the other's gradients, and leave it none."""
        for mine, theirs in zip(self._weights(), other._weights(), strict=True):
            if theirs.grad is not None:
                mine.grad = theirs.grad if mine.grad is None else mine.grad.add_(theirs.grad)
                theirs.grad = None

    def _weights(self) -> list[nn.Parameter]:
        return list(itertools.chain(self.network.parameters(), self.adapters.parameters()))


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
        teachers: Sequence[TorchTeacher] = (),
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
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)  # of the run alone, not of what was drawn before it
            self.adapters = nn.ModuleList(Adapters(widths, theirs) if theirs else nn.Identity() for theirs in shown)
        self.adapters.to(device)
        self._parts = options.threads if device.type == "cpu" else 1
        self._learners = [_Learner(self.network, self.adapters)]
        self._learners += [self._learners[0].replica() for _ in range(self._parts - 1)]
        self._threads = ThreadPoolExecutor(self._parts, "learn", torch.set_num_threads, (1,))
        self.average = Average(self.network, options.ema)
        self.optimizer = _optimizer([self.network, self.adapters], options)
        self._scaler = torch.amp.GradScaler(device.type, enabled=options.precision == "fp16")
        self._scaler.scale(torch.zeros((), device=device))  # makes its state, which threads must not do together

    def step(self, batch: Batch, step: int, rate: float) -> StepReport:
        """Learn from a batch. Raises DivergedError."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        parts = batch.parts(self._parts)
        shares = [len(part.levels) / len(batch.levels) for part in parts]
        learners = self._learners[: len(parts)]
        if len(parts) == 1:
            found = [self._learn(learners[0], parts[0], 1.0)]
        else:
            found = list(self._threads.map(self._learn, learners, parts, shares))
        for learner in learners[1:]:
            learners[0].take_gradients(learner)
        self._scaler.unscale_(self.optimizer)
        learning = [one for group in self.optimizer.param_groups for one in group["params"]]
        gradient = torch.nn.utils.clip_grad_norm_(learning, self.options.clip)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.average.update(step)
        figures = torch.stack([*torch.stack(found).sum(dim=0), gradient]).tolist()
        if not all(map(math.isfinite, figures[:6])) or not (math.isfinite(figures[6]) or self._may_overflow()):
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

    def _may_overflow(self) -> bool:
        """Whether gradients without end are but those of a scale that is too high still; the step was left out then."""
        return self._scaler.is_enabled() and self._scaler.get_scale() >= _LEAST_SCALE

    def _learn(self, learner: _Learner, batch: Batch, share: float) -> Tensor:
        """Leave the gradients of a part of the batch; the losses as they count, and the number of positives."""
        learner.network.train()
        if self.frozen:
            learner.network.backbone.eval()
        images = self._values(batch.levels)
        raw, neck = self._seen(learner.network, images)
        losses = detection_loss(raw, batch.targets.to(self.device), self._loss)
        taught = [one.to(self.device) for one in batch.taught]
        taught += [teacher.look(images) for teacher in self.teachers]
        dense, features = self._taught(learner, raw, neck, taught)
        total = (losses.total + dense + features) * share
        self._scaler.scale(total).backward()  # type: ignore[no-untyped-call] # torch's own, without types
        shown = torch.stack([losses.classes, losses.boxes, losses.bins, dense, features]).detach() * share
        return torch.cat([shown, losses.positives.float()[None]])

    def _values(self, levels: Tensor) -> Tensor:
        moved = levels.to(self.device, non_blocking=True)
        return moved.float().div_(255.0).contiguous(memory_format=torch.channels_last)

    def _seen(self, network: YoloNas, images: Tensor) -> tuple[RawOutputs, NeckMaps]:
        kind = TYPES[self.options.precision]
        with torch.autocast(self.device.type, kind, enabled=kind != torch.float32):
            neck: NeckMaps = network.neck(network.backbone(images))
            maps = network.heads(neck)
        return network.gathered(maps), neck

    def _taught(
        self, learner: _Learner, raw: RawOutputs, neck: NeckMaps, taught: Sequence[Taught]
    ) -> tuple[Tensor, Tensor]:
        zero = raw.cls_logits.new_zeros(())
        if not taught or not self.options.distill:
            return zero, zero
        share = self.options.distill / len(taught)
        dense = torch.stack([distillation_loss(raw, one, self._distill) for one in taught]).sum() * share
        mine = (neck.neck2, neck.neck3, neck.neck4)
        apart = [
            adapter(mine, one.features)
            for adapter, one in zip(learner.adapters, taught, strict=True)
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
