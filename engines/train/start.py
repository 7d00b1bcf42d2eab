"""The network that a training begins with: fresh weights, or those of a checkpoint as far as they fit."""

from __future__ import annotations

from pathlib import Path

import torch

from engines.train.options import TrainOptions
from engines.yolo_nas import YoloNas, build, load_checkpoint
from engines.yolo_nas.widen import can_widen, widened
from vedette.errors import ModelError


def first_network(options: TrainOptions, init: Path | None) -> tuple[YoloNas, str]:
    """A network in training form, and one line on where its weights are from. Raises ModelError.

    Of a checkpoint with other classes, those of the same name keep their weights, the others start afresh.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        network = build(options.arch, len(options.classes))
    if init is None:
        return network, "from random weights"
    found = load_checkpoint(init)
    source, wide = found.network, can_widen(found.variant, options.arch)
    if wide:
        source = widened(source, options.arch, torch.Generator().manual_seed(options.seed))
    elif found.variant != options.arch:
        msg = f"{init}: holds a YOLO-NAS {found.variant.upper()}, expected {options.arch.upper()} as --arch says"
        raise ModelError(msg, hint=f"give --arch {found.variant}, or --init none")
    names = found.class_names
    if names is None and found.network.classes != len(options.classes):
        msg = f"{init}: has {found.network.classes} classes without names, expected {len(options.classes)}"
        raise ModelError(msg, hint="write class_names into the checkpoint")
    names = options.classes if names is None else names
    own, given = network.state_dict(), source.state_dict()
    same = [(place, names.index(name)) for place, name in enumerate(options.classes) if name in names]
    with torch.no_grad():
        for key, value in own.items():
            if ".cls_pred." not in key:
                value.copy_(given[key])
            else:
                for place, there in same:
                    value[place] = given[key][there]
    origin = f"from {init.name}, twice as wide" if wide else f"from {init.name}"
    if tuple(names) == options.classes:
        return network, origin
    return network, f"{origin}; {_said(tuple(names), options.classes)}"


def _said(given: tuple[str, ...], wanted: tuple[str, ...]) -> str:
    """Which classes of a checkpoint go on, which begin afresh and which are left behind."""
    parts = {
        "classes kept": [name for name in wanted if name in given],
        "new": [name for name in wanted if name not in given],
        "dropped": [name for name in given if name not in wanted],
    }
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in parts.items() if names)
