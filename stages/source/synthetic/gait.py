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
BACK = 20
JOINTS = 21

_TURN = 2 * np.pi


_SIGNS = np.array([1.0, -1.0])


def _bump(phase: F64, centre: float, width: float) -> F64:
    """A smooth wave of height 1 around `centre` of the cycle."""
    away = ((phase - (centre - 0.5)) % 1.0 - 0.5) / width
    wave: F64 = np.exp(-away * away)
    return wave


def _legs(points: F64, phase: F64, amount: F64, height: F64, lateral: F64) -> F64:
    """Fill both legs, with the hips at height 0; returns how far the lowest point lies below them.

    `points` (N, 2, 8, 3) left and right; `phase` (N, 2); the others (N, 1).
    """
    hip = np.radians(amount * (5.0 + 25.0 * np.cos(_TURN * phase)))
    flex = np.radians(4.0 + amount * (14.0 * _bump(phase, 0.14, 0.09) + 56.0 * _bump(phase, 0.73, 0.12)))
    roll = 12.0 * _bump(phase, 0.0, 0.06) - 52.0 * _bump(phase, 0.62, 0.1) - 12.0 * _bump(phase, 0.76, 0.08)
    foot = np.radians(amount * roll)
    thigh, shin, sole = 0.245 * height, 0.246 * height, 0.022 * height
    knee_f, knee_u = thigh * np.sin(hip), -thigh * np.cos(hip)
    ankle_f, ankle_u = knee_f + shin * np.sin(hip - flex), knee_u - shin * np.cos(hip - flex)
    cos, sin = np.cos(foot), np.sin(foot)
    points[:, :, KNEE, 0], points[:, :, KNEE, 2] = knee_f, knee_u
    points[:, :, ANKLE, 0], points[:, :, ANKLE, 2] = ankle_f, ankle_u
    for joint, along in ((HEEL, -0.03 * height), (TOE, 0.105 * height)):
        points[:, :, joint, 0] = ankle_f + along * cos + sole * sin
        points[:, :, joint, 2] = ankle_u - sole * cos + along * sin
    points[:, :, HIP, 1] = lateral * _SIGNS
    points[:, :, KNEE : TOE + 1, 1] = (0.72 * lateral * _SIGNS)[:, :, None]
    low: F64 = points[:, :, HEEL : TOE + 1, 2].min(axis=(1, 2))
    return 0.018 * height[:, 0] - low


def _arms(points: F64, phase: F64, swing: F64, height: F64, lateral: F64, bend: F64) -> None:
    """Fill both arms, hanging from shoulders 0.28 heights above the hips. Shapes as for `_legs`; bend in degrees."""
    wave = swing * np.cos(_TURN * (phase + 0.5))
    angle = np.radians(4.0 + 24.0 * wave)
    elbow = angle + np.radians(bend + swing * 10.0 + 10.0 * wave)
    upper, lower, shoulder_u = 0.172 * height, 0.155 * height, 0.28 * height
    forward, up = np.sin(angle) * upper, shoulder_u - np.cos(angle) * upper
    points[:, :, SHOULDER, 2] = shoulder_u
    points[:, :, ELBOW, 0], points[:, :, ELBOW, 2] = forward, up
    points[:, :, WRIST, 0], points[:, :, WRIST, 2] = forward + np.sin(elbow) * lower, up - np.cos(elbow) * lower
    points[:, :, SHOULDER : WRIST + 1, 1] = (lateral * _SIGNS)[:, :, None] * np.array([1.0, 1.12, 1.1])


def walk(phase: F64, amount: F64, swing: F64, bend: F64, height: F64, build: F64) -> F64:
    """Joints (N, JOINTS, 3) of walkers as (forward, left, up) from the point on the ground below them.

    `phase` (N,): turns of the gait cycle, 0 being the left heel's strike; `amount` 1 walks, 0 stands; `swing` (N, 2):
    of the left and right arm; `bend` (N, 2): degrees by which the elbows are bent.
    """
    points = np.zeros((len(phase), JOINTS, 3))
    sides = points[:, LEFT : LEFT + 2 * SIDE].reshape(len(phase), 2, SIDE, 3)
    both = np.stack([phase % 1.0, (phase + 0.5) % 1.0], -1)
    tall, wide = height[:, None], (height * build)[:, None]
    low = _legs(sides, both, amount[:, None], tall, 0.052 * wide)
    _arms(sides, both, swing * amount[:, None], tall, 0.108 * wide, bend)
    turn = 0.018 * height * amount * np.cos(_TURN * both[:, 0])
    sides[:, :, SHOULDER : WRIST + 1, 0] -= (turn[:, None] * _SIGNS)[:, :, None]
    lean = 0.012 * height * amount
    points[:, NECK, 0], points[:, NECK, 2] = lean, 0.31 * height
    points[:, HEAD, 0], points[:, HEAD, 2] = lean * 1.6 + 0.012 * height, 0.4 * height
    points[:, CROWN, 0], points[:, CROWN, 2] = lean * 1.6, 0.47 * height
    points[:, BACK, 0], points[:, BACK, 2] = lean - 0.1 * height * build, 0.2 * height
    points[:, NECK : CROWN + 1, 1] = (0.008 * height * amount * np.sin(_TURN * both[:, 0]))[:, None]
    points[..., 2] += low[:, None]
    return points


def ride(crank: F64, height: F64, build: F64, saddle: F64, bar: F64, pedal_m: float) -> F64:
    """Joints (N, JOINTS, 3) of cyclists, as (forward, left, up) from the bottom bracket's point on the ground.

    `crank` (N,): turns of the pedals; `saddle`, `bar` (3,): where the rider sits and holds, in the same frame, with
    the bottom bracket at (0, 0, 0.28).
    """
    count = len(crank)
    points = np.zeros((count, JOINTS, 3))
    sides = points[:, LEFT : LEFT + 2 * SIDE].reshape(count, 2, SIDE, 3)
    pelvis = saddle + np.array([0.0, 0.0, 0.04])
    points[:, PELVIS] = pelvis
    tall = height[:, None]
    neck = pelvis + tall * np.array([0.2, 0.0, 0.25])
    points[:, NECK] = neck
    points[:, HEAD] = neck + tall * np.array([0.05, 0.0, 0.085])
    points[:, CROWN] = neck + tall * np.array([0.04, 0.0, 0.155])
    points[:, BACK] = neck + tall * np.array([-0.15, 0.0, -0.06])
    turn = _TURN * np.stack([crank, crank + 0.5], -1)
    foot = np.empty((count, 2, 3))
    foot[..., 0] = pedal_m * np.cos(turn) - 0.05
    foot[..., 1] = 0.1 * _SIGNS
    foot[..., 2] = 0.37 - pedal_m * np.sin(turn)
    lateral = (height * build)[:, None] * _SIGNS
    sides[:, :, HIP] = pelvis
    sides[:, :, HIP, 1] += 0.052 * lateral
    sides[:, :, ANKLE] = foot
    sides[:, :, HEEL] = foot + np.array([-0.05, 0.0, -0.06])
    sides[:, :, TOE] = foot + np.array([0.18, 0.0, -0.07])
    sides[:, :, SHOULDER] = (neck + tall * np.array([-0.01, 0.0, -0.03]))[:, None]
    sides[:, :, SHOULDER, 1] += 0.108 * lateral
    sides[:, :, WRIST] = bar
    sides[:, :, WRIST, 1] *= _SIGNS
    middle = _bend(
        sides[:, :, [HIP, SHOULDER]],
        sides[:, :, [ANKLE, WRIST]],
        tall[:, :, None] * np.array([0.25, 0.172]),
        np.array([1.0, -0.6]),
    )
    sides[:, :, [KNEE, ELBOW]] = middle
    return points


def _bend(start: F64, end: F64, half: F64, sign: F64) -> F64:
    """The middle joint of limbs of two parts, each `half` long, from `start` to `end`; bent forwards (sign > 0)."""
    along = end - start
    reach = np.sqrt((along * along).sum(-1))
    unit = along / reach[..., None]
    out = np.sqrt(np.maximum(half * half - reach * reach / 4, 0.0)) * sign
    side = np.zeros_like(unit)
    side[..., 0], side[..., 2] = -unit[..., 2], unit[..., 0]
    side /= np.maximum(np.hypot(side[..., 0], side[..., 2]), 1e-9)[..., None]
    middle: F64 = start + along * 0.5 + side * out[..., None]
    return middle


def place(points: F64, base: F64, heading: F64) -> F64:
    """(forward, left, up) in metres to world points; `base` (N, 3), `heading` (N,) radians from x towards z."""
    cos, sin = np.cos(heading)[:, None], np.sin(heading)[:, None]
    world = np.empty_like(points)
    world[..., 0] = points[..., 0] * cos - points[..., 1] * sin
    world[..., 1] = points[..., 2]
    world[..., 2] = points[..., 0] * sin + points[..., 1] * cos
    world += base[:, None, :]
    return world
