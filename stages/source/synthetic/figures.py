"""People: from skeletons to shapes, all of them at once.

Limbs are tapered tubes seen from the side, the trunk a stack of ellipses whose width follows from the angle of view;
each is drawn in a middle tone with a dark and a light flank, as light from one side makes them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from stages.source.synthetic import gait
from stages.source.synthetic.camera import F64, I32, Camera, Colour, tint
from stages.source.synthetic.shapes import OUTLINE, Shape
from stages.source.synthetic.sheet import Sheet
from stages.source.synthetic.wardrobe import Person

_DARK, _LIGHT = 0.66, 1.16
# canvas pixels of height below which what is finer than a pixel is left out
_FINE_PX = 110.0

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

_Rows = tuple[tuple[float, float, float], ...]

# how far up the spine (0 pelvis, 1 base of the neck), half width across and half depth, in heights
_TRUNK: _Rows = (
    (1.06, 0.036, 0.04),
    (1.0, 0.075, 0.05),
    (0.93, 0.122, 0.06),
    (0.72, 0.112, 0.07),
    (0.42, 0.094, 0.064),
    (0.1, 0.099, 0.068),
    (-0.06, 0.098, 0.068),
)
_COAT: _Rows = (*_TRUNK[:6], (-0.3, 0.108, 0.078), (-0.72, 0.118, 0.09))
_DRESS: _Rows = (*_TRUNK[:5], (0.1, 0.102, 0.074), (-0.35, 0.125, 0.1), (-0.68, 0.14, 0.115))
_PELVIS: _Rows = ((0.3, 0.094, 0.064), (0.1, 0.1, 0.07), (-0.08, 0.1, 0.07), (-0.24, 0.07, 0.06))


def draw_people(camera: Camera, people: Sequence[Person], joints: F64, heading: F64, light: F64) -> list[list[Shape]]:
    """The shapes of each of N people, far parts first.

    `joints` (N, JOINTS, 3) world metres; `heading` (N,) radians; `light` (N, 3) by channel.
    """
    if not people:
        return []
    xy, depth = camera.project(joints)
    height = np.array([person.height_m for person in people])
    build = np.array([person.build for person in people])
    px = camera.focal_px / depth[:, gait.PELVIS] * height
    sight = joints[:, gait.PELVIS] - camera.position
    sight /= np.hypot(sight[:, 0], sight[:, 2])[:, None]
    cos, sin = np.cos(heading), np.sin(heading)
    towards = -(cos * sight[:, 0] + sin * sight[:, 2])
    across = cos * sight[:, 2] - sin * sight[:, 0]
    tubes, feet = camera.canvas(_tubes(xy, px, build)), camera.canvas(_feet(xy, px))
    sheet = Sheet()
    views = zip(people, xy.tolist(), px.tolist(), towards.tolist(), across.tolist(), light.tolist(), strict=True)
    for i, (person, points, size, facing, going, shine) in enumerate(views):
        sheet.begin(shine)
        _Figure(sheet, person, points, size, facing, going, tubes[i], feet[i], camera.canvas_scale).draw()
    return sheet.finish(camera)


def _tubes(xy: F64, px: F64, build: F64) -> F64:
    """(N, 8, 3, 4, 2): for each tube the whole, its dark and its light flank."""
    start, end = xy[:, _STARTS], xy[:, _ENDS]
    along = end - start
    along /= np.maximum(np.hypot(along[..., 0], along[..., 1]), 1e-6)[..., None]
    normal = np.stack([along[..., 1], -along[..., 0]], -1)
    middle = normal[:, 0::2] + normal[:, 1::2]
    middle /= np.maximum(np.hypot(middle[..., 0], middle[..., 1]), 0.3)[..., None]
    first, last = normal.copy(), normal.copy()
    last[:, 0::2] = middle
    first[:, 1::2] = middle
    radius = _RADII[None] * (px * (0.35 + 0.65 * build))[:, None, None]
    # normals point to the picture's right, where the shade is
    flip = np.sign(normal[..., :1] + 1e-9)
    a, b = first * flip * radius[..., :1], last * flip * radius[..., 1:]
    cap = along * radius[..., :1] * 0.5
    out = np.empty((*start.shape[:2], 3, 4, 2))
    for i, (one, other, begin) in enumerate(((1.0, -1.0, start - cap), (1.0, 0.2, start), (-0.5, -1.0, start))):
        out[:, :, i, 0] = begin + one * a
        out[:, :, i, 1] = end + one * b
        out[:, :, i, 2] = end + other * b
        out[:, :, i, 3] = begin + other * a
    return out


def _feet(xy: F64, px: F64) -> F64:
    """(N, 2, 6, 2): the shoes' outlines, left and right."""
    sides = np.array([gait.LEFT, gait.RIGHT])
    heel, toe = xy[:, sides + gait.HEEL], xy[:, sides + gait.TOE]
    along = toe - heel
    unit = px[:, None, None]
    along /= np.maximum(np.hypot(along[..., 0], along[..., 1])[..., None], 0.02 * unit)
    normal = np.stack([along[..., 1], -along[..., 0]], -1)
    normal /= np.maximum(np.hypot(normal[..., 0], normal[..., 1]), 1e-6)[..., None]
    wide, narrow = normal * (0.03 * unit), 0.02 * unit
    out = np.empty((*heel.shape[:2], 6, 2))
    out[:, :, 0] = heel + wide
    out[:, :, 1] = toe + normal * narrow
    out[:, :, 2] = toe + along * narrow
    out[:, :, 3] = toe - normal * narrow
    out[:, :, 4] = heel - wide * 0.7
    out[:, :, 5] = heel - along * narrow
    return out


class _Figure:
    """One person as seen from where the camera stands; `px` is the person's height in pixels at the pelvis."""

    def __init__(
        self,
        sheet: Sheet,
        person: Person,
        xy: list[list[float]],
        px: float,
        towards: float,
        across: float,
        tubes: I32,
        feet: I32,
        detail: int,
    ) -> None:
        self.sheet, self.person, self.xy, self.px = sheet, person, xy, px
        self.towards, self.across = towards, across
        self.tubes, self.feet = tubes, feet
        self.fine = px * detail > _FINE_PX
        (nx, ny), (px0, py0) = xy[gait.NECK], xy[gait.PELVIS]
        self.spine_x, self.spine_y = nx - px0, ny - py0
        length = max(math.hypot(self.spine_x, self.spine_y), 1e-6)
        self.side_x, self.side_y = -self.spine_y / length, self.spine_x / length
        self.wide, self.thick = abs(towards), math.sqrt(max(0.0, 1.0 - towards * towards))

    def draw(self) -> None:
        person = self.person
        # walking to the picture's right, the left side is the far one
        far, near = (0, 1) if self.across > 0 else (1, 0)
        backpack = person.bag == "backpack"
        if backpack and self.towards > -0.15:
            self._backpack()
        self._arm(far, 0.8)
        if person.hair == "long" and self.towards > -0.3:
            self._long_hair()
        self._leg(far, 0.82)
        if person.top != "dress":
            self._stack(_PELVIS, person.legs_colour)
        self._leg(near, 1.0)
        self._trunk()
        self._head()
        if backpack and self.towards <= -0.15:
            self._backpack()
        if person.hair == "long" and self.towards <= -0.3:
            self._long_hair()
        self._arm(near, 1.0)
        if person.bag == "handbag":
            self._handbag(near)
        elif person.bag == "shopping":
            self._shopping(near)

    def _tube(self, index: int, colour: Colour, factor: float) -> None:
        tube = self.tubes[index]
        self.sheet.ready(tint(colour, factor), tube[0])
        self.sheet.ready(tint(colour, factor * _DARK), tube[1])
        if self.fine:
            self.sheet.ready(tint(colour, factor * _LIGHT), tube[2])

    def _leg(self, side: int, factor: float) -> None:
        person = self.person
        thigh = person.skin_colour if person.legs == "bare" else person.legs_colour
        shin = person.legs_colour if person.legs == "trousers" else person.skin_colour
        self.sheet.ready(tint(person.shoe_colour, factor), self.feet[side])
        self._tube(side * 4 + _SHIN, shin, factor)
        self._tube(side * 4 + _THIGH, thigh, factor)

    def _arm(self, side: int, factor: float) -> None:
        person = self.person
        bare = person.top in ("shirt", "dress")
        x, y = self.xy[(gait.LEFT if side == 0 else gait.RIGHT) + gait.WRIST]
        self.sheet.blob(tint(person.skin_colour, factor), x, y, 0.026 * self.px, 0.03 * self.px)
        self._tube(side * 4 + _FOREARM, person.skin_colour if bare else person.top_colour, factor * 0.96)
        self._tube(side * 4 + _UPPER_ARM, person.top_colour, factor)

    def _stack(self, rows: _Rows, colour: Colour) -> list[tuple[float, float, float, float]]:
        """A stack of ellipses along the spine, with its flanks; returns each one's middle and half width."""
        px0, py0 = self.xy[gait.PELVIS]
        size = self.px * self.person.build
        half = []
        for up, across, deep in rows:
            width = math.hypot(across * self.wide, deep * self.thick) * size
            half.append((px0 + up * self.spine_x, py0 + up * self.spine_y, self.side_x * width, self.side_y * width))
        flanks = ((-1.0, 1.0, 1.0), (0.35, 1.0, _DARK), (-1.0, -0.62, _LIGHT))
        for start, end, factor in flanks if self.fine else flanks[:2]:
            points: list[float] = []
            for x, y, dx, dy in half:
                points += (x + start * dx, y + start * dy)
            for x, y, dx, dy in reversed(half):
                points += (x + end * dx, y + end * dy)
            self.sheet.outline(tint(colour, factor), points, OUTLINE)
        return half

    def _trunk(self) -> None:
        person, sheet = self.person, self.sheet
        rows = {"coat": _COAT, "dress": _DRESS}.get(person.top, _TRUNK)
        half = self._stack(rows, person.top_colour)
        if person.stripes:
            for (x, y, dx, dy), (x2, y2, *_) in itertools.pairwise(half[2:]):
                mx, my = 0.55 * x + 0.45 * x2, 0.55 * y + 0.45 * y2
                sheet.polygon(
                    person.under_colour, (x - dx, y - dy), (x + dx, y + dy), (mx + dx, my + dy), (mx - dx, my - dy)
                )
        if self.towards > 0.15 and person.open_front:
            shift = self.across * 0.8
            points: list[float] = []
            for x, y, dx, dy in half[1:-1]:
                points += (x + (shift - 0.2) * dx, y + (shift - 0.2) * dy)
            for x, y, dx, dy in reversed(half[1:-1]):
                points += (x + (shift + 0.16) * dx, y + (shift + 0.16) * dy)
            sheet.outline(person.under_colour, points, OUTLINE)
        if not self.fine:
            return
        # folds of the cloth: under the arm, and the hem
        fold = tint(person.top_colour, 0.78)
        (ax, ay, adx, ady), (bx, by, bdx, bdy) = half[3], half[4]
        sheet.polygon(
            fold,
            (ax - 0.6 * adx, ay - 0.6 * ady),
            (bx + 0.5 * bdx, by + 0.5 * bdy),
            (bx + 0.2 * bdx, by + 0.2 * bdy),
        )
        if person.top in ("shirt", "jacket"):
            x, y, dx, dy = half[-1]
            hx, hy = x + 0.03 * self.spine_x, y + 0.03 * self.spine_y
            sheet.polygon(fold, (hx - dx, hy - dy), (hx + dx, hy + dy), (x + dx, y + dy), (x - dx, y - dy))

    def _head(self) -> None:
        person, sheet, px = self.person, self.sheet, self.px
        (x, y), (nx, ny) = self.xy[gait.HEAD], self.xy[gait.NECK]
        skin = person.skin_colour
        dx, dy = self.side_x * 0.03 * px, self.side_y * 0.03 * px
        sheet.polygon(tint(skin, 0.74), (nx - dx, ny - dy), (nx + dx, ny + dy), (x + dx, y + dy), (x - dx, y - dy))
        hair = skin if person.hair == "bald" else person.hair_colour
        turn = self.across * 0.018 * px
        grow = 0.008 if person.hair == "hood" else 0.0
        rx, ry = (0.046 + 0.008 * self.thick + grow) * px, (0.066 + 0.75 * grow) * px
        hx, hy = x - turn * 0.5, y - 0.008 * px
        sheet.blob(hair, hx, hy, rx + 0.004 * px, ry)
        sheet.blob(tint(hair, 0.72), hx + rx * 0.45, hy, rx * 0.55, ry * 0.86)
        if self.towards < -0.35:
            sheet.blob(tint(skin, 0.8), x, y + 0.045 * px, rx * 0.72, 0.022 * px)
            return
        show = min(1.0, 0.62 + 0.5 * max(self.towards, 0.0)) * rx
        fx, fy = x + turn, y + 0.012 * px
        sheet.blob(skin, fx, fy, show * 0.92, 0.055 * px)
        sheet.blob(tint(skin, 0.8), fx + show * 0.42, fy + 0.004 * px, show * 0.5, 0.047 * px)
        # the fringe, or the cap's peak
        bx, by = x + turn * 0.6, y - 0.036 * px
        sheet.blob(hair, bx, by, rx * 0.95, 0.026 * px)
        if person.hair == "cap":
            sheet.blob(tint(hair, 0.6), bx + turn * 1.5, by + 0.012 * px, rx * 0.9, 0.011 * px)
        if not self.fine:
            return
        ex, wide, high = fx + turn * 0.35, show * 0.52, 0.0055 * px
        for up, width, factor in ((-0.008 * px, wide, 0.68), (0.03 * px, wide * 0.5, 0.62)):
            sheet.polygon(
                tint(skin, factor),
                (ex - width, fy + up - high),
                (ex + width, fy + up - high),
                (ex + width * 0.9, fy + up + high),
                (ex - width * 0.9, fy + up + high),
            )

    def _long_hair(self) -> None:
        x, y = self.xy[gait.HEAD]
        x -= self.across * 0.028 * self.px
        wide, down = (0.05 + 0.006 * self.thick) * self.px, 0.1 * self.px
        self.sheet.polygon(
            tint(self.person.hair_colour, 0.85),
            (x - wide, y - 0.3 * down),
            (x + wide, y - 0.3 * down),
            (x + 0.85 * wide, y + down),
            (x - 0.85 * wide, y + down),
        )

    def _backpack(self) -> None:
        x, y = self.xy[gait.BACK]
        width = math.hypot(0.095 * self.wide, 0.055 * self.thick) * self.px
        dx, dy = self.side_x * width, self.side_y * width
        ux, uy = self.spine_x * 0.38, self.spine_y * 0.38
        colour = self.person.bag_colour

        def at(side: float, up: float) -> tuple[float, float]:
            return (x + side * dx + up * ux, y + side * dy + up * uy)

        self.sheet.polygon(colour, at(-0.7, 1), at(0.7, 1), at(1, 0.5), at(1, -0.9), at(-1, -0.9), at(-1, 0.5))
        self.sheet.polygon(tint(colour, 0.7), at(0.7, 1), at(1, 0.5), at(1, -0.9), at(0.35, -0.9))
        self.sheet.polygon(tint(colour, 0.84), at(-0.7, 0), at(0.7, 0), at(0.7, -0.75), at(-0.7, -0.75))

    def _handbag(self, side: int) -> None:
        base = gait.LEFT if side == 0 else gait.RIGHT
        (hip_x, hip_y), (sx, sy) = self.xy[base + gait.HIP], self.xy[base + gait.SHOULDER]
        x, y = hip_x + (sx - self.xy[gait.NECK][0]) * 0.75, hip_y - 0.005 * self.px
        colour = self.person.bag_colour
        strap, half, tall = 0.006 * self.px, 0.062 * self.px * (0.45 + 0.55 * self.thick), 0.05 * self.px
        self.sheet.polygon(tint(colour, 0.75), (sx - strap, sy), (sx + strap, sy), (x + strap, y), (x - strap, y))
        top = ((x - 0.85 * half, y), (x + 0.85 * half, y))
        self.sheet.polygon(colour, *top, (x + half, y + 1.6 * tall), (x - half, y + 1.6 * tall))
        flap = tint(colour, 0.8)
        self.sheet.polygon(flap, *top, (x + 0.9 * half, y + 0.6 * tall), (x - 0.9 * half, y + 0.6 * tall))

    def _shopping(self, side: int) -> None:
        x, y = self.xy[(gait.LEFT if side == 0 else gait.RIGHT) + gait.WRIST]
        colour = self.person.bag_colour
        half, drop = 0.065 * self.px * (0.4 + 0.6 * self.thick), 0.17 * self.px
        low, end = y + 0.25 * drop, y + 1.25 * drop
        handle = ((x - 0.15 * half, y), (x + 0.15 * half, y), (x + 0.6 * half, low), (x - 0.6 * half, low))
        self.sheet.polygon(tint(colour, 0.6), *handle)
        right, bottom = (x + half, low), (x + 0.95 * half, end)
        self.sheet.polygon(colour, (x - half, low), right, bottom, (x - 0.95 * half, end))
        self.sheet.polygon(tint(colour, 0.72), (x + 0.4 * half, low), right, bottom, (x + 0.4 * half, end))
