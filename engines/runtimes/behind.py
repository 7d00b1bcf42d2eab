"""The engine's threads stand behind the ones that feed it and hand its results on.

On few cores the engine wants all of them all the time. A stage that becomes ready (a packet came in, a picture is
decoded, boxes are there) would wait for the engine's slice to end, some milliseconds each time, stage after stage, and
a live frame's age grows by all of them. At a lower priority the engine gives way at once and loses nothing: it gets
what the others leave, which is what it got anyway (docs/decisions/0008-engine-priority.md).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")

STEPS = 5
"""Of `nice`: a third of the weight beside a thread at 0 (1024 against 335, Linux' table)."""


def behind(work: Callable[[], Result]) -> Result:
    """What `work` gives; the threads that it starts keep a lower priority than the calling one.

    It runs in a thread of its own, as a priority can't be raised again without rights, and is inherited by the threads
    that a thread starts. Raises what `work` raises.
    """
    with ThreadPoolExecutor(1, "opening", _step_back) as opening:
        return opening.submit(work).result()


def _step_back() -> None:
    own = threading.get_native_id()  # Linux: a priority is a thread's, PRIO_PROCESS or not
    os.setpriority(os.PRIO_PROCESS, own, os.getpriority(os.PRIO_PROCESS, own) + STEPS)
