"""The query of a synthetic camera's URL, read and checked without numpy or OpenCV.

In:  `synthetic://street?people=8&vehicles=3&bikes=1&seed=1`
Out: SyntheticOptions. Called by the configuration's validation and by `open_synthetic`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args
from urllib.parse import parse_qsl, urlsplit

from vedette.errors import ConfigError

Scenery = Literal["street"]
Daytime = Literal["day", "night"]

SCHEME = "synthetic"
MAX_PEOPLE = 60
MAX_VEHICLES = 16
MAX_BIKES = 12
MIN_SIDE_PX, MAX_SIDE_PX = 64, 3840


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticOptions:
    """What is to be seen, how large, how often and for how long.

    `people`, `vehicles`, `bikes`: how many are on their way at any moment (`bikes` come with their riders); `parked`:
    vehicles that stand at the kerb. `noise`: the sensor's, 1 being that of a middling camera. `seconds`: None is for
    ever. The same values give the same pixels.
    """

    scenery: Scenery = "street"
    people: int = 8
    vehicles: int = 3
    bikes: int = 1
    parked: int = 1
    seed: int = 1
    size_wh: tuple[int, int] = (640, 360)
    fps: float = 25.0
    seconds: float | None = None
    time: Daytime = "day"
    noise: float = 1.0

    @property
    def frames(self) -> int | None:
        """How many frames there are in all; None if there is no end."""
        return None if self.seconds is None else max(1, round(self.seconds * self.fps))


def _integer(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text) or not low <= int(text) <= high:
            msg = f"a whole number from {low} to {high}"
            raise ValueError(msg)
        return int(text)

    return read


def _number(low: float, high: float, *, open_low: bool = False) -> Callable[[str], float]:
    def read(text: str) -> float:
        plain = re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text)
        if plain is None or not low <= float(text) <= high or (open_low and float(text) == low):
            msg = f"a number {'above' if open_low else 'from'} {low:g} {'up ' if open_low else ''}to {high:g}"
            raise ValueError(msg)
        return float(text)

    return read


def read_size(text: str) -> tuple[int, int]:
    """`640x360` as (640, 360). Raises ValueError, whose text is what was expected."""
    match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text)
    size = (int(match[1]), int(match[2])) if match else (0, 0)
    if any(side % 2 or not MIN_SIDE_PX <= side <= MAX_SIDE_PX for side in size):
        msg = f"WIDTHxHEIGHT, both even, from {MIN_SIDE_PX} to {MAX_SIDE_PX}, such as 640x360"
        raise ValueError(msg)
    return size


def _time(text: str) -> Daytime:
    if text not in get_args(Daytime):
        msg = "day or night"
        raise ValueError(msg)
    return cast("Daytime", text)


def _night(text: str) -> Daytime:
    if text not in ("0", "1"):
        msg = "0 or 1"
        raise ValueError(msg)
    return "night" if text == "1" else "day"


# key of the query: (field, reader)
_KEYS: dict[str, tuple[str, Callable[[str], object]]] = {
    "people": ("people", _integer(0, MAX_PEOPLE)),
    "vehicles": ("vehicles", _integer(0, MAX_VEHICLES)),
    "bikes": ("bikes", _integer(0, MAX_BIKES)),
    "parked": ("parked", _integer(0, 3)),
    "seed": ("seed", _integer(0, 2**53)),
    "size": ("size_wh", read_size),
    "fps": ("fps", _number(0.01, 120)),
    "seconds": ("seconds", _number(0, 604800, open_low=True)),
    "time": ("time", _time),
    "night": ("time", _night),
    "noise": ("noise", _number(0, 5)),
}


def parse_synthetic(url: str) -> SyntheticOptions:
    """Read the URL of a synthetic camera. Raises ConfigError with one line for each thing that is wrong."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        msg = "expected a URL such as synthetic://street?people=8"
        raise ConfigError(msg) from error
    problems: list[str] = []
    values: dict[str, Any] = {}
    if parts.scheme.lower() != SCHEME:
        msg = f"{SCHEME}: expected a URL such as synthetic://street?people=8, got scheme {parts.scheme!r}"
        raise ConfigError(msg)
    scenery = parts.netloc + parts.path.rstrip("/")
    if scenery not in get_args(Scenery):
        problems.append(f"synthetic://: expected the scene to be 'street', got {scenery!r}")
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    if parts.fragment:
        problems.append("synthetic://street: expected nothing after '#'")
    seen: set[str] = set()
    for key, text in pairs:
        entry = _KEYS.get(key)
        if entry is None:
            near = difflib.get_close_matches(key, _KEYS, n=1)
            meant = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(_KEYS)}"
            problems.append(f"synthetic://street: unknown parameter {key!r}{meant}")
            continue
        field, read = entry
        if field in seen:
            problems.append(f"synthetic://street: {key}: expected once, got it (or its like) again")
            continue
        seen.add(field)
        try:
            values[field] = read(text)
        except ValueError as error:
            problems.append(f"synthetic://street: {key}: expected {error}, got {text!r}")
    if problems:
        raise ConfigError(problems)
    return SyntheticOptions(**values)
