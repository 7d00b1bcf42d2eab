"""Solid bodies of flat faces: how vehicles are built and seen.

A mesh is built once when a vehicle enters, in its own frame: (forward, left, up) in metres from the point on the ground
below its middle. Faces are drawn in the order in which they were added, those turned away are left out; so what lies
further out is added later. The light on a face is fixed when it is added, since vehicles here keep their direction.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from stages.source.synthetic.camera import F64, I32, Camera, Colour, tint
from stages.source.synthetic.shapes import CONVEX, OUTLINE, Shape

Point = tuple[float, float, float]

# where the light comes from in the world, towards the sun (x, y, z): from behind the camera, on its left
SUN = np.array([-0.48, 0.74, -0.47])


class Mesh:
    """Faces of a rigid body whose forward axis points along the street, to +x (direction 1) or -x (-1)."""

    def __init__(self, direction: int) -> None:
        self.direction = direction
        self._points: list[Point] = []
        self._faces: list[tuple[int, int, Point, Point | None, Colour, int, bool]] = []
        self._frozen: tuple[F64, F64, F64, F64] | None = None
        self.wheels: list[tuple[float, float, float]] = []

    def face(
        self,
        points: Sequence[Point],
        colour: Colour,
        *,
        normal: Point | None = None,
        kind: int = CONVEX,
        lit: bool = True,
        glow: bool = False,
    ) -> None:
        """Add a face. `normal` None: seen from both sides; `lit`: shaded by the sun; `glow`: shines at night."""
        if normal is not None and lit:
            world = np.array([normal[0] * self.direction, normal[2], normal[1] * self.direction])
            strength = float(world @ SUN)
            colour = tint(colour, 0.58 + 0.5 * max(0.0, strength) + 0.12 * max(0.0, normal[2]))
        middle = tuple(sum(axis) / len(points) for axis in zip(*points, strict=True))
        self._faces.append(
            (len(self._points), len(points), (middle[0], middle[1], middle[2]), normal, colour, kind, glow)
        )
        self._points.extend(points)

    def strip(
        self,
        profile: Sequence[tuple[float, float]],
        half_widths: Sequence[float],
        colours: Sequence[Colour],
        **options: bool,
    ) -> None:
        """Extrude a line of (forward, up) points, going from the rear over the top to the front, across the body."""
        for i, colour in enumerate(colours):
            (f0, u0), (f1, u1) = profile[i], profile[i + 1]
            w0, w1 = half_widths[i], half_widths[i + 1]
            length = math.hypot(f1 - f0, u1 - u0) or 1.0
            normal = (-(u1 - u0) / length, 0.0, (f1 - f0) / length)
            self.face([(f0, w0, u0), (f0, -w0, u0), (f1, -w1, u1), (f1, w1, u1)], colour, normal=normal, **options)

    def both_sides(
        self,
        points: Iterable[tuple[float, float, float]],
        colour: Colour,
        *,
        kind: int = OUTLINE,
        lean: float = 0.0,
        lit: bool = True,
        glow: bool = False,
    ) -> None:
        """Add a face on the left and its mirror on the right; points are (forward, half width, up)."""
        listed = list(points)
        length = math.hypot(1.0, lean)
        self.face(listed, colour, normal=(0.0, 1.0 / length, lean / length), kind=kind, lit=lit, glow=glow)
        mirrored = [(f, -left, u) for f, left, u in listed]
        self.face(mirrored, colour, normal=(0.0, -1.0 / length, lean / length), kind=kind, lit=lit, glow=glow)

    def freeze(self) -> None:
        """Finish building: turn the lists into arrays."""
        points = np.array(self._points)
        centres = np.array([face[2] for face in self._faces])
        # a face without a normal always looks at the camera
        normals = np.array([face[3] or (0.0, 0.0, 0.0) for face in self._faces])
        colours = np.array([face[4] for face in self._faces], np.float64)
        self._frozen = (points, centres, normals, colours)
        self._always = np.array([face[3] is None for face in self._faces])
        self._glows = np.array([face[6] for face in self._faces])
        self._daylight = [face[4] for face in self._faces]
        self._spans = [(face[0], face[0] + face[1], face[5]) for face in self._faces]

    def world(self, points: F64, base: F64) -> F64:
        """Points of the body's frame, in the world, when the body stands at `base`."""
        out = np.empty_like(points)
        out[..., 0] = points[..., 0] * self.direction + base[0]
        out[..., 1] = points[..., 2] + base[1]
        out[..., 2] = points[..., 1] * self.direction + base[2]
        return out

    def shapes(self, camera: Camera, base: F64, light: F64, more: F64) -> tuple[list[Shape], I32]:
        """The faces turned towards the camera, in order, and `more` points (N, 3) of the body's frame on the canvas.

        `light` (3,) by channel.
        """
        assert self._frozen is not None
        points, centres, normals, colours = self._frozen
        eye = camera.position - base
        local = np.array([eye[0] * self.direction, eye[2] * self.direction, eye[1]])
        seen = self._always | (((local - centres) * normals).sum(1) > 0.0)
        canvas = camera.canvas(camera.project(self.world(np.concatenate([points, more]), base))[0])
        if bool((light == 1.0).all()):
            tinted = self._daylight
        else:
            lit = np.where(self._glows[:, None], colours, np.minimum(colours * light, 255.0)).astype(np.int64)
            tinted = [(blue, green, red) for blue, green, red in lit.tolist()]
        out: list[Shape] = []
        for i in np.flatnonzero(seen).tolist():
            start, end, kind = self._spans[i]
            out.append((kind, canvas[start:end], tinted[i]))
        return out, canvas[len(points) :]
