"""From pictures to rounded weights, and to the range of every tensor that is rounded."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

from engines.quantize import cache
from engines.quantize.cache import Cached, Found, Key
from engines.quantize.graph import Graph, quantizable
from engines.quantize.histogram import Histogram
from engines.quantize.options import QuantizeOptions
from engines.quantize.placement import Placement
from engines.quantize.ranges import Range, range_of
from engines.quantize.rounding import round_all
from engines.quantize.statistics import Progress, collect
from engines.quantize.windows import Moments, windows_of
from engines.spec import InputSpec

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """What was found in the pictures; `remark` says what was wrong with an older cache, "" if nothing was."""

    found: Found
    cached: bool
    remark: str


def see(
    graph: Graph,
    tensors: Sequence[str],
    images: Sequence[Path],
    spec: InputSpec,
    options: QuantizeOptions,
    *,
    key: Key,
    name: str,
    cache_dir: Path | None,
    progress: Progress,
) -> Seen:
    """Histograms of `tensors` at least, and rounded weights: out of the cache, or of the pictures (and then kept)."""
    path = None if cache_dir is None else cache.cache_path(cache_dir, name, key)
    cached = Cached(found=None, problem="") if path is None else cache.read(path, key)
    remark = cached.problem
    known: tuple[str, ...] = ()
    if cached.found is not None:
        known = tuple(cached.found.histograms)
        lacking = [tensor for tensor in tensors if tensor not in known]
        if not lacking:
            return Seen(found=cached.found, cached=True, remark="")
        remark = f"{path}: the calibration cache lacks {len(lacking)} tensors, {lacking[0]!r} among them; made anew"
    if remark:
        logger.warning("%s", remark)
    convolutions = [node for node in graph.nodes if quantizable(graph, node)]
    moments = None
    if options.rounding == "compensated":
        moments = Moments(windows for node in convolutions if (windows := windows_of(graph, node)) is not None)
    histograms = collect(graph, [*known, *tensors], images, spec, moments=moments, progress=progress)
    rounded = round_all(graph, convolutions, moments, per_channel=options.per_channel)
    found = Found(histograms=histograms, rounded=rounded)
    if path is not None:
        cache.write(path, key, found)
    return Seen(found=found, cached=False, remark=remark)


def ranges_of(
    placement: Placement,
    histograms: Mapping[str, Histogram],
    options: QuantizeOptions,
    graph_inputs: Mapping[str, Range],
) -> dict[str, Range]:
    """The range of every tensor that has a Q/DQ pair, the same within a group.

    `graph_inputs`: the ranges of inputs, which are known: a picture's bytes are then taken as they are, and nothing is
    lost.
    """
    ranges: dict[str, Range] = {}
    for group in placement.groups:
        if set(group.sources) <= set(graph_inputs):
            extent = reduce(Range.union, (graph_inputs[source] for source in group.sources))
        else:
            together = reduce(Histogram.plus, (histograms[source] for source in group.sources))
            extent = range_of(together, options.method, percentile=options.percentile)
        ranges.update(dict.fromkeys(group.tensors, extent))
    return ranges


def input_range(spec: InputSpec) -> Range:
    """What values a picture's levels 0..255 become (engines/picture.py, step 4), and zero."""
    ends = [
        (level * spec.scale - mean) / std
        for level in (0.0, 255.0)
        for mean, std in zip(spec.mean, spec.std, strict=True)
    ]
    return Range(low=min(0.0, *ends), high=max(0.0, *ends))
