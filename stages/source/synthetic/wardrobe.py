"""What people look like: build, clothes, hair and bags, drawn by lot.

Called once for each person that enters the scene. Colours are (blue, green, red).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from stages.source.synthetic.camera import Colour, blend, tint

Top = Literal["shirt", "jacket", "coat", "dress"]
Legs = Literal["trousers", "shorts", "bare"]
Hair = Literal["short", "long", "bald", "cap", "hood"]
Bag = Literal["none", "backpack", "handbag", "shopping"]

_SKINS: tuple[Colour, ...] = (
    (150, 180, 225),
    (130, 165, 215),
    (105, 140, 195),
    (75, 105, 155),
    (50, 72, 112),
    (140, 172, 224),
)
_HAIRS: tuple[Colour, ...] = (
    (28, 30, 36),
    (34, 46, 66),
    (48, 74, 108),
    (96, 146, 186),
    (60, 62, 68),
    (160, 162, 165),
    (36, 60, 110),
)
_TOPS: tuple[Colour, ...] = (
    (52, 48, 44),
    (98, 62, 38),
    (58, 52, 158),
    (205, 205, 208),
    (130, 128, 124),
    (84, 104, 62),
    (150, 96, 52),
    (70, 130, 196),
    (120, 84, 128),
    (66, 70, 78),
    (170, 182, 190),
    (40, 36, 34),
    (60, 160, 200),
    (110, 140, 110),
)
_BOTTOMS: tuple[Colour, ...] = (
    (92, 62, 44),
    (120, 88, 64),
    (46, 42, 40),
    (70, 66, 64),
    (104, 128, 150),
    (58, 74, 88),
    (36, 34, 34),
    (130, 112, 96),
)
_SHOES: tuple[Colour, ...] = ((34, 34, 36), (40, 56, 84), (210, 212, 214), (60, 60, 64), (50, 44, 120))
_BAGS: tuple[Colour, ...] = ((40, 44, 52), (44, 66, 104), (120, 70, 40), (50, 50, 150), (90, 96, 70), (208, 214, 220))


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One person's looks and gait. Lengths in metres; `stride_m` is two steps; `build` widens or narrows."""

    height_m: float
    build: float
    stride_m: float
    swing: float
    top: Top
    legs: Legs
    hair: Hair
    bag: Bag
    stripes: bool
    open_front: bool
    top_colour: Colour
    under_colour: Colour
    legs_colour: Colour
    shoe_colour: Colour
    skin_colour: Colour
    hair_colour: Colour
    bag_colour: Colour


def _pick(rng: np.random.Generator, colours: tuple[Colour, ...]) -> Colour:
    colour = colours[int(rng.integers(len(colours)))]
    return tint(colour, 0.86 + 0.3 * float(rng.random()))


def dress_person(rng: np.random.Generator, *, rider: bool = False) -> Person:
    """Draw one person's looks by lot; a rider has clothes to ride in and no bag but a backpack."""
    chance = [float(value) for value in rng.random(10)]
    height = 1.56 + 0.32 * (chance[0] + chance[1]) / 2
    top: Top = "shirt" if chance[2] < 0.4 else "jacket" if chance[2] < 0.72 else "coat" if chance[2] < 0.88 else "dress"
    legs: Legs = "bare" if top == "dress" else "shorts" if top == "shirt" and chance[3] < 0.25 else "trousers"
    hair: Hair = "short" if chance[4] < 0.45 else "long" if chance[4] < 0.75 else "cap" if chance[4] < 0.87 else "hood"
    if chance[4] > 0.96:
        hair = "bald"
    bag: Bag = (
        "none"
        if chance[5] < 0.45
        else "backpack"
        if chance[5] < 0.66
        else "handbag"
        if chance[5] < 0.86
        else "shopping"
    )
    if rider:
        top = "shirt" if chance[2] < 0.5 else "jacket"
        legs = "trousers" if chance[3] < 0.7 else "shorts"
        bag = "backpack" if chance[5] < 0.4 else "none"
    if hair == "hood" and top not in ("jacket", "coat"):
        hair = "short"
    top_colour = _pick(rng, _TOPS)
    hair_colour = _pick(rng, _HAIRS)
    if hair == "cap":
        hair_colour = _pick(rng, _TOPS)
    elif hair == "hood":
        hair_colour = tint(top_colour, 0.9)
    return Person(
        height_m=height,
        build=0.9 + 0.24 * chance[6],
        stride_m=height * (0.76 + 0.1 * chance[7]),
        swing=0.75 + 0.4 * chance[8],
        top=top,
        legs=legs,
        hair=hair,
        bag=bag,
        stripes=top == "shirt" and chance[9] < 0.25,
        open_front=top in ("jacket", "coat") and chance[9] < 0.6,
        top_colour=top_colour,
        under_colour=blend(_pick(rng, _TOPS), (200, 200, 205), 0.5),
        legs_colour=_pick(rng, _BOTTOMS),
        shoe_colour=_pick(rng, _SHOES),
        skin_colour=_pick(rng, _SKINS),
        hair_colour=hair_colour,
        bag_colour=_pick(rng, _BAGS),
    )
