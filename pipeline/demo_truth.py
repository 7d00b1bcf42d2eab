"""How right the demo's detections are: messages of synthetic streets against the truth that they were painted from.

Called by `vedette/cli/demo.py` when the run is over: the truth of a frame takes longer than painting it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pipeline.config import Config
from stages.source.synthetic.dataset import LEAST_VISIBLE
from stages.source.synthetic.options import SyntheticOptions, parse_synthetic
from stages.source.synthetic.scene import Scene
from stages.source.synthetic.truth import TrueObject, true_objects
from vedette.messages import Box, FrameMessage, TrackedObject

_SAME_IOU = 0.5
_EVERY, _MOST = 8, 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What of a truth was shown: objects `found` and `missed`, and boxes that were `wrong`, in `frames`."""

    frames: int = 0
    found: int = 0
    missed: int = 0
    wrong: int = 0

    def __add__(self, other: Judgement) -> Judgement:
        return Judgement(
            frames=self.frames + other.frames,
            found=self.found + other.found,
            missed=self.missed + other.missed,
            wrong=self.wrong + other.wrong,
        )

    @property
    def precision(self) -> float | None:
        shown = self.found + self.wrong
        return self.found / shown if shown else None

    @property
    def recall(self) -> float | None:
        there = self.found + self.missed
        return self.found / there if there else None


@dataclass(slots=True)
class Jury:
    """Keeps some of the frames of the streets of a configuration, the latest, and judges them when asked."""

    streets: Mapping[str, SyntheticOptions]
    _kept: dict[str, deque[FrameMessage]] = field(default_factory=dict)

    @classmethod
    def of(cls, config: Config) -> Jury:
        """Of those streams that are synthetic."""
        urls = {options.id: options.url for options in config.streams}
        return cls({name: parse_synthetic(url.reveal()) for name, url in urls.items() if url.scheme == "synthetic"})

    def see(self, message: FrameMessage) -> None:
        if message.stream in self.streets and message.seq % _EVERY == 0:
            self._kept.setdefault(message.stream, deque(maxlen=_MOST)).append(message)

    def judge(self) -> dict[str, Judgement]:
        """By stream; a street without frames is not in it."""
        judged = {}
        for stream, options in self.streets.items():
            messages = self._kept.get(stream)
            if not messages:
                continue
            scene = Scene(options)
            # A synthetic camera's time stamps are the numbers of its frames.
            parts = [compare(message.objects, true_objects(scene, message.pts)) for message in messages]
            judged[stream] = sum(parts, Judgement())
        return judged


def compare(shown: Iterable[TrackedObject], truth: Iterable[TrueObject]) -> Judgement:
    """One frame: boxes of what was seen in it, the surest first, each for the true object that it fits best.

    A box fits an object of its class with an IoU of at least 0.5. Objects that are hidden but for a quarter count
    neither as missed nor, if they are shown all the same, as wrong; nor do boxes of what was not seen in this frame.
    """
    left = list(truth)
    wanted = sum(one.visible >= LEAST_VISIBLE for one in left)
    found = wrong = 0
    for one in sorted((one for one in shown if one.state != "coasted"), key=lambda one: -one.score):
        overlaps = [(_iou(one.box, true.xyxy_px), true) for true in left if true.kind == one.class_]
        best, true = max(overlaps, key=lambda pair: pair[0], default=(0.0, None))
        if true is None or best < _SAME_IOU:
            wrong += 1
            continue
        left.remove(true)
        found += true.visible >= LEAST_VISIBLE
    return Judgement(frames=1, found=found, missed=wanted - found, wrong=wrong)


def _iou(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0.0 or height <= 0.0:
        return 0.0
    both = width * height
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return both / (sum(areas) - both)
