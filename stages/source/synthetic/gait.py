"""How a body moves: joints of walkers and riders, all of them at once.

A skeleton is an array (people, JOINTS, 3) of world points in metres. The walk follows the sagittal joint angles of
ordinary gait (Winter, Biomechanics and Motor Control of Human Movement): hip by its first harmonic, knee by its two
flexion waves; the pelvis stands as high as the lower foot allows, so that one foot is always on the ground.
"""

from __future__ import annotations

import numpy as np

from stages.source.synthetic.camera import F64

(PELVIS, NECK, HEAD, CROWN) = range(4)
# left side, then right: hip, knee, ankle, heel, toe, shoulder, elbow, wrist
LEFT, RIGHT, SIDE = 4, 12, 8
(HIP, KNEE, ANKLE, HEEL, TOE, SHOULDER, ELBOW, WRIST) = range(8)
BACK, BELT = 20, 21
JOINTS = 22

_TURN = 2 * np.pi


def _bump(phase: F64, centre: float, width: float) -> F64:
    """A smooth wave of height 1 around `centre` of the cycle."""
    away = (phase - centre + 0.5) % 1.0 - 0.5
    return np.exp(-((away / width) ** 2))


def _leg(points: F64, side: int, phase: F64, amount: F64, height: F64, lateral: F64) -> F64:
    """Fill one leg, with the hip at height 0; returns how far its lowest point lies below the hip."""
    hip = np.radians(amount * (5.0 + 25.0 * np.cos(_TURN * phase)))
    flex = np.radians(4.0 + amount * (14.0 * _bump(phase, 0.14, 0.09) + 56.0 * _bump(phase, 0.73, 0.12)))
    roll = 12.0 * _bump(phase, 0.0, 0.06) - 52.0 * _bump(phase, 0.62, 0.1) - 12.0 * _bump(phase, 0.76, 0.08)
    foot = np.radians(amount * roll)
    thigh, shin = 0.245 * height, 0.246 * height
    knee_f, knee_u = thigh * np.sin(hip), -thigh * np.cos(hip)
    ankle_f, ankle_u = knee_f + shin * np.sin(hip - flex), knee_u - shin * np.cos(hip - flex)
    cos, sin = np.cos(foot), np.sin(foot)
    for joint, forward, up in (
        (HIP, np.zeros_like(hip), np.zeros_like(hip)),
        (KNEE, knee_f, knee_u),
        (ANKLE, ankle_f, ankle_u),
        (
            HEEL,
            ankle_f - 0.03 * height * cos + 0.022 * height * sin,
            ankle_u - 0.022 * height * cos - 0.03 * height * sin,
        ),
        (
            TOE,
            ankle_f + 0.105 * height * cos + 0.022 * height * sin,
            ankle_u - 0.022 * height * cos + 0.105 * height * sin,
        ),
    ):
        points[:, side + joint, 0] = forward
        points[:, side + joint, 1] = lateral * (1.0 if joint == HIP else 0.72)
        points[:, side + joint, 2] = up
    return -np.minimum(points[:, side + HEEL, 2], points[:, side + TOE, 2]) + 0.018 * height


def _arm(points: F64, side: int, phase: F64, swing: F64, height: F64, lateral: F64, shoulder_u: F64, bend: F64) -> None:
    angle = np.radians(4.0 + swing * 24.0 * np.cos(_TURN * (phase + 0.5)))
    elbow = angle + np.radians(bend + swing * (10.0 + 10.0 * np.cos(_TURN * (phase + 0.5))))
    upper, lower = 0.172 * height, 0.155 * height
    forward = np.sin(angle) * upper
    up = shoulder_u - np.cos(angle) * upper
    points[:, side + SHOULDER] = np.stack([np.zeros_like(up), lateral, shoulder_u], -1)
    points[:, side + ELBOW] = np.stack([forward, lateral * 1.12, up], -1)
    points[:, side + WRIST] = np.stack([forward + np.sin(elbow) * lower, lateral * 1.1, up - np.cos(elbow) * lower], -1)


def walk(phase: F64, amount: F64, swing: F64, bend: F64, height: F64, build: F64) -> F64:
    """Joints (N, JOINTS, 3) of walkers as (forward, left, up) from the point on the ground below them.

    `phase` (N,): turns of the gait cycle, 0 being the left heel's strike; `amount` 1 walks, 0 stands; `swing` (N, 2):
    of the left and right arm; `bend` (N, 2): degrees by which the elbows are bent.
    """
    points = np.zeros((len(phase), JOINTS, 3))
    hip_l = 0.052 * height * build
    left, right = phase % 1.0, (phase + 0.5) % 1.0
    low = np.maximum(
        _leg(points, LEFT, left, amount, height, hip_l), _leg(points, RIGHT, right, amount, height, -hip_l)
    )
    turn = 0.018 * height * amount * np.cos(_TURN * left)
    neck_u = 0.31 * height
    for side, sign, at, which in ((LEFT, 1.0, left, 0), (RIGHT, -1.0, right, 1)):
        _arm(
            points,
            side,
            at,
            swing[:, which] * amount,
            height,
            sign * 0.108 * height * build,
            neck_u - 0.03 * height,
            bend[:, which],
        )
        points[:, side + SHOULDER : side + SIDE, 0] -= sign * turn[:, None]
    lean = 0.012 * height * amount
    points[:, NECK] = np.stack([lean, np.zeros_like(lean), neck_u], -1)
    points[:, HEAD] = np.stack([lean * 1.6 + 0.012 * height, np.zeros_like(lean), 0.4 * height], -1)
    points[:, CROWN] = np.stack([lean * 1.6, np.zeros_like(lean), 0.47 * height], -1)
    points[:, BACK] = np.stack([lean - 0.1 * height * build, np.zeros_like(lean), 0.2 * height], -1)
    points[:, BELT] = np.stack([np.zeros_like(lean), np.zeros_like(lean), 0.02 * height], -1)
    points[:, (NECK, HEAD, CROWN), 1] += (0.008 * height * amount * np.sin(_TURN * left))[:, None]
    points[..., 2] += low[:, None]
    return points


def ride(crank: F64, height: F64, build: F64, saddle: F64, bar: F64, pedal_m: float) -> F64:
    """Joints (N, JOINTS, 3) of cyclists, as (forward, left, up) from the bottom bracket's point on the ground.

    `crank` (N,): turns of the pedals; `saddle`, `bar` (3,): where the rider sits and holds, in the same frame, with
    the bottom bracket at (0, 0, 0.28).
    """
    count = len(crank)
    points = np.zeros((count, JOINTS, 3))
    pelvis = np.broadcast_to(saddle, (count, 3)) + np.array([0.0, 0.0, 0.04])
    neck = pelvis + np.stack([0.2 * height, np.zeros(count), 0.25 * height], -1)
    points[:, PELVIS] = pelvis
    points[:, NECK] = neck
    points[:, HEAD] = neck + np.stack([0.05 * height, np.zeros(count), 0.085 * height], -1)
    points[:, CROWN] = neck + np.stack([0.04 * height, np.zeros(count), 0.155 * height], -1)
    points[:, BACK] = neck + np.stack([-0.15 * height, np.zeros(count), -0.06 * height], -1)
    points[:, BELT] = pelvis + np.array([0.02, 0.0, 0.03])
    for side, sign, turn in ((LEFT, 1.0, crank), (RIGHT, -1.0, crank + 0.5)):
        foot_f = pedal_m * np.cos(_TURN * turn)
        foot_u = 0.28 - pedal_m * np.sin(_TURN * turn)
        ankle = np.stack([foot_f - 0.05, np.full(count, sign * 0.1), foot_u + 0.09], -1)
        hip = pelvis + np.stack([np.zeros(count), sign * 0.052 * height * build, np.zeros(count)], -1)
        points[:, side + HIP] = hip
        points[:, side + KNEE] = _bend(hip, ankle, 0.25 * height, 0.25 * height, 1.0)
        points[:, side + ANKLE] = ankle
        points[:, side + HEEL] = ankle + np.array([-0.05, 0.0, -0.06])
        points[:, side + TOE] = ankle + np.array([0.18, 0.0, -0.07])
        shoulder = neck + np.stack([-0.01 * height, sign * 0.108 * height * build, -0.03 * height], -1)
        wrist = np.broadcast_to(bar, (count, 3)) * np.array([1.0, sign, 1.0])
        points[:, side + SHOULDER] = shoulder
        points[:, side + ELBOW] = _bend(shoulder, wrist, 0.172 * height, 0.172 * height, -0.6)
        points[:, side + WRIST] = wrist
    return points


def _bend(start: F64, end: F64, upper: F64, lower: F64, sign: float) -> F64:
    """The middle joint of a two-part limb from `start` to `end`, bent forwards (sign > 0) or back."""
    along = end - start
    reach = np.linalg.norm(along, axis=-1)
    reach = np.minimum(reach, (upper + lower) * 0.995)
    share = (upper**2 - lower**2 + reach**2) / (2 * reach)
    out = np.sqrt(np.maximum(upper**2 - share**2, 0.0)) * sign
    unit = along / np.linalg.norm(along, axis=-1, keepdims=True)
    side = np.stack([-unit[:, 2], np.zeros(len(unit)), unit[:, 0]], -1)
    side /= np.maximum(np.linalg.norm(side, axis=-1, keepdims=True), 1e-9)
    return start + unit * share[:, None] + side * out[:, None]


def place(points: F64, base: F64, heading: F64) -> F64:
    """(forward, left, up) in metres to world points; `base` (N, 3), `heading` (N,) radians from x towards z."""
    cos, sin = np.cos(heading)[:, None], np.sin(heading)[:, None]
    world = np.empty_like(points)
    world[..., 0] = points[..., 0] * cos - points[..., 1] * sin
    world[..., 1] = points[..., 2]
    world[..., 2] = points[..., 0] * sin + points[..., 1] * cos
    return world + base[:, None, :]
