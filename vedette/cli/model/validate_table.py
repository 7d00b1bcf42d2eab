"""What `vedette model validate` prints: tables of AP in points, and how two models differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vedette.cli.printable import printable

if TYPE_CHECKING:
    from engines.validate.agreement import Agreement
    from engines.validate.average_precision import Ap, ApReport
    from engines.validate.validation import Validated, Validation

_COLUMNS = ("AP", "AP50", "AP75", "small", "medium", "large")


def table(report: Validation, *, by_source: bool = False) -> list[str]:
    """The report in lines; with `by_source` also for each part of the data set that it names."""
    lines = [f"{report.data}: {report.images} images"]
    if report.not_counted:
        lines.append(f"not counted, the model does not know them: {printable(', '.join(report.not_counted))}")
    for one in (report.model, report.against):
        if one is not None:
            lines += ["", *_validated(one, by_source=by_source)]
    if report.against is not None:
        lines += ["", *_difference(report)]
    return lines


def _validated(one: Validated, *, by_source: bool) -> list[str]:
    lines = [f"{one.path} ({one.runtime})"]
    if one.ap is not None:
        lines += _ap_table("", one.ap)
    for part, ap in one.by_source.items() if by_source else ():
        lines += _ap_table(part, ap)
    return lines


def _ap_table(title: str, report: ApReport) -> list[str]:
    rows = [(one.name, str(one.images), str(one.objects), *_points(one.ap)) for one in report.classes if one.objects]
    objects = sum(one.objects for one in report.classes)
    rows.append(("mean", str(report.images), str(objects), *_points(report.mean)))
    return _aligned([(title or "class", "images", "objects", *_COLUMNS), *rows])


def _points(ap: Ap) -> tuple[str, ...]:
    values = (ap.ap, ap.ap50, ap.ap75, ap.small, ap.medium, ap.large)
    return tuple("-" if value is None else f"{100 * value:.2f}" for value in values)


def _difference(report: Validation) -> list[str]:
    lines = []
    if report.ap_lost_points is not None:
        by_class = ", ".join(f"{printable(name)} {-lost:+.2f}" for name, lost in report.ap_lost_points_by_class.items())
        lines.append(f"change of AP: {-report.ap_lost_points:+.2f} points ({by_class})")
    if report.agreement is not None and report.against is not None:
        lines += _agreement(report.agreement, report.against.shown_score)
    return lines


def _agreement(found: Agreement, score: float) -> list[str]:
    other, own = found.boxes
    there, back = ("-" if part is None else f"{100 * part:.1f} %" for part in found.found_again)
    lines = [
        f"boxes of score {score:g} and more, same class, IoU {found.iou:g}: {there} of the other's {other} are found "
        f"again, {back} of this one's {own} are the other's"
    ]
    near, near_back = ("-" if part is None else f"{100 * part:.1f} %" for part in found.found_near)
    lines.append(f"if scores may be {found.slack:g} below the threshold: {near} and {near_back}")
    if found.pairs:
        lines.append(
            f"of {found.pairs} pairs, sides differ by {found.side_px:.2f} px on average "
            f"(at most {found.side_px_max:.1f}), scores by {found.score:.4f} (at most {found.score_max:.3f})"
        )
    return lines


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  "
        + printable(row[0]).ljust(widths[0])
        + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]
