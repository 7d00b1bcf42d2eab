"""What a batch took on its device, stage by stage: for measurements, which ask for it; nobody else pays for it.

A lane of a device that has a `Recorder` puts an event of the device between its stages and reads them when the batch
has come back; nothing waits for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTimes:
    """One batch: `count` pictures run in a batch of `size`, by lane `lane` of the engine.

    Milliseconds by the device's clock: `began_ms` from a first moment that all lanes of one device share; `input_ms`
    for copies to the device, `preprocess_ms` for the kernel that makes the network's input (0 where the host did),
    `network_ms`, `output_ms` for suppression and the copy back. Bytes are those that crossed the bus.
    """

    lane: int
    device: str
    count: int
    size: int
    began_ms: float
    input_ms: float
    preprocess_ms: float
    network_ms: float
    output_ms: float
    to_device_bytes: int
    to_host_bytes: int


Recorder = Callable[[BatchTimes], None]
"""Called by the thread that waits for the batch, before it has its outputs; must not wait."""
