"""People: from skeletons to shapes, all of them at once.

Limbs are tapered tubes seen from the side, the trunk a stack of ellipses whose width follows from the angle of view;
each is drawn in a middle tone with a dark and a light flank, as light from one side makes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.source.synthetic import gait
from stages.source.synthetic.camera import F64, I32, Camera, Colour, tint
from stages.source.synthetic.shapes import CONVEX, OUTLINE, Shape
from stages.source.synthetic.wardrobe import Person

_DARK, _LIGHT = 0.66, 1.16

# start, end, radius at start, radius at end, in heights: the two tubes of each leg and arm, left then right
_TUBES = tuple(
    (side + a, side + b, ra, rb)
    for side in (gait.LEFT, gait.RIGHT)
    for a, b, ra, rb in (
        (gait.HIP, gait.KNEE, 0.05, 0.034),
        (gait.KNEE, gait.ANKLE, 0.034, 0.024),
        (gait.SHOULDER, gait.ELBOW, 0.031, 0.026),
        (gait.ELBOW, gait.WRIST, 0.026, 0.019),
    )
)
_THIGH, _SHIN, _UPPER_ARM, _FOREARM = range(4)
_STARTS = np.array([tube[0] for tube in _TUBES])
_ENDS = np.array([tube[1] for tube in _TUBES])
_RADII = np.array([tube[2:] for tube in _TUBES])

# how far up the spine (0 pelvis, 1 base of the neck), half width across and half depth, in heights
_TRUNK = np.array(
    [
        (1.06, 0.036, 0.04),
        (1.0, 0.075, 0.05),
        (0.93, 0.122, 0.06),
        (0.72, 0.112, 0.07),
        (0.42, 0.094, 0.064),
        (0.1, 0.099, 0.068),
        (-0.06, 0.098, 0.068),
    ]
)
_COAT = np.concatenate([_TRUNK[:6], [(-0.3, 0.108, 0.078), (-0.72, 0.118, 0.09)]])
_DRESS = np.concatenate([_TRUNK[:5], [(0.1, 0.102, 0.074), (-0.35, 0.125, 0.1), (-0.68, 0.14, 0.115)]])
_PELVIS = np.array([(0.3, 0.094, 0.064), (0.1, 0.1, 0.07), (-0.08, 0.1, 0.07), (-0.24, 0.07, 0.06)])

_CIRCLE = np.stack([np.cos(np.arange(14) / 14 * 2 * np.pi), np.sin(np.arange(14) / 14 * 2 * np.pi)], -1)


def draw_people(camera: Camera, people: Sequence[Person], joints: F64, heading: F64, light: F64) -> list[list[Shape]]:
    """The shapes of each of N people, far parts first. `joints` (N, JOINTS, 3) world; `light` (N, 3) by channel."""
    if not people:
        return []
    xy, depth = camera.project(joints)
    height = np.array([person.height_m for person in people])
    build = np.array([person.build for person in people])
    px = camera.focal_px / depth[:, gait.PELVIS] * height
    forward = np.stack([np.cos(heading), np.zeros_like(heading), np.sin(heading)], -1)
    sight = joints[:, gait.PELVIS] - camera.position
    sight[:, 1] = 0.0
    sight /= np.linalg.norm(sight, axis=1, keepdims=True)
    towards = -(forward * sight).sum(1)
    across = forward[:, 0] * sight[:, 2] - forward[:, 2] * sight[:, 0]
    tubes = _tubes(xy, px, build)
    feet = _feet(xy, px)
    drawn = []
    for i, person in enumerate(people):
        drawn.append(
            _Figure(camera, person, xy[i], float(px[i]), float(towards[i]), float(across[i]), tubes[i], feet[i]).shapes(
                light[i]
            )
        )
    return drawn


def _tubes(xy: F64, px: F64, build: F64) -> F64:
    """(N, 8, 3, 4, 2): for each tube the whole, its dark and its light flank."""
    start, end = xy[:, _STARTS], xy[:, _ENDS]
    along = end - start
    along /= np.maximum(np.linalg.norm(along, axis=-1, keepdims=True), 1e-6)
    normal = np.stack([along[..., 1], -along[..., 0]], -1)
    middle = normal[:, 0::2] + normal[:, 1::2]
    middle /= np.maximum(np.linalg.norm(middle, axis=-1, keepdims=True), 0.3)
    first, last = normal.copy(), normal.copy()
    last[:, 0::2] = middle
    first[:, 1::2] = middle
    radius = _RADII[None] * (px * (0.35 + 0.65 * build))[:, None, None]
    # normals point to the picture's right, where the shade is
    flip = np.sign(normal[..., :1] + 1e-9)
    a, b = first * flip * radius[..., :1], last * flip * radius[..., 1:]
    cap = along * radius[..., :1] * 0.5
    whole = np.stack([start - cap + a, end + b, end - b, start - cap - a], -2)
    dark = np.stack([start + a, end + b, end + 0.2 * b, start + 0.2 * a], -2)
    light = np.stack([start - 0.5 * a, end - 0.5 * b, end - b, start - a], -2)
    return np.stack([whole, dark, light], 2)


def _feet(xy: F64, px: F64) -> F64:
    """(N, 2, 6, 2): the shoes' outlines, left and right."""
    sides = np.array([gait.LEFT, gait.RIGHT])
    heel, toe = xy[:, sides + gait.HEEL], xy[:, sides + gait.TOE]
    along = toe - heel
    along /= np.maximum(np.linalg.norm(along, axis=-1, keepdims=True), 0.02 * px[:, None, None])
    normal = np.stack([along[..., 1], -along[..., 0]], -1)
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-6)
    wide, narrow = 0.03 * px[:, None, None], 0.02 * px[:, None, None]
    return np.stack(
        [
            heel + normal * wide,
            toe + normal * narrow,
            toe + along * narrow,
            toe - normal * narrow,
            heel - normal * wide * 0.7,
            heel - along * narrow,
        ],
        -2,
    )


class _Figure:
    """One person's shapes, as seen from where the camera stands."""

    def __init__(
        self, camera: Camera, person: Person, xy: F64, px: float, towards: float, across: float, tubes: F64, feet: F64
    ) -> None:
        self.camera, self.person, self.xy, self.px = camera, person, xy, px
        self.towards, self.across = towards, across
        self.tubes, self.feet = camera.canvas(tubes), camera.canvas(feet)
        self.out: list[tuple[int, I32, Colour]] = []
        spine = xy[gait.NECK] - xy[gait.PELVIS]
        self.spine = spine
        length = max(float(np.hypot(*spine)), 1e-6)
        self.side = np.array([-spine[1], spine[0]]) / length
        self.wide, self.thick = abs(towards), (1.0 - towards * towards) ** 0.5 if abs(towards) < 1 else 0.0

    def shapes(self, light: F64) -> list[Shape]:
        person = self.person
        # walking to the picture's right, the left side is the far one
        far, near = (0, 1) if self.across > 0 else (1, 0)
        bag_behind = self.towards > -0.15
        if person.bag == "backpack" and bag_behind:
            self._backpack()
        self._arm(far, 0.8)
        if person.hair == "long" and self.towards > -0.3:
            self._long_hair()
        self._leg(far, 0.82)
        if person.top != "dress":
            self._rows(_PELVIS, person.legs_colour)
        self._leg(near, 1.0)
        self._trunk()
        self._head()
        if person.bag == "backpack" and not bag_behind:
            self._backpack()
        if person.hair == "long" and self.towards <= -0.3:
            self._long_hair()
        self._arm(near, 1.0)
        if person.bag == "handbag":
            self._handbag(near)
        elif person.bag == "shopping":
            self._shopping(near)
        colours = np.array([colour for _, _, colour in self.out], np.float64) * light
        tinted = np.minimum(colours, 255).astype(np.int64).tolist()
        return [(kind, points, tuple(colour)) for (kind, points, _), colour in zip(self.out, tinted, strict=True)]

    def _add(self, kind: int, points: npt.NDArray[Any], colour: Colour) -> None:
        self.out.append((kind, self.camera.canvas(points), colour))

    def _tube(self, index: int, colour: Colour, factor: float) -> None:
        whole, dark, light = self.tubes[index]
        self.out.append((CONVEX, whole, tint(colour, factor)))
        self.out.append((CONVEX, dark, tint(colour, factor * _DARK)))
        self.out.append((CONVEX, light, tint(colour, factor * _LIGHT)))

    def _leg(self, side: int, factor: float) -> None:
        person = self.person
        thigh = person.skin_colour if person.legs == "bare" else person.legs_colour
        shin = person.legs_colour if person.legs == "trousers" else person.skin_colour
        self.out.append((CONVEX, self.feet[side], tint(person.shoe_colour, factor)))
        self._tube(side * 4 + _SHIN, shin, factor)
        self._tube(side * 4 + _THIGH, thigh, factor)

    def _arm(self, side: int, factor: float) -> None:
        person = self.person
        sleeve = person.top_colour
        bare = person.top in ("shirt", "dress")
        base = gait.LEFT if side == 0 else gait.RIGHT
        self._blob(self.xy[base + gait.WRIST], 0.026, 0.03, tint(person.skin_colour, factor))
        self._tube(side * 4 + _FOREARM, person.skin_colour if bare else sleeve, factor * 0.96)
        self._tube(side * 4 + _UPPER_ARM, sleeve, factor)

    def _blob(self, centre: F64, rx: float, ry: float, colour: Colour) -> None:
        self._add(CONVEX, centre + _CIRCLE * (rx * self.px, ry * self.px), colour)

    def _half_width(self, rows: F64) -> F64:
        build = self.person.build
        return np.hypot(rows[:, 1] * self.wide, rows[:, 2] * self.thick) * self.px * build

    def _rows(self, rows: F64, colour: Colour) -> None:
        """A stack of ellipses along the spine, with its flanks."""
        half = self._half_width(rows)[:, None] * self.side
        centre = self.xy[gait.PELVIS] + rows[:, :1] * self.spine
        right, left = centre + half, centre - half
        self._add(OUTLINE, np.concatenate([left, right[::-1]]), colour)
        self._add(OUTLINE, np.concatenate([centre + half * 0.35, right[::-1]]), tint(colour, _DARK))
        self._add(OUTLINE, np.concatenate([left, (centre - half * 0.62)[::-1]]), tint(colour, _LIGHT))

    def _trunk(self) -> None:
        person = self.person
        rows = {"coat": _COAT, "dress": _DRESS}.get(person.top, _TRUNK)
        self._rows(rows, person.top_colour)
        half = self._half_width(rows)[:, None] * self.side
        centre = self.xy[gait.PELVIS] + rows[:, :1] * self.spine
        shift = half * (self.across * 0.8 if self.towards > 0 else 0.0)
        if person.stripes:
            for row in range(2, len(rows) - 1):
                edge = 0.55 * centre[row] + 0.45 * centre[row + 1]
                self._add(
                    CONVEX,
                    np.stack([centre[row] - half[row], centre[row] + half[row], edge + half[row], edge - half[row]]),
                    person.under_colour,
                )
        if self.towards > 0.15 and person.open_front:
            middle = centre + shift
            self._add(
                OUTLINE,
                np.concatenate([(middle - half * 0.2)[1:-1], (middle + half * 0.16)[1:-1][::-1]]),
                person.under_colour,
            )
        # folds of the cloth at the waist and under the arm
        fold = tint(person.top_colour, 0.78)
        self._add(
            CONVEX, np.stack([centre[3] - half[3] * 0.6, centre[4] + half[4] * 0.5, centre[4] + half[4] * 0.2]), fold
        )
        if person.top in ("shirt", "jacket"):
            hem = centre[-1] + self.spine * 0.03
            self._add(
                CONVEX, np.stack([hem - half[-1], hem + half[-1], centre[-1] + half[-1], centre[-1] - half[-1]]), fold
            )

    def _head(self) -> None:
        person, head = self.person, self.xy[gait.HEAD]
        skin = person.skin_colour
        neck = self.xy[gait.NECK]
        half = self.side * 0.03 * self.px
        self._add(CONVEX, np.stack([neck - half, neck + half, head + half, head - half]), tint(skin, 0.74))
        hair = skin if person.hair == "bald" else person.hair_colour
        turn = self.across * 0.018 * self.px
        rx, ry = 0.046 + 0.008 * self.thick, 0.066
        lift = np.array([-turn * 0.5, -0.008 * self.px])
        if person.hair == "hood":
            rx, ry = rx + 0.008, ry + 0.006
        self._blob(head + lift, rx + 0.004, ry, hair)
        self._blob(head + lift + (rx * 0.45 * self.px, 0.0), rx * 0.55, ry * 0.86, tint(hair, 0.72))
        if self.towards < -0.35:
            self._blob(head + (0.0, 0.045 * self.px), rx * 0.72, 0.022, tint(skin, 0.8))
            return
        show = min(1.0, 0.62 + 0.5 * max(self.towards, 0.0))
        face = head + (turn, 0.012 * self.px)
        self._blob(face, rx * show * 0.92, 0.055, skin)
        self._blob(face + (rx * show * 0.42 * self.px, 0.004 * self.px), rx * show * 0.5, 0.047, tint(skin, 0.8))
        eyes = face + (turn * 0.35, -0.008 * self.px)
        wide = np.array([rx * show * 0.62 * self.px, 0.0])
        high = np.array([0.0, 0.0055 * self.px])
        self._add(
            CONVEX,
            np.stack([eyes - wide - high, eyes + wide - high, eyes + wide + high, eyes - wide + high]),
            tint(skin, 0.68),
        )
        mouth = face + (turn * 0.35, 0.03 * self.px)
        self._add(
            CONVEX,
            np.stack([mouth - wide * 0.5, mouth + wide * 0.5, mouth + wide * 0.4 + high, mouth - wide * 0.4 + high]),
            tint(skin, 0.62),
        )
        # the fringe, or the cap's peak
        brow = head + (turn * 0.6, -0.036 * self.px)
        self._blob(brow, rx * 0.95, 0.026, hair)
        if person.hair == "cap":
            self._blob(brow + (turn * 1.5, 0.012 * self.px), rx * 0.9, 0.011, tint(hair, 0.6))

    def _long_hair(self) -> None:
        head = self.xy[gait.HEAD] + (-self.across * 0.028 * self.px, 0.0)
        wide = np.array([(0.05 + 0.006 * self.thick) * self.px, 0.0])
        down = np.array([0.0, 0.1 * self.px])
        self._add(
            CONVEX,
            np.stack(
                [
                    head - wide - down * 0.3,
                    head + wide - down * 0.3,
                    head + wide * 0.85 + down,
                    head - wide * 0.85 + down,
                ]
            ),
            tint(self.person.hair_colour, 0.85),
        )

    def _backpack(self) -> None:
        centre = self.xy[gait.BACK]
        half = self.side * float(np.hypot(0.095 * self.wide, 0.055 * self.thick)) * self.px
        up = self.spine * 0.38
        colour = self.person.bag_colour
        corners = [
            centre - half * 0.7 + up,
            centre + half * 0.7 + up,
            centre + half + up * 0.5,
            centre + half - up * 0.9,
            centre - half - up * 0.9,
            centre - half + up * 0.5,
        ]
        self._add(CONVEX, np.stack(corners), colour)
        self._add(
            CONVEX, np.stack([corners[1], corners[2], corners[3], centre + half * 0.35 - up * 0.9]), tint(colour, 0.7)
        )
        pocket = [
            centre - half * 0.7,
            centre + half * 0.7,
            centre + half * 0.7 - up * 0.75,
            centre - half * 0.7 - up * 0.75,
        ]
        self._add(CONVEX, np.stack(pocket), tint(colour, 0.84))

    def _handbag(self, side: int) -> None:
        base = gait.LEFT if side == 0 else gait.RIGHT
        hip, shoulder = self.xy[base + gait.HIP], self.xy[base + gait.SHOULDER]
        out = (shoulder - self.xy[gait.NECK]) * (1.0, 0.0)
        centre = hip + out * 0.75 + (0.0, -0.005 * self.px)
        colour = self.person.bag_colour
        strap = np.array([0.006 * self.px, 0.0])
        self._add(
            CONVEX, np.stack([shoulder - strap, shoulder + strap, centre + strap, centre - strap]), tint(colour, 0.75)
        )
        half = np.array([0.062 * self.px * (0.45 + 0.55 * self.thick), 0.0])
        tall = np.array([0.0, 0.05 * self.px])
        self._add(
            CONVEX,
            np.stack(
                [centre - half * 0.85, centre + half * 0.85, centre + half + tall * 1.6, centre - half + tall * 1.6]
            ),
            colour,
        )
        self._add(
            CONVEX,
            np.stack(
                [
                    centre - half * 0.85,
                    centre + half * 0.85,
                    centre + half * 0.9 + tall * 0.6,
                    centre - half * 0.9 + tall * 0.6,
                ]
            ),
            tint(colour, 0.8),
        )

    def _shopping(self, side: int) -> None:
        wrist = self.xy[(gait.LEFT if side == 0 else gait.RIGHT) + gait.WRIST]
        colour = self.person.bag_colour
        half = np.array([0.065 * self.px * (0.4 + 0.6 * self.thick), 0.0])
        drop = np.array([0.0, 0.17 * self.px])
        top = wrist + drop * 0.25
        self._add(
            CONVEX,
            np.stack([wrist - half * 0.15, wrist + half * 0.15, top + half * 0.6, top - half * 0.6]),
            tint(colour, 0.6),
        )
        self._add(
            CONVEX, np.stack([top - half, top + half, top + half * 0.95 + drop, top - half * 0.95 + drop]), colour
        )
        self._add(
            CONVEX,
            np.stack([top + half * 0.4, top + half, top + half * 0.95 + drop, top + half * 0.4 + drop]),
            tint(colour, 0.72),
        )
