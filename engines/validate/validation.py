"""One model, or two against each other, on one data set: what `vedette model validate` reports.

The models run one after the other over the same pictures, each opened for its pass alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import msgspec

from engines.datasets import ClassMap, Dataset, match_classes
from engines.options import ModelOptions
from engines.runtimes import open_engine
from engines.validate.agreement import Agreement, agreement
from engines.validate.average_precision import Ap, ApReport, average_precision
from engines.validate.gate import lost_by_class
from engines.validate.predictions import Predictions, PredictOptions, predict
from vedette.errors import DataError


class Validated(msgspec.Struct, frozen=True, kw_only=True):
    """One model: its file's hash, what ran it, and its AP; None for pictures without labels.

    `by_source` has the AP of each part of the data set that it names.
    """

    model: str
    path: str
    sha256: str
    runtime: str
    shown_score: float
    ap: ApReport | None
    by_source: dict[str, ApReport]


class Validation(msgspec.Struct, frozen=True, kw_only=True):
    """A model on a data set; with `against`, also another one on the same, and how the two differ.

    `ap` and `ap50` are the model's, 0 to 1; `by_class` and, of each part of the data set, `by_source` say more.
    `ap_lost_points` of 100 is what the model has less than the other, negative for more. `not_counted` are classes of
    the data set that the model does not know; `unreadable` pictures that could not be used.
    """

    data: str
    images: int
    ap: float | None
    ap50: float | None
    by_class: dict[str, Ap]
    by_source: dict[str, dict[str, Ap]]
    classes: tuple[str, ...]
    not_counted: tuple[str, ...]
    unreadable: tuple[str, ...]
    model: Validated
    against: Validated | None = None
    ap_lost_points: float | None = None
    ap_lost_points_by_class: dict[str, float] = {}
    agreement: Agreement | None = None


def validate(
    options: ModelOptions,
    dataset: Dataset,
    *,
    now_ns: Callable[[], int],
    against: ModelOptions | None = None,
    names: Mapping[str, str] | None = None,
    predicting: PredictOptions | None = None,
    progress: Callable[[], None] = lambda: None,
) -> Validation:
    """Run the model (and the other) over the data set. `names` renames classes, as `match_classes` says.

    Without labels there is no AP, and two models are needed; they are compared in the first one's classes.
    Raises DataError for a data set that tells nothing of the model, ModelError, EngineError.
    """
    if not dataset.is_labelled and against is None:
        msg = f"{dataset.path}: has no labels, so there is no AP"
        raise DataError(msg, hint="give a data set with labels, or compare two models with --against")
    predicting = predicting or PredictOptions()
    found: list[tuple[ModelOptions, Predictions]] = []
    class_map: ClassMap | None = None
    for one in (options, against):
        if one is None:
            continue
        engine = open_engine(one, now_ns=now_ns)
        try:
            own = _class_map(engine.spec.classes, dataset, names or {}, class_map)
            class_map = class_map or own
            if own.names != class_map.names:
                msg = f"{one.path}: knows {', '.join(own.names)}; {options.path} knows {', '.join(class_map.names)}"
                raise DataError(msg, hint="both models must know the same classes of the data set: see --map")
            # Both show what the first one's threshold lets through: else they would differ by their settings alone.
            score = found[0][1].shown_score if found else predicting.shown_score
            settings = replace(predicting, shown_score=score)
            found.append((one, predict(engine, dataset.images, settings, class_map=own, progress=progress)))
        finally:
            engine.close()
    if class_map is None:
        raise AssertionError
    counted = class_map.apply(dataset)
    reports = [_validated(path.path, one, counted) for path, one in found]
    first, other = reports[0], reports[1] if len(reports) > 1 else None
    lost = _lost(first.ap, None if other is None else other.ap)
    return Validation(
        data=str(dataset.path),
        images=len(dataset) - len(found[0][1].unreadable),
        ap=None if first.ap is None else first.ap.mean.ap,
        ap50=None if first.ap is None else first.ap.mean.ap50,
        by_class=_by_class(first.ap),
        by_source={part: _by_class(one) for part, one in first.by_source.items()},
        classes=counted.classes,
        not_counted=class_map.only_data,
        unreadable=found[0][1].unreadable,
        model=first,
        against=other,
        ap_lost_points=lost,
        ap_lost_points_by_class={} if lost is None else _lost_by_class(first.ap, other),
        agreement=None if other is None else agreement(found[1][1], found[0][1]),
    )


def _class_map(
    classes: tuple[str, ...], dataset: Dataset, names: Mapping[str, str], first: ClassMap | None
) -> ClassMap:
    if dataset.is_labelled:
        return match_classes(classes, dataset.classes, names)
    if first is None and not names:
        return ClassMap.same(classes)
    # Without labels the common classes are those of the models themselves.
    return match_classes(
        classes, tuple(names.get(name, name) for name in classes) if first is None else first.names, names
    )


def _validated(path: str, found: Predictions, counted: Dataset) -> Validated:
    labelled = counted.is_labelled
    return Validated(
        model=found.model,
        path=path,
        sha256=found.sha256,
        runtime=found.runtime,
        shown_score=found.shown_score,
        ap=average_precision(found, counted) if labelled else None,
        by_source=_by_source(found, counted) if labelled else {},
    )


def _by_class(report: ApReport | None) -> dict[str, Ap]:
    """Of the classes that have objects to be found."""
    return {} if report is None else {one.name: one.ap for one in report.classes if one.objects}


def _by_source(found: Predictions, counted: Dataset) -> dict[str, ApReport]:
    """AP of each part that has objects to be found."""
    reports = {}
    for part in sorted({image.part for image in counted.images}):
        rows = [row for row, image in enumerate(counted.images) if image.part == part]
        images = tuple(counted.images[row] for row in rows)
        there = any(image.labelled and not image.labels.crowd.all() for image in images)
        if part and there:
            some = replace(found, images=images, found=tuple(found.found[row] for row in rows))
            reports[part] = average_precision(some, replace(counted, images=images))
    return reports


def _lost(ap: ApReport | None, other: ApReport | None) -> float | None:
    if ap is None or other is None or ap.mean.ap is None or other.mean.ap is None:
        return None
    return 100 * (other.mean.ap - ap.mean.ap)


def _lost_by_class(ap: ApReport | None, other: Validated | None) -> dict[str, float]:
    return {} if ap is None or other is None or other.ap is None else lost_by_class(other.ap, ap)
