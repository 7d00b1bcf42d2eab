"""Which class of a model is which class of a data set: by name, and by what somebody says.

`--map car=vehicle,bus=vehicle` renames on both sides, so that a model of COCO's 80 classes is held against boxes of
`vehicle`, and a model of `vehicle` against COCO's boxes of cars and buses.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from engines.datasets.dataset import Dataset, Image, Labels
from engines.types import I32
from vedette.errors import DataError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassMap:
    """The classes that both know, in the data set's order, and where each of theirs goes (-1: nowhere).

    `of_model` (classes of the model,) and `of_data` (classes of the data set,) int32. `only_data` are names of the
    data set that the model does not know: they cannot be counted.
    """

    names: tuple[str, ...]
    of_model: I32
    of_data: I32
    only_data: tuple[str, ...] = ()

    @classmethod
    def same(cls, names: tuple[str, ...]) -> ClassMap:
        """Each class is itself: for pictures without labels."""
        each = np.arange(len(names), dtype=np.int32)
        return cls(names=names, of_model=each, of_data=each)

    def apply(self, dataset: Dataset) -> Dataset:
        """The data set in the common classes. One is labelled in an image if all that go into it are."""
        if not dataset.classes:
            return replace(dataset, classes=self.names)
        sources = {
            target: frozenset(np.flatnonzero(self.of_data == target).tolist()) for target in range(len(self.names))
        }

        def of(image: Image) -> Image:
            kept = self.of_data[image.labels.class_ids] >= 0
            labels = Labels(
                xyxy_px=image.labels.xyxy_px[kept],
                class_ids=self.of_data[image.labels.class_ids[kept]],
                areas_px=image.labels.areas_px[kept],
                crowd=image.labels.crowd[kept],
            )
            labelled = frozenset(target for target, ids in sources.items() if ids <= image.labelled)
            return replace(image, labels=labels, labelled=labelled)

        return replace(dataset, classes=self.names, images=tuple(of(image) for image in dataset.images))


def parse_map(text: str) -> dict[str, str]:
    """`car=vehicle,bus=vehicle` as a mapping. Raises UsageError."""
    pairs = {}
    for word in text.split(","):
        name, equals, target = (part.strip() for part in word.partition("="))
        if not (name and equals and target):
            msg = f"--map: expected NAME=NAME,…, got {word.strip()!r}"
            raise UsageError(msg)
        pairs[name] = target
    return pairs


def match_classes(model: tuple[str, ...], data: tuple[str, ...], given: Mapping[str, str]) -> ClassMap:
    """The classes that model and data set have in common, after renaming as `given`; capitals do not matter.

    Raises DataError if there is none, UsageError for a name in `given` that neither has.
    """
    known = {_plain(name) for name in (*model, *data)}
    for name in given:
        if _plain(name) not in known:
            near = difflib.get_close_matches(name, [*model, *data], 1)
            msg = f"--map: neither the model nor the data set has a class {name!r}"
            raise UsageError(msg, hint=f"did you mean {near[0]!r}?" if near else None)
    renamed = {_plain(name): target for name, target in given.items()}
    of_model = [renamed.get(_plain(name), name) for name in model]
    of_data = [renamed.get(_plain(name), name) for name in data]
    has = {_plain(name) for name in of_model}
    names = tuple({_plain(name): name for name in of_data if _plain(name) in has}.values())
    if not names:
        msg = f"the model ({_some(model)}) and the data set ({_some(data)}) have no class in common"
        raise DataError(msg, hint="say which are the same: --map car=vehicle,bus=vehicle,…")
    places = {_plain(name): index for index, name in enumerate(names)}
    return ClassMap(
        names=names,
        of_model=np.array([places.get(_plain(name), -1) for name in of_model], np.int32),
        of_data=np.array([places.get(_plain(name), -1) for name in of_data], np.int32),
        only_data=tuple(dict.fromkeys(name for name in of_data if _plain(name) not in has)),
    )


def _plain(name: str) -> str:
    return name.strip().casefold()


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:4]) + (f", … {len(names)} in all" if len(names) > 4 else "")
