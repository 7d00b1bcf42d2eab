"""An engine with the two threads around it: one for all streams, or one for each GPU on which pictures stay.

A picture that lies on a GPU is analysed there: nothing of it crosses to another. So with `model.gpu.decode: gpu` every
GPU has an engine of its own, which one dispatcher feeds and one finisher empties, and the streams are dealt to them in
turn. Pictures in the host's memory go to any GPU: there one engine has lanes on all of them.
Called by `pipeline/assembly.py`, which starts the threads and ends them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from engines.engine import Engine
from engines.options import ModelOptions
from pipeline.config import Config
from pipeline.dispatch import Dispatcher
from pipeline.finish import Finisher
from stages.detect import Detect
from stages.options import StreamOptions
from stages.preprocess import Preprocess
from stages.suppress import Suppress
from stages.types import Clock, StreamId

logger = logging.getLogger(__name__)

# Of a camera the engine's next picture is chosen as late as can be. Where there are only files, so many more are ready
# for it: it is never idle, and what comes back is finished by fours (docs/decisions/0005-two-requests.md).
_AHEAD = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """`gpu`: the one on which its streams' pictures are decoded and stay; None: they are decoded on the CPU."""

    gpu: int | None
    engine: Engine
    dispatcher: Dispatcher
    finisher: Finisher
    names: tuple[str, str]
    """What its threads are called: the one that feeds the engine, the one that empties it."""


def open_analyses(config: Config, engine_opener: Callable[..., Engine], clock: Clock) -> tuple[Analysis, ...]:
    """Open every engine that the configuration asks for; streams are served as `analysis_of` says.

    Raises ModelError, EngineError, MissingExtraError.
    """
    ahead = pictures_ahead(config)
    gpus = _gpus(config.model)
    engines = []
    for index, gpu in enumerate(gpus):
        options = config.model if len(gpus) == 1 else _on(config.model, gpu)
        engines.append(
            engine_opener(
                options, now_ns=clock.mono_ns, at_most=config.batch.max, ahead=ahead, gives_way=True,
                one_size=repeats(config.streams[index :: len(gpus)]),
            )
        )  # fmt: skip
        logger.info("engine: %s", engines[-1].description)
    return tuple(
        _analysis(config, engine, gpu, config.streams[index :: len(gpus)], clock, alone=len(gpus) == 1)
        for index, (engine, gpu) in enumerate(zip(engines, gpus, strict=True))
    )


def pictures_ahead(config: Config) -> int:
    """How many pictures more than an engine works on at once wait in its own queue."""
    return _AHEAD if all(options.is_file for options in config.streams) else 0


def repeats(streams: Sequence[StreamOptions]) -> bool:
    """Whether an engine of these streams has to give the same numbers each time: a file's results repeat.

    How many pictures wait when a batch is begun is a matter of timing, so the size of what is run may not follow it.
    """
    return any(options.is_file for options in streams)


def analysis_of(index: int, analyses: Sequence[Analysis]) -> Analysis:
    """Which of them serves the stream that stands at `index` in the configuration."""
    return analyses[index % len(analyses)]


def _gpus(options: ModelOptions) -> tuple[int | None, ...]:
    if options.gpu.decode == "cpu":
        return (None,)
    return options.gpu.devices or (0,)


def _on(options: ModelOptions, gpu: int | None) -> ModelOptions:
    assert gpu is not None
    return msgspec.structs.replace(options, gpu=msgspec.structs.replace(options.gpu, devices=(gpu,)))


def _analysis(
    config: Config, engine: Engine, gpu: int | None, streams: Sequence[StreamOptions], clock: Clock, *, alone: bool
) -> Analysis:
    suppress = Suppress(engine.spec, config.model)
    dispatcher = Dispatcher(
        engine,
        Preprocess(engine.spec),
        {StreamId(options.id): options.is_file for options in streams},
        clock,
        batch_max=config.batch.max,
        wait_ns=int(config.batch.wait_ms * 1e6),
    )
    detect = Detect(engine.spec, score=suppress.score)
    return Analysis(
        gpu=gpu,
        engine=engine,
        dispatcher=dispatcher,
        finisher=Finisher(engine, dispatcher, detect, suppress, clock),
        names=("dispatch", "finish") if alone else (f"dispatch:{gpu}", f"finish:{gpu}"),
    )
