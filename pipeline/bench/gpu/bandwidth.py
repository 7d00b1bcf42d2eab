"""How near the pre-processing kernel comes to what the device's memory can move: its floor.

Copy: one half of a large piece of memory to the other, bytes read and written both counted. The kernel: batches of
pictures out of so many that no cache holds them, each into its own slots. What it moves is counted from below: of each
plane the sectors of 32 bytes that hold a sample which is needed, and what is written; so a figure cannot be flattered
by rows that are stepped over.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from engines.cuda.loader import Kernels
from engines.cuda.surfaces import InputType, Surface, preprocess_launch, surface_records, target_record
from engines.picture import Placement, place
from engines.spec import InputSpec
from pipeline.bench.gpu.figures import Bandwidth, KernelFigures
from pipeline.bench.gpu.instruments import Instruments
from pipeline.bench.gpu.surfaces import copied

SECTOR = 32
"""Bytes that a GPU's memory moves at once (CUDA C++ Best Practices Guide, 10.2.1)."""

COPY_BYTES = 1 << 29
REPEATS = 20
CACHES = 4
"""What is read of the pictures fills the second-level cache so many times before the first is read again."""


def measure_bandwidth(
    instruments: Instruments,
    spec: InputSpec,
    surfaces: Sequence[Surface],
    dtypes: Sequence[InputType],
    batches: Sequence[int],
    *,
    copy_bytes: int = COPY_BYTES,
    repeats: int = REPEATS,
) -> Bandwidth:
    """Copy and kernel in turns. `surfaces` (of `on_device`) are copied as often as it takes; raises PictureError."""
    with instruments.here():
        surfaces = _enough(surfaces, spec, int(instruments.facts.l2_mb * 2**20) * CACHES)
    copies: list[float] = []
    with instruments.here():
        first, second = (torch.ones(copy_bytes, dtype=torch.uint8, device=instruments.device) for _ in range(2))
        kernels = instruments.kernels().preprocess
        rings = [
            _Ring(kernels, instruments.device, spec, surfaces, dtype, batch) for dtype in dtypes for batch in batches
        ]
        kernel_ms: list[list[float]] = [[] for _ in rings]
        for _ in range(2):
            copies += instruments.times_ms(lambda _: _copy(first, second), repeats)
            for ring, found in zip(rings, kernel_ms, strict=True):
                found += [ms / ring.launches for ms in instruments.times_ms(ring.launch, repeats)]
    copy_gb_s = _gb_s(2 * copy_bytes, statistics.median(copies))
    figures = [
        _figures(ring, statistics.median(found), copy_gb_s) for ring, found in zip(rings, kernel_ms, strict=True)
    ]
    return Bandwidth(
        copy_gb_s=round(copy_gb_s, 1),
        size=surfaces[0].size_wh,
        pictures=len(surfaces),
        preprocess=tuple(figures),
    )


def _enough(surfaces: Sequence[Surface], spec: InputSpec, size: int) -> list[Surface]:
    """So many pictures, each in memory of its own, that reading them moves at least `size` bytes."""
    shown = list(surfaces)
    each = [touched_bytes(surface, place(surface.size_wh, spec)) for surface in surfaces]
    moved = sum(each)
    while moved < size:
        which = len(shown) % len(surfaces)
        shown.append(copied(surfaces[which]))
        moved += each[which]
    return shown


def _figures(ring: _Ring, ms: float, copy_gb_s: float) -> KernelFigures:
    gb_s = _gb_s(ring.read_bytes + ring.written_bytes, ms)
    return KernelFigures(
        batch=ring.batch,
        dtype=ring.dtype,
        ms=round(ms, 5),
        read_bytes=ring.read_bytes,
        written_bytes=ring.written_bytes,
        gb_s=round(gb_s, 1),
        share=round(gb_s / copy_gb_s, 4),
    )


def _copy(first: torch.Tensor, second: torch.Tensor) -> None:
    second.copy_(first)


def _gb_s(size: int, ms: float) -> float:
    return size / ms / 1e6


class _Ring:
    """Batches one after the other over all pictures, each with records and slots of its own, on the device."""

    def __init__(
        self,
        kernels: Kernels,
        device: torch.device,
        spec: InputSpec,
        surfaces: Sequence[Surface],
        dtype: InputType,
        batch: int,
    ) -> None:
        width, height = spec.size
        self._kernels, self._spec = kernels, spec
        self.dtype, self.batch = dtype, batch
        self.written_bytes = batch * 3 * width * height * np.dtype(dtype).itemsize
        needed = [touched_bytes(surface, place(surface.size_wh, spec)) for surface in surfaces]
        self.read_bytes = round(batch * statistics.mean(needed))
        self.launches = -(-len(surfaces) // batch)
        self._out = torch.zeros(self.launches * self.written_bytes, dtype=torch.uint8, device=device)
        self._target = _there(target_record(spec, dtype), device)
        self._records = []
        for number in range(self.launches):
            shown = [surfaces[(number * batch + slot) % len(surfaces)] for slot in range(batch)]
            records, _ = surface_records(shown, spec)
            self._records.append(_there(records, device))

    def launch(self, stream: int) -> None:
        for number, records in enumerate(self._records):
            launch = preprocess_launch(
                self._spec,
                self.dtype,
                self.batch,
                records=records.data_ptr(),
                target=self._target.data_ptr(),
                out=self._out.data_ptr() + number * self.written_bytes,
            )
            self._kernels.launch(launch, stream)


def _there(records: npt.NDArray[Any], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(records.view(np.uint8).copy()).to(device)


def touched_bytes(surface: Surface, placement: Placement) -> int:
    """The sectors of a picture that bilinear scaling to `placement` needs, in bytes."""
    width, height = surface.size_wh
    inner_width, inner_height = placement.inner_wh
    sample = 1 if surface.bits == 8 else 2
    total = _sectors(width, inner_width, sample) * _places(height, inner_height).size
    if surface.chroma is not None:
        across, down = (width + 1) // 2, (height + 1) // 2
        total += _sectors(across, inner_width // 2, 2 * sample) * _places(down, inner_height // 2).size
    return int(total) * SECTOR


def _places(source: int, shown: int) -> npt.NDArray[np.int64]:
    """Which samples of a side of `source` have a part in one that is scaled to `shown` (centres aligned)."""
    twice = (2 * np.arange(shown, dtype=np.int64) + 1) * source - shown  # 2 * shown times the place
    first, rest = np.divmod(twice, 2 * shown)
    both = np.concatenate([first, np.where(rest, first + 1, first)])
    needed: npt.NDArray[np.int64] = np.unique(both.clip(0, source - 1))
    return needed


def _sectors(source: int, shown: int, sample_bytes: int) -> int:
    """How many sectors of a row hold a sample that is needed."""
    return int(np.unique(_places(source, shown) * sample_bytes // SECTOR).size)
