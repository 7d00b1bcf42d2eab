"""The gate that an INT8 engine passes before it is accepted: it must be as good as its float original, nearly.

With labels: it may lose 0.5 points of AP. Without: 97 % of the boxes that the original shows are found again, and as
many the other way round. Either on at least 100 pictures that were not used for calibration, told by their content
(DESIGN.md, INT8). What comes out is a `GateReport`, which travels with the engine in `ModelSpec.gate`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from engines.datasets import ClassMap, Dataset, match_classes
from engines.options import ModelOptions
from engines.runtimes import open_engine
from engines.spec import sha256_of
from engines.validate.agreement import FOUND_IOU, SCORE_SLACK, Agreement, agreement
from engines.validate.average_precision import ApReport, average_precision
from engines.validate.predictions import Predictions, PredictOptions, predict
from vedette.errors import DataError, ModelError

LEAST_BOXES = 50
"""If the original shows fewer boxes in all pictures together, agreement says nothing (a guess: 2 % is one box)."""
LEAST_AP = 0.01
"""If the original's own AP is less, there is nothing to lose: other classes, other pictures."""

Rule = Literal["ap", "agreement"]


class GateLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What may be lost. `ap_points`: of 100; `found_again`: a part of the boxes; `images`: the least number of them.

    `score_slack`: how far below the threshold the other may have a box (at most 0.1); 0 is the rule by the letter, by
    which a box whose score falls from 0.351 to 0.349 is lost.
    """

    ap_points: float = 0.5
    found_again: float = 0.97
    iou: float = FOUND_IOU
    score_slack: float = 0.0
    images: int = 100


class GateReport(msgspec.Struct, frozen=True, kw_only=True):
    """Whether an engine passed, by which rule, and on what.

    `reference` and `candidate` are the sha256 of the two files, each with what ran it; `pictures` that of the hashes
    of the held-out pictures; `used_for_calibration` how many of the data set were left out for that. `ap_lost_points`
    is negative for an engine that is better than its original; AP is None where there are too few labelled pictures.
    """

    passed: bool
    rule: Rule
    limits: GateLimits
    reference: str
    reference_runtime: str
    candidate: str
    candidate_runtime: str
    data: str
    images: int
    used_for_calibration: int
    pictures: str
    reference_ap: float | None = None
    candidate_ap: float | None = None
    ap_lost_points: float | None = None
    ap_lost_points_by_class: dict[str, float] = {}
    agreement: Agreement
    unreadable: tuple[str, ...] = ()

    def to_spec(self) -> dict[str, Any]:
        """The report as `ModelSpec.gate` holds it: plain values, None left out."""
        plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))  # lists, as YAML has them
        return {key: value for key, value in plain.items() if value is not None and value != [] and value != {}}

    @classmethod
    def of_spec(cls, gate: Mapping[str, Any]) -> GateReport | None:
        """What `to_spec` gave, or None for what is no such thing."""
        try:
            return msgspec.convert(gate, cls)
        except msgspec.ValidationError:
            return None

    def line(self) -> str:
        """What was found, in one line: for logs, and for the refusal."""
        verdict = "passed" if self.passed else "failed"
        on = f"on {self.images} held-out images of {self.data}"
        if self.rule == "ap":
            return (
                f"gate {verdict} {on}: AP {_points(self.candidate_ap)} against the float network's "
                f"{_points(self.reference_ap)}, {_lost(self.ap_lost_points)} (at most {self.limits.ap_points:g} may be)"
            )
        there, back = (_percent(part) for part in _found(self.agreement, self.limits))
        return (
            f"gate {verdict} {on}: {there} of the float network's boxes are found again, {back} the other way round "
            f"(at least {100 * self.limits.found_again:g} % must be, same class, IoU {self.limits.iou:g}"
            f"{self._about_scores()})"
        )

    def _about_scores(self) -> str:
        if self.limits.score_slack:
            return f", scores up to {self.limits.score_slack:g} below the threshold"
        if self.passed:
            return ""
        near = " and ".join(_percent(part) for part in self.agreement.found_near)
        return f"; {near} if scores may be {self.agreement.slack:g} below the threshold"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOut:
    """Pictures that calibration has not seen; `pictures` is the sha256 of their sorted hashes."""

    dataset: Dataset
    used_for_calibration: int
    pictures: str


def check(
    reference: ModelOptions,
    candidate: ModelOptions,
    dataset: Dataset,
    *,
    used: Collection[str],
    now_ns: Callable[[], int],
    limits: GateLimits | None = None,
    class_names: Mapping[str, str] | None = None,
    progress: Callable[[], None] = lambda: None,
) -> GateReport:
    """Run both models over the pictures of `dataset` that are not in `used`, and judge the candidate.

    `used` holds the sha256 of the files that calibration has seen; `class_names` are those of `match_classes`.
    `progress` is called once for each picture and model. A candidate that fails is no error: look at `passed`.
    Raises DataError if the pictures are too few or tell nothing, ModelError, EngineError.
    """
    limits = limits or GateLimits()
    pictures = held_out(dataset, used, limits)
    found: list[Predictions] = []
    mapped: ClassMap | None = None
    for options in (reference, candidate):
        engine = open_engine(options, now_ns=now_ns)
        try:
            if mapped is None:
                mapped = _class_map(engine.spec.classes, dataset, class_names or {})
                classes = engine.spec.classes
            elif engine.spec.classes != classes:
                msg = f"{options.path}: expected the classes of {reference.path}, got {', '.join(engine.spec.classes)}"
                raise ModelError(msg)
            shown = PredictOptions(shown_score=found[0].shown_score) if found else None
            found.append(predict(engine, pictures.dataset.images, shown, class_map=mapped, progress=progress))
        finally:
            engine.close()
    assert mapped is not None
    return judge(found[0], found[1], replace(pictures, dataset=mapped.apply(pictures.dataset)), limits)


def _class_map(classes: tuple[str, ...], dataset: Dataset, names: Mapping[str, str]) -> ClassMap:
    return match_classes(classes, dataset.classes, names) if dataset.is_labelled else ClassMap.same(classes)


def held_out(dataset: Dataset, used: Collection[str], limits: GateLimits) -> HeldOut:
    """The pictures whose content calibration has not seen. Raises DataError if fewer than `limits.images` differ."""
    hashes = {image.path: _hash_of(image.path) for image in dataset.images}
    rest = dataset.chosen(lambda image: hashes[image.path] not in used)
    kept = {hashes[image.path] for image in rest.images if hashes[image.path]}
    out = len(dataset) - len(rest)
    if len(kept) < limits.images:
        again = len(rest) - len(kept)
        need = f"the gate needs at least {limits.images} images that calibration has not used"
        parts = [f"{out} of {len(dataset)} were used"] if out else []
        parts += [f"{again} are copies or cannot be read"] if again else []
        msg = f"{dataset.path}: {need}, got {len(kept)}" + (f" ({', '.join(parts)})" if parts else "")
        raise DataError(msg, hint="give more images, others than those of calibration")
    digest = hashlib.sha256("\n".join(sorted(kept)).encode()).hexdigest()
    return HeldOut(dataset=rest, used_for_calibration=out, pictures=digest)


def _hash_of(path: Path) -> str:
    """The file's sha256; "" if it cannot be read, which `predict` says with its name."""
    try:
        return sha256_of(path)
    except ModelError:
        return ""


def judge(reference: Predictions, candidate: Predictions, pictures: HeldOut, limits: GateLimits) -> GateReport:
    """What the two found in the same pictures, as a verdict. `pictures.dataset` is in the predictions' classes.

    AP decides where enough of the pictures are labelled, else the agreement of boxes. Raises DataError if the
    original finds too little to be held against.
    """
    dataset = pictures.dataset
    readable = [found.problem is None for found in reference.found]
    images = sum(readable)
    if images < limits.images:
        msg = f"{dataset.path}: the gate needs at least {limits.images} images, {images} can be read"
        raise DataError(msg, hint=reference.unreadable[0])
    labelled = sum(bool(image.labelled) and good for image, good in zip(dataset.images, readable, strict=True))
    agreed = agreement(reference, candidate, iou=limits.iou, slack=limits.score_slack or SCORE_SLACK)
    rule: Rule = "ap" if labelled >= limits.images else "agreement"
    before = after = None
    if rule == "ap":
        before, after = average_precision(reference, dataset), average_precision(candidate, dataset)
        passed = _ap_of(before) - _ap_of(after) <= limits.ap_points / 100 + 1e-9
        if _ap_of(before) < LEAST_AP:
            msg = f"{dataset.path}: the float network's own AP is {_points(before.mean.ap)}: nothing to be held against"
            raise DataError(msg, hint="are these pictures of what the model finds, and the classes the same?")
    else:
        if agreed.boxes[0] < LEAST_BOXES:
            shown = f"expected the float network to show at least {LEAST_BOXES} boxes, got {agreed.boxes[0]}"
            msg = f"{dataset.path}: {shown}"
            raise DataError(msg, hint="give pictures in which there is something to be found, or more of them")
        passed = all(part is not None and part >= limits.found_again for part in _found(agreed, limits))
    return GateReport(
        passed=passed,
        rule=rule,
        limits=limits,
        reference=reference.sha256,
        reference_runtime=reference.runtime,
        candidate=candidate.sha256,
        candidate_runtime=candidate.runtime,
        data=dataset.path.name,
        images=labelled if rule == "ap" else images,
        used_for_calibration=pictures.used_for_calibration,
        pictures=pictures.pictures,
        reference_ap=None if before is None else before.mean.ap,
        candidate_ap=None if after is None else after.mean.ap,
        ap_lost_points=None if before is None or after is None else 100 * (_ap_of(before) - _ap_of(after)),
        ap_lost_points_by_class={} if before is None or after is None else lost_by_class(before, after),
        agreement=agreed,
        unreadable=reference.unreadable,
    )


def _found(agreed: Agreement, limits: GateLimits) -> tuple[float | None, float | None]:
    return agreed.found_near if limits.score_slack else agreed.found_again


def lost_by_class(before: ApReport, after: ApReport) -> dict[str, float]:
    """Points of AP lost, by class; classes without objects are left out."""
    return {
        one.name: 100 * (one.ap.ap - other.ap.ap)
        for one, other in zip(before.classes, after.classes, strict=True)
        if one.ap.ap is not None and other.ap.ap is not None
    }


def _ap_of(report: ApReport) -> float:
    return report.mean.ap or 0.0


def _points(ap: float | None) -> str:
    return "none" if ap is None else f"{100 * ap:.2f}"


def _lost(points: float | None) -> str:
    if points is None:
        return "none"
    return f"{points:.2f} points lost" if points >= 0 else f"{-points:.2f} points gained"


def _percent(part: float | None) -> str:
    return "none" if part is None else f"{100 * part:.1f} %"
