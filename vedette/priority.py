"""Threads that keep a core busy stand behind those that do a little and are waited for.

On a machine without a GPU the engine and a file's decoder want every core all of the time. A stage that has something
to do (a picture is decoded, boxes are there, Redis has answered) would wait for the end of such a thread's slice, 3 ms
and more, and a live frame meets that at each of its steps. Linux lets a thread of the policy SCHED_IDLE give way at
once, and it loses nothing by it: it gets what the others leave, which is what it got anyway
(docs/decisions/0008-priorities.md).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")

STEPS = 5
"""Of `nice`, where SCHED_IDLE won't do: a third of the weight beside a thread at 0 (1024 against 335, Linux' table)."""


def step_back() -> None:
    """Put the calling thread, and every thread that it starts from now on, behind the others. Not to be undone.

    Only its own process suffers where the process shares the machine as a group (a container, a unit of systemd, a
    session of a terminal with autogroup); beside strangers in the same group SCHED_IDLE would get nothing, so there it
    is a few steps of `nice`.
    """
    own = threading.get_native_id()  # to Linux a priority is a thread's
    if in_own_group():
        try:
            os.sched_setscheduler(own, os.SCHED_IDLE, os.sched_param(0))
        except OSError:  # a sandbox may know it not, or refuse it
            pass
        else:
            return
    os.setpriority(os.PRIO_PROCESS, own, os.getpriority(os.PRIO_PROCESS, own) + STEPS)


def behind(work: Callable[[], Result], *, wanted: bool = True) -> Result:
    """What `work` gives, where the threads that it starts shall stand behind, if that is wanted. Raises what it raises.

    It runs in a thread of its own: the calling one keeps its place.
    """
    if not wanted:
        return work()
    with ThreadPoolExecutor(1, "opening", step_back) as opening:
        return opening.submit(work).result()


def in_own_group(root: Path = Path("/")) -> bool:
    """Whether Linux shares out the cores between this process' group and others, before it looks at threads."""
    try:
        if (root / "proc/sys/kernel/sched_autogroup_enabled").read_text().strip() == "1":
            return True  # a group for each session, for all that are in no control group
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux as we know it: not known to be
        return False
    for line in groups:
        _, controllers, path = line.split(":", 2)
        folders = [root / "sys/fs/cgroup" / path.lstrip("/"), root / "sys/fs/cgroup"]
        if not controllers and any((folder / "cpu.weight").exists() for folder in folders):
            return True
        if "cpu" in controllers.split(",") and path != "/":
            return True
    return False
