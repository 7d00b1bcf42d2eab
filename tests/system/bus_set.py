"""A set to fine-tune on: buses, which the model that ships calls vehicles. Written for a measurement, run by hand.

    python -m tests.system.bus_set OUT

Out of the shared detection set: boxes by people around vehicles, of which YOLOX-nano and NanoDet-Plus both say that
they are buses. A vehicle of which one of the two says so is a crowd here: neither object nor background. An image in
which a teacher sees a bus where people drew no vehicle is left out. OUT/train.json: 200 images (160 with a bus);
OUT/val.json: the images of the shared val.json, which the model that ships was not trained on. Both link to the images.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.shared import SHARED
from vedette.model import Model

TEACHERS = ("yolox_nano_416.onnx", "nanodet_plus_m_416.onnx")
SOURCES = {"voc", "coco", "highway"}
WITH_BUS, WITHOUT = 160, 40
LEAST_SCORE = 0.25
SURE = 0.4
"""A bus of this score or more that nobody drew makes an image unfit."""

Box = Sequence[float]
Seen = list[tuple[str, float, Box]]


def overlap(one: Box, other: Box) -> float:
    """IoU of two boxes: left, top, right, bottom."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(0.0, width) * max(0.0, height)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return both / (areas - both)


def is_bus(box: Box, seen: Seen) -> bool:
    """Whether the surest vehicle of a teacher at this place is a bus."""
    here = [(score, name) for name, score, its in seen if name in {"car", "bus", "truck"} and overlap(box, its) > 0.5]
    return max(here)[1] == "bus" if here else False


def image_of(image: Mapping[str, Any], drawn: Sequence[Mapping[str, Any]], views: Sequence[Seen]) -> list[Any] | None:
    """The annotations of an image, or None if it is unfit."""
    vehicles = [one for one in drawn if one["category_id"] == 2]
    corners = [(x, y, x + w, y + h) for x, y, w, h in (one["bbox"] for one in vehicles)]
    for view in views:
        for name, score, its in view:
            if name == "bus" and score >= SURE and not any(overlap(its, box) > 0.5 for box in corners):
                return None
    found = []
    for one, box in zip(vehicles, corners, strict=True):
        votes = sum(is_bus(box, view) for view in views)
        if votes:
            unsure = votes < len(views) or one["iscrowd"]
            found.append({**one, "image_id": image["id"], "category_id": 1, "iscrowd": int(unsure)})
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT")
    out: Path = parser.parse_args().out
    if SHARED is None:
        sys.stderr.write("the shared detection set is not on this machine\n")
        return 2
    folder = SHARED / "detection"
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "images").exists():
        (out / "images").symlink_to(folder / "images")
    models = [Model(SHARED / "teachers" / name, score=LEAST_SCORE, nms_iou=0.6, threads=1) for name in TEACHERS]
    for name in ("train", "val"):
        document = json.loads((folder / f"{name}.json").read_text())
        by_image: dict[int, list[Any]] = {image["id"]: [] for image in document["images"]}
        for one in document["annotations"]:
            by_image[one["image_id"]].append(one)
        images, annotations = [], []
        has, has_not = (WITH_BUS, WITHOUT) if name == "train" else (len(by_image), len(by_image))
        order = np.random.default_rng(0).permutation(len(document["images"])).tolist()
        for image in (document["images"][index] for index in order):
            fit = image["source"] in SOURCES and "vehicle" in image["labels"]
            if not fit or not (has or has_not) or (name == "train" and not by_image[image["id"]]):
                continue
            views = [
                [(box.class_name, box.score, box.xyxy_px) for box in model.predict(folder / image["file_name"]).boxes]
                for model in models
            ]
            found = image_of(image, by_image[image["id"]], views)
            if found is None:
                continue
            bus = any(not one["iscrowd"] for one in found)
            if not (has if bus else has_not):
                continue
            has, has_not = has - bus, has_not - (not bus)
            images.append({**image, "labels": ["bus"]})
            annotations += found
        result = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "bus"}]}
        (out / f"{name}.json").write_text(json.dumps(result))
        shown = len({one["image_id"] for one in annotations if not one["iscrowd"]})
        sure = sum(not one["iscrowd"] for one in annotations)
        sys.stdout.write(f"{name}.json: {len(images)} images, {shown} with a bus, {sure} buses\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
