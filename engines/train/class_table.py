"""Which of a teacher's classes go into each of the student's: of a group of them the highest score counts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engines.datasets import match_classes
from engines.types import F32


class ClassTable:
    """`rows`: for each of the student's classes the columns of the teacher's; `known` (C,): 1 where there is one."""

    def __init__(self, given: tuple[str, ...], classes: tuple[str, ...], names: Mapping[str, str]) -> None:
        """`names` renames the teacher's classes: {"car": "vehicle", …}. Raises DataError."""
        mapped = match_classes(given, classes, {name: to for name, to in names.items() if name in given})
        self.rows: tuple[npt.NDArray[np.int64], ...] = tuple(
            np.flatnonzero(mapped.of_model == mapped.names.index(name)).astype(np.int64)
            if name in mapped.names
            else np.zeros(0, np.int64)
            for name in classes
        )
        self.known: F32 = np.array([float(len(rows) > 0) for rows in self.rows], np.float32)

    def highest(self, scores: F32) -> F32:
        """(A, teacher's classes) to (A, student's), 0 for those that it does not know."""
        out = np.zeros((len(scores), len(self.rows)), np.float32)
        for column, rows in enumerate(self.rows):
            if len(rows):
                out[:, column] = scores[:, rows].max(axis=1)
        return out


class DeviceClassTable:
    """The same for tensors on a device, which is never made to wait for the host."""

    def __init__(self, table: ClassTable, device: torch.device) -> None:
        self._rows = [torch.from_numpy(rows).to(device) for rows in table.rows]
        self.known = torch.from_numpy(table.known).to(device)

    def highest(self, scores: Tensor) -> Tensor:
        """(n, A, teacher's classes) to (n, A, student's)."""
        columns = [
            scores.index_select(2, rows).amax(dim=2) if len(rows) else torch.zeros_like(scores[:, :, 0])
            for rows in self._rows
        ]
        return torch.stack(columns, dim=2)
