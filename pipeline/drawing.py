"""Boxes, ids and trails drawn into a picture, for people to look at.

In:  a BGR picture (H, W, 3) uint8, drawn into in place; the FrameMessage that belongs to it.
A track keeps its colour; confirmed ones are drawn strong, tentative ones thin, coasted ones dashed.
"""

from __future__ import annotations

import colorsys
from collections import defaultdict, deque

import cv2
import numpy as np

from engines.types import U8
from vedette.messages import FrameMessage, TrackedObject

Colour = tuple[int, int, int]

_GOLDEN = 0.618033988749895  # neighbouring ids get hues that are far apart


def colour_of(track: int) -> Colour:
    """A track's colour, BGR; the same for the same id."""
    red, green, blue = colorsys.hsv_to_rgb((track * _GOLDEN) % 1.0, 0.75, 1.0)
    return (int(blue * 255), int(green * 255), int(red * 255))


class Artist:
    """Remembers where tracks have been, `trail_s` of media time, and draws one frame after the other."""

    def __init__(self, trail_s: float = 1.0) -> None:
        self._trail_ns = int(trail_s * 1e9)
        self._trails: defaultdict[int, deque[tuple[int, int, int]]] = defaultdict(deque)

    def draw(self, bgr: U8, message: FrameMessage) -> None:
        """Draw what `message` says into `bgr`."""
        for thing in message.objects:
            if thing.state == "tentative":  # most of them are nothing
                continue
            x1, _, x2, y2 = thing.box
            self._trails[thing.track].append((message.wall_ns, round((x1 + x2) / 2), round(y2)))
        for track, trail in list(self._trails.items()):
            while trail and message.wall_ns - trail[0][0] > self._trail_ns:
                trail.popleft()
            if not trail:
                del self._trails[track]
            elif len(trail) > 1:
                points = np.array([[x, y] for _, x, y in trail], np.int32)
                cv2.polylines(bgr, [points], False, colour_of(track), 2, cv2.LINE_AA)
        for thing in message.objects:
            _draw_object(bgr, thing)


def _draw_object(bgr: U8, thing: TrackedObject) -> None:
    colour = colour_of(thing.track)
    x1, y1, x2, y2 = (round(value) for value in thing.box)
    if thing.state == "coasted":
        _dashed(bgr, (x1, y1, x2, y2), colour)
    else:
        cv2.rectangle(bgr, (x1, y1), (x2, y2), colour, 2 if thing.state == "confirmed" else 1, cv2.LINE_AA)
    if thing.state == "tentative":
        return
    scale = max(0.35, min(0.6, bgr.shape[0] / 1000))
    label = f"{thing.class_} {thing.track}  {thing.score:.2f}"
    (width, height), base = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    left, top = max(0, min(x1, bgr.shape[1] - width - 4)), max(height + base + 2, y1)
    cv2.rectangle(bgr, (left, top - height - base - 2), (left + width + 4, top), colour, cv2.FILLED)
    cv2.putText(bgr, label, (left + 2, top - base), cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 1, cv2.LINE_AA)


def _dashed(bgr: U8, xyxy: tuple[int, int, int, int], colour: Colour, dash: int = 6) -> None:
    x1, y1, x2, y2 = xyxy
    for x in range(x1, x2, 2 * dash):
        for y in (y1, y2):
            cv2.line(bgr, (x, y), (min(x + dash, x2), y), colour, 1)
    for y in range(y1, y2, 2 * dash):
        for x in (x1, x2):
            cv2.line(bgr, (x, y), (x, min(y + dash, y2)), colour, 1)
