"""One start of a kernel, as a value: what runs it is the device (`loader.py`) or, in the tests, the host."""

from __future__ import annotations

from dataclasses import dataclass

Sides = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """`kernel` over `grid` blocks of `block` threads; all arguments are addresses in the device's memory."""

    kernel: str
    grid: Sides
    block: Sides
    arguments: tuple[int, ...]
