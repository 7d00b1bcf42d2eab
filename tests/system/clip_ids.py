"""What the model that ships sees in the real clips, and how long its ids live: a measurement, run by hand.

    python -m tests.system.clip_ids OUT [--model MODEL]

Runs `vedette run` over the shared clips, every frame, the tracker as it comes, once with MODEL (vedette-n) and once
with YOLOX-nano, whose boxes stand in for the truth: they are a detector's, not people's. OUT gets clips.json, the
table in Markdown (which is printed, too), and stills to look at. The teacher's messages stay in OUT and are used again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import yaml

from engines.types import U8
from engines.weights import find_model
from pipeline.drawing import Artist
from tests.support.shared import SHARED
from tests.support.system import run_vedette
from vedette.messages import FrameMessage, TrackedObject, decode_message

OF_TEACHER = {"car": "vehicle", "bus": "vehicle", "truck": "vehicle", "bicycle": "bike", "motorcycle": "bike"}
CLASSES = ("person", "vehicle", "bike")
SURE = 0.5
"""The teacher's boxes of this score or more are to be found."""
FAINT = 0.25
"""What has no box of the teacher's even of this score is ours alone."""
LONG_S = 2.0
TRAIL_S = 1.0
EDGE_S = 0.5
"""Who is only partly in the picture is not asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """`there`: the things of each class, from and to which second, as people saw them (README of the clips).

    `stills_s`: the moments to look at.
    """

    name: str
    file: str
    there: Mapping[str, Sequence[tuple[float, float]]]
    stills_s: tuple[float, ...]


CLIPS = (
    Clip(
        name="walkers",
        file="intel_one-by-one-person-detection.mp4",
        there={"person": [(6.8, 19.3), (23.0, 44.5), (50.8, 69.3), (74.5, 86.3), (92.3, 119.5), (123.5, 136.0)]},
        stills_s=(10.0, 17.0, 30.0, 48.0, 60.0, 80.0, 105.0, 130.0),
    ),
    Clip(
        name="parking",
        file="intel_person-bicycle-car-detection.mp4",
        there={
            "person": [(9.7, 13.4), (24.3, 30.5), (28.9, 34.2)],
            "vehicle": [(0.0, 3.4), (27.8, 33.5)],
            "bike": [(9.7, 13.4), (28.9, 34.2)],
        },
        stills_s=(1.5, 10.5, 12.0, 25.5, 28.5, 29.5, 31.0, 33.0),
    ),
    Clip(
        name="road",
        file="intel_car-detection.mp4",
        there={"vehicle": [(4.5, 8.4), (14.9, 18.4), (14.9, 18.9), (25.4, 28.0)]},
        stills_s=(5.5, 7.0, 16.5, 26.5),
    ),
    Clip(
        name="shop",
        file="nvidia_retail-aisle-1080p.mp4",
        there={"person": [(0.0, 20.0)] * 8 + [(3.0, 20.0)]},
        stills_s=(2.0, 6.0, 11.0, 17.0),
    ),
    Clip(
        name="aisle",
        file="intel_store-aisle-detection_preview.mp4",
        there={"person": [(0.0, 4.4), (0.0, 4.4), (1.2, 4.4)]},
        stills_s=(0.6, 1.8, 2.8, 4.0),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One clip. Classes that are neither there nor seen have no entry.

    `in_view`: things that people saw, summed over the frames from half a second after each came to half a second before
    it left; `counted` of them: as many boxes of the class were shown in the frame, wherever they were.
    `switches`: how often a track of the teacher's that was ours under one id came back under another; `followed`: how
    many of the teacher's tracks were ours at all. `of_teacher`: boxes of the teacher's to be found, `found` of them
    with the same class at IoU 0.5. `alone`: boxes of ours where the teacher has none, not even a faint one (IoU 0.3);
    `double`: boxes of ours for what another of ours shows already.
    """

    clip: str
    frames: int
    there: dict[str, int]
    in_view: dict[str, int]
    counted: dict[str, int]
    tracks: dict[str, int]
    long_tracks: dict[str, int]
    mean_track_s: float | None
    switches: int
    followed: int
    of_teacher: dict[str, int]
    found: dict[str, int]
    shown: dict[str, int]
    alone: dict[str, int]
    double: dict[str, int]


Table = np.ndarray[Any, np.dtype[np.float64]]
Messages = Mapping[str, Sequence[FrameMessage]]


def messages(model: Mapping[str, Any], path: Path, clips: Path) -> Messages:
    """The frame messages of each clip, in order; made anew unless `path` has them."""
    if not path.exists():
        part = path.with_suffix(".part")
        part.unlink(missing_ok=True)
        config = path.with_suffix(".yaml")
        streams = [{"id": clip.name, "url": str(clips / clip.file), "mode": "file"} for clip in CLIPS]
        sinks = [{"kind": "jsonl", "path": str(part)}]
        config.write_text(yaml.safe_dump({"version": 1, "model": dict(model), "streams": streams, "sinks": sinks}))
        ended = run_vedette("run", config, timeout_s=1800.0)
        if ended.returncode:
            sys.exit(f"vedette run: status {ended.returncode}\n{ended.stderr[-2000:]}")
        part.replace(path)
    found: dict[str, list[FrameMessage]] = defaultdict(list)
    for line in path.read_bytes().splitlines():
        message = decode_message(line)
        if isinstance(message, FrameMessage):
            found[message.stream].append(message)
    return {name: sorted(some, key=lambda message: message.seq) for name, some in found.items()}


def class_of(thing: TrackedObject) -> str:
    return OF_TEACHER.get(thing.class_, thing.class_)


def shows(thing: TrackedObject) -> bool:
    """Whether a subscriber counts it: a confirmed track that is seen in this very frame."""
    return thing.state == "confirmed"


def overlaps(ours: Sequence[TrackedObject], theirs: Sequence[TrackedObject]) -> Table:
    """IoU (ours, theirs), 0 across classes."""
    table = np.zeros((len(ours), len(theirs)))
    for row, one in enumerate(ours):
        for column, other in enumerate(theirs):
            if class_of(one) == class_of(other):
                left, top = max(one.box[0], other.box[0]), max(one.box[1], other.box[1])
                right, bottom = min(one.box[2], other.box[2]), min(one.box[3], other.box[3])
                both = max(0.0, right - left) * max(0.0, bottom - top)
                areas = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (one.box, other.box))
                table[row, column] = both / max(areas - both, 1e-9)
    return table


def matches(
    table: Table, mine: Sequence[TrackedObject], sure: Sequence[TrackedObject], followed: Mapping[int, Sequence[int]]
) -> dict[int, int]:
    """Ours to the teacher's, at IoU 0.5: who was together stays together; then the sure ones, then the faint.

    `table`: IoU (ours, the sure and then the faint).
    """
    taken: dict[int, int] = {}
    left = np.where(table >= 0.5, table, 0.0)

    def take(row: int, column: int) -> None:
        taken[row] = column
        left[row, :] = left[:, column] = 0.0

    for column, other in enumerate(sure):
        before = followed.get(other.track, [])[-1:]
        for row, one in enumerate(mine):
            if [one.track] == before and left[row, column]:
                take(row, column)
    for part in (left[:, : len(sure)], left):  # views: what is taken is 0 in both
        while part.any():
            row, column = divmod(int(part.argmax()), part.shape[1])
            take(row, column)
    return taken


def seconds(message: FrameMessage, first: FrameMessage) -> float:
    return (message.pts - first.pts) * message.time_base[0] / message.time_base[1]


def judge(clip: Clip, ours: Sequence[FrameMessage], theirs: Sequence[FrameMessage]) -> Row:
    of_teacher, found, shown, alone, double, in_view, counted = (Counter[str]() for _ in range(7))
    spans: dict[int, list[float]] = {}
    votes: dict[int, Counter[str]] = defaultdict(Counter)
    followed: dict[int, list[int]] = defaultdict(list)
    by_seq = {message.seq: message for message in theirs}
    for message in ours:
        now = seconds(message, ours[0])
        mine = [thing for thing in message.objects if shows(thing)]
        other = by_seq[message.seq].objects
        sure = [thing for thing in other if shows(thing) and thing.score >= SURE]
        faint = [thing for thing in other if thing.score >= FAINT and thing not in sure]
        for thing in mine:
            spans.setdefault(thing.track, [now, now])[1] = now
            votes[thing.track][class_of(thing)] += 1
        of_teacher.update(class_of(thing) for thing in sure)
        here = Counter(class_of(thing) for thing in mine)
        shown.update(here)
        for name, things in clip.there.items():
            count = sum(comes + EDGE_S <= now <= leaves - EDGE_S for comes, leaves in things)
            in_view[name] += count
            counted[name] += min(count, here[name])
        iou = overlaps(mine, [*sure, *faint])
        taken = matches(iou, mine, sure, followed)
        for row, column in taken.items():
            if column < len(sure):
                found[class_of(sure[column])] += 1
                ids = followed[sure[column].track]
                if not ids or ids[-1] != mine[row].track:
                    ids.append(mine[row].track)
        for row, thing in enumerate(mine):
            if row not in taken and iou[row].max(initial=0.0) < 0.3:
                alone[class_of(thing)] += 1
            elif row not in taken and iou[row, sorted(taken.values())].max(initial=0.0) >= 0.3:
                double[class_of(thing)] += 1
    lives = {track: last - first for track, (first, last) in spans.items()}
    named = {track: vote.most_common(1)[0][0] for track, vote in votes.items()}
    return Row(
        clip=clip.name,
        frames=len(ours),
        there={name: len(spans) for name, spans in clip.there.items()},
        in_view=dict(in_view),
        counted=dict(counted),
        tracks=dict(Counter(named.values())),
        long_tracks=dict(Counter(named[track] for track, life in lives.items() if life > LONG_S)),
        mean_track_s=float(np.mean(list(lives.values()))) if lives else None,
        switches=sum(len(ids) - 1 for ids in followed.values()),
        followed=len(followed),
        of_teacher=dict(of_teacher),
        found=dict(found),
        shown=dict(shown),
        alone=dict(alone),
        double=dict(double),
    )


def stills(clip: Clip, path: Path, ours: Sequence[FrameMessage], out: Path) -> None:
    """The clip's moments with what was published drawn in, as files of their own."""
    by_seq = {message.seq: message for message in ours}
    wanted = sorted(clip.stills_s)
    artist = Artist(TRAIL_S)
    with av.open(str(path)) as container:
        for seq, frame in enumerate(container.decode(video=0)):
            message = by_seq.get(seq)
            if message is None:
                continue
            if not wanted:
                break
            now = seconds(message, ours[0])
            if wanted[0] - now > TRAIL_S:
                continue
            bgr: U8 = np.ascontiguousarray(frame.to_ndarray(format="bgr24"), np.uint8)
            artist.draw(bgr, message)
            if now >= wanted[0]:
                scale = min(1.0, 768 / bgr.shape[1])
                small = cv2.resize(bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
                cv2.imwrite(str(out / f"{clip.name}-{wanted.pop(0):05.1f}s.jpg"), small, [cv2.IMWRITE_JPEG_QUALITY, 75])


def tables(rows: Sequence[Row]) -> str:
    seen = [["clip", "frames", "in view, counted", "found of the teacher's", "ours alone", "double"]]
    ids = [["clip", "there", "tracks", "over 2 s", "mean life", "id switches"]]
    for row in rows:
        seen.append(
            [
                row.clip,
                str(row.frames),
                _shares(row.counted, row.in_view),
                _shares(row.found, row.of_teacher),
                _shares(row.alone, row.shown),
                _shares(row.double, row.shown),
            ]
        )
        ids.append(
            [
                row.clip,
                _counts(row.there),
                _counts(row.tracks),
                _counts(row.long_tracks),
                "–" if row.mean_track_s is None else f"{row.mean_track_s:.1f} s",
                f"{row.switches} in {row.followed}",
            ]
        )
    parts = [[one[0], ["---"] * len(one[0]), *one[1:]] for one in (seen, ids)]
    return "\n".join("".join(f"| {' | '.join(line)} |\n" for line in part) for part in parts)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts[name]} {name}" for name in CLASSES if counts.get(name)) or "none"


def _shares(some: Mapping[str, int], whole: Mapping[str, int]) -> str:
    parts = [f"{name} {some.get(name, 0) / whole[name]:.2f} of {whole[name]}" for name in CLASSES if whole.get(name)]
    return ", ".join(parts) or "–"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--model", default="vedette-n", help="a file, or one that ships (%(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    if SHARED is None:
        sys.exit("the shared clips and teachers are not on this machine")
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    clips = SHARED / "clips"
    (out / "ours.jsonl").unlink(missing_ok=True)
    ours = messages(
        {"path": str(find_model(arguments.model)), "threads": arguments.threads}, out / "ours.jsonl", clips
    )  # fmt: skip
    eyes = {"path": str(SHARED / "teachers" / "yolox_nano_416.onnx"), "score": FAINT, "nms_iou": 0.65}
    names = ["person", *OF_TEACHER]
    theirs = messages({**eyes, "classes": names, "threads": arguments.threads}, out / "teacher.jsonl", clips)
    rows = [judge(clip, ours[clip.name], theirs[clip.name]) for clip in CLIPS]
    for clip in CLIPS:
        stills(clip, clips / clip.file, ours[clip.name], out)
    report = {"model": arguments.model, "sure": SURE, "faint": FAINT, "rows": [asdict(row) for row in rows]}
    (out / "clips.json").write_text(json.dumps(report, indent=1) + "\n")
    (out / "clips.md").write_text(tables(rows))
    sys.stdout.write(tables(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
