"""Numbers of the host on their way to a device, without waiting for what the device is doing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """On the device; a copy from pageable memory would wait for all that is queued there."""
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def sent(values: npt.ArrayLike, device: torch.device) -> Tensor:
    """Numbers in numpy's own type for them, doubles as float32."""
    array = np.asarray(values)
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    return moved(torch.from_numpy(np.ascontiguousarray(array)), device)
