"""What one stream does to the others: nothing, wherever it is held up."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

import pytest

from stages.source import Decoded
from tests.support.core import LIMIT_S
from tests.support.machine import Pictures, Running, decoded
from tests.support.outlets import eventually

PICTURES = 20


def never_connects(release: threading.Event) -> Pictures:
    def pictures(_: threading.Event) -> Iterator[Decoded]:
        release.wait(LIMIT_S)
        return iter(())

    return pictures


def stops_sending(release: threading.Event) -> Pictures:
    def pictures(_: threading.Event) -> Iterator[Decoded]:
        yield decoded(0)
        release.wait(LIMIT_S)

    return pictures


@pytest.mark.parametrize("held_up", [never_connects, stops_sending])
def test_stream_that_is_held_up_holds_nobody_else(held_up: Callable[[threading.Event], Pictures]) -> None:
    release, sends = threading.Event(), queue.SimpleQueue[int]()

    def steady(stop: threading.Event) -> Iterator[Decoded]:
        for _ in range(PICTURES):
            yield decoded(sends.get(timeout=LIMIT_S))
        stop.wait(LIMIT_S)

    run = Running(cameras={"slow": held_up(release), "steady": steady}, shutdown_s=0.3).start()
    try:
        # Each is sent when the one before is out: none supersedes another.
        for number in range(PICTURES):
            sends.put(number)
            eventually(lambda: len(run.outlet.frames("steady")) > number, within_s=10.0)  # noqa: B023 - called at once
    finally:
        release.set()
        for _ in range(PICTURES):
            sends.put(0)
        outcome = run.stop()
    assert outcome.ledger_problems == []
    assert outcome.ledger.streams["steady"].published == PICTURES
