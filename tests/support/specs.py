"""Specs for tests: a small one of every head, and those of the teachers in the shared folder."""

from __future__ import annotations

from engines.spec import COCO_CLASSES, HeadName, InputSpec, ModelSpec


def small_spec(head: HeadName, *, classes: tuple[str, ...] = ("person", "car"), size: int = 64) -> ModelSpec:
    return ModelSpec(name="small", head=head, classes=classes, input=InputSpec(size=(size, size)))


YOLOX_NANO = ModelSpec(
    name="yolox-nano",
    head="yolox",
    classes=COCO_CLASSES,
    input=InputSpec(size=(416, 416), align="top_left", colour="bgr", scale=1.0),
)
NANODET_PLUS_M = ModelSpec(
    name="nanodet-plus-m",
    head="nanodet_plus",
    classes=COCO_CLASSES,
    input=InputSpec(
        size=(416, 416),
        fit="stretch",
        colour="bgr",
        scale=1.0,
        mean=(103.53, 116.28, 123.675),
        std=(57.375, 57.12, 58.395),
    ),
)
SEED_N = ModelSpec(
    name="seed-n", head="yolo_nas", classes=("person", "vehicle", "bike"), input=InputSpec(size=(640, 384))
)
