"""What the engines of a configuration are told when they are opened."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from engines.engine import Engine
from engines.options import GpuOptions, ModelOptions
from pipeline.analysis import open_analyses
from pipeline.config import Config
from stages.options import JsonlSinkOptions, StreamOptions
from tests.support.clock import FakeClock
from tests.support.scripted_engine import ScriptedEngine
from vedette.secrets import SecretUrl

Mode = Literal["file", "live"]


def told(modes: str, gpu: GpuOptions) -> list[bool]:
    """Whether every run has the full batch, by engine; a letter a stream: f for a file, l for a live one."""
    kinds: dict[str, Mode] = {"f": "file", "l": "live"}
    config = Config(
        version=1,
        model=ModelOptions(path="none", gpu=gpu),
        streams=tuple(
            StreamOptions(id=f"s{index}", url=SecretUrl("none.mkv"), mode=kinds[letter])
            for index, letter in enumerate(modes)
        ),
        sinks=(JsonlSinkOptions(path="none"),),
    )
    asked: list[bool] = []

    def opener(options: ModelOptions, *, one_size: bool, **_: Any) -> Engine:
        asked.append(one_size)
        return ScriptedEngine()

    for analysis in open_analyses(config, opener, FakeClock()):
        analysis.engine.close()
    return asked


@pytest.mark.parametrize(("modes", "one_size"), [("ll", False), ("lf", True), ("ff", True)])
def test_engine_with_a_file_among_its_streams_runs_one_size_of_batch(modes: str, one_size: bool) -> None:
    assert told(modes, GpuOptions()) == [one_size]


def test_engine_of_a_gpu_asks_its_own_streams() -> None:
    assert told("lflf", GpuOptions(decode="gpu", devices=(0, 1))) == [False, True]
