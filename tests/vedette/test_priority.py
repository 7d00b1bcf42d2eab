"""Threads that give way: which way on which machine, and to whom."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import vedette.priority as priority
from vedette.priority import STEPS, behind, in_own_group, step_back

Place = tuple[int, int]


def place() -> Place:
    """Policy and `nice` of the calling thread."""
    return os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)


def in_a_new_thread(work: Callable[[], Place]) -> Place:
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(work).result()


def after_stepping_back() -> Place:
    step_back()
    return place()


def test_a_thread_gives_way_at_once_in_a_group_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(priority, "in_own_group", lambda: True)
    policy, nice = place()
    assert policy == os.SCHED_OTHER

    assert in_a_new_thread(after_stepping_back) == (os.SCHED_IDLE, nice)
    assert place() == (policy, nice)


def test_beside_strangers_it_keeps_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(priority, "in_own_group", lambda: False)
    policy, nice = place()

    assert in_a_new_thread(after_stepping_back) == (policy, min(19, nice + STEPS))
    assert place() == (policy, nice)


def test_where_a_sandbox_refuses_it_is_a_matter_of_nice(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(priority, "in_own_group", lambda: True)
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    policy, nice = place()

    assert in_a_new_thread(after_stepping_back) == (policy, min(19, nice + STEPS))


def test_threads_that_work_starts_stay_behind_and_the_calling_one_does_not() -> None:
    own = place()

    started = behind(lambda: in_a_new_thread(place))

    assert started != own
    assert place() == own


def test_what_work_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        behind(lambda: 1 // 0)


@pytest.mark.parametrize(
    ("files", "own"),
    [
        ({"proc/sys/kernel/sched_autogroup_enabled": "1\n"}, True),
        ({"proc/sys/kernel/sched_autogroup_enabled": "0\n", "proc/self/cgroup": "0::/\n"}, False),
        (
            {
                "proc/sys/kernel/sched_autogroup_enabled": "0\n",
                "proc/self/cgroup": "0::/system.slice/vedette.service\n",
                "sys/fs/cgroup/system.slice/vedette.service/cpu.weight": "100\n",
            },
            True,
        ),
        (
            {
                "proc/sys/kernel/sched_autogroup_enabled": "0\n",
                "proc/self/cgroup": "0::/system.slice/vedette.service\n",
                "sys/fs/cgroup/system.slice/vedette.service/memory.max": "max\n",
            },
            False,
        ),
        (  # a container sees its own group as the mount's top
            {
                "proc/sys/kernel/sched_autogroup_enabled": "0\n",
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/cpu.weight": "100\n",
            },
            True,
        ),
        (
            {
                "proc/sys/kernel/sched_autogroup_enabled": "0\n",
                "proc/self/cgroup": "4:memory:/docker/1\n3:cpu,cpuacct:/docker/1\n0::/\n",
            },
            True,
        ),
        ({"proc/sys/kernel/sched_autogroup_enabled": "0\n", "proc/self/cgroup": "1:cpu,cpuacct:/\n0::/\n"}, False),
        ({}, False),
    ],
)
def test_whose_group_it_is(tmp_path: Path, files: dict[str, str], own: bool) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    assert in_own_group(tmp_path) is own
