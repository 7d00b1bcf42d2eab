"""How a box moves: a Kalman filter of constant velocity whose step is media time.

In:  a box's corners (x1, y1, x2, y2) in source pixels when it is seen; the seconds that have passed at every step.
Out: the box as it probably is now, and how far off its centre may be.
Called from `stages/track/ticks.py`. Corners and not centre and size: a person who is cut by the picture's edge has
one edge that stands still while the others move.

The four coordinates share their noise, so one 2x2 covariance (three numbers) serves all of them. Plain floats are
several times faster here than NumPy calls on arrays of four. The noise of the motion is that of a randomly changing
acceleration, integrated over the step (Bar-Shalom, Estimation with Applications, 6.2.2): a step of 0.2 s is the same as
two of 0.1 s, so the result does not depend on how many frames were dropped in between.
"""

from __future__ import annotations

import math

Corners = tuple[float, float, float, float]

# All in units of the box's size, the mean of its width and height. Fitted to synthetic walkers at 2 to 25 frames a
# second and checked on real clips: smooth motion keeps crossing walkers apart better than motion that follows jitter.
# People walk 1.2 and run 4 sizes a second, cars pass at 3.
_SEEN_SD = 0.08
_SPEED_SD = 1.3
_ACCELERATION_SD = 0.4
# How long a box goes on growing or shrinking unseen: a stride's width must not shrink it to nothing in a second.
_GROWTH_S = 0.3
_SMALLEST_SIZE_PX = 4.0


def box_size_px(box: Corners) -> float:
    """The mean of width and height, at least 4 px so that noise never vanishes with a degenerate box."""
    return max(((box[2] - box[0]) + (box[3] - box[1])) / 2.0, _SMALLEST_SIZE_PX)


class BoxFilter:
    """One box's motion; not moving, as far as is known, when it is first seen."""

    __slots__ = ("_cross_var", "_position", "_position_var", "_speed", "_speed_var")

    def __init__(self, box: Corners) -> None:
        size = box_size_px(box)
        self._position = box
        self._speed: Corners = (0.0, 0.0, 0.0, 0.0)
        self._position_var = (_SEEN_SD * size) ** 2
        self._cross_var = 0.0
        self._speed_var = (_SPEED_SD * size) ** 2

    def predict(self, step_s: float) -> None:
        """Move on by `step_s` seconds of media time, 0 or more."""
        dt = step_s
        x, v = self._position, self._speed
        kept = math.exp(-dt / _GROWTH_S)
        across, down = dt * (v[0] + v[2]) / 2.0, dt * (v[1] + v[3]) / 2.0
        wider, taller = (v[2] - v[0]) / 2.0, (v[3] - v[1]) / 2.0
        growth_s = _GROWTH_S * (1.0 - kept)
        self._position = (
            x[0] + across - growth_s * wider,
            x[1] + down - growth_s * taller,
            x[2] + across + growth_s * wider,
            x[3] + down + growth_s * taller,
        )
        lost_wider, lost_taller = (1.0 - kept) * wider, (1.0 - kept) * taller
        self._speed = (v[0] + lost_wider, v[1] + lost_taller, v[2] - lost_wider, v[3] - lost_taller)
        noise = (_ACCELERATION_SD * box_size_px(self.box)) ** 2
        self._position_var += dt * (2.0 * self._cross_var + dt * self._speed_var) + noise * dt**3 / 3.0
        self._cross_var += dt * self._speed_var + noise * dt**2 / 2.0
        self._speed_var += noise * dt

    def see(self, box: Corners) -> None:
        """Take a detection's corners."""
        noise = (_SEEN_SD * box_size_px(box)) ** 2
        total = self._position_var + noise
        gain, speed_gain = self._position_var / total, self._cross_var / total
        x, v = self._position, self._speed
        error = (box[0] - x[0], box[1] - x[1], box[2] - x[2], box[3] - x[3])
        self._position = (
            x[0] + gain * error[0],
            x[1] + gain * error[1],
            x[2] + gain * error[2],
            x[3] + gain * error[3],
        )
        self._speed = (
            v[0] + speed_gain * error[0],
            v[1] + speed_gain * error[1],
            v[2] + speed_gain * error[2],
            v[3] + speed_gain * error[3],
        )
        self._speed_var -= speed_gain * self._cross_var
        self._cross_var *= 1.0 - gain
        self._position_var *= 1.0 - gain

    def rescale(self, x_factor: float, y_factor: float) -> None:
        """The picture has changed its size: the same box in the new pixels."""
        x, v = self._position, self._speed
        self._position = (x[0] * x_factor, x[1] * y_factor, x[2] * x_factor, x[3] * y_factor)
        self._speed = (v[0] * x_factor, v[1] * y_factor, v[2] * x_factor, v[3] * y_factor)
        square = x_factor * y_factor
        self._position_var *= square
        self._cross_var *= square
        self._speed_var *= square

    @property
    def box(self) -> Corners:
        """The box now; edges that have moved through each other lie together in their middle."""
        x1, y1, x2, y2 = self._position
        if x2 < x1:
            x1 = x2 = (x1 + x2) / 2.0
        if y2 < y1:
            y1 = y2 = (y1 + y2) / 2.0
        return (x1, y1, x2, y2)

    @property
    def reach_px(self) -> float:
        """The standard deviation of where the box's next detection will be, in pixels."""
        return float((self._position_var + (_SEEN_SD * box_size_px(self.box)) ** 2) ** 0.5)
