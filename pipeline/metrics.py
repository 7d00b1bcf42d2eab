"""The status as Prometheus wants it: every number is read from one `Status`, so metrics and status can't disagree.

In:  Status and Readiness. Out: the text of /metrics. Called from `pipeline/http.py`, once a scrape.

Names are `vedette_<noun>_<unit>[_total]`; what Prometheus itself has names for (`process_…`) goes by those. Labels are
`stream`, `sink`, `stage`, `state`, `kind`, `outcome` and `reason`, all of them out of short closed lists. Counters with
reasons are there from the start, at 0: a series that appears with its first loss hides that loss from `rate()`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import get_args

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from pipeline.ledger import DropReason, FailedReason
from pipeline.status import Readiness, SinkReport, Status, StreamReport
from vedette.messages import ReasonName, StreamStateName

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]
Sample = tuple[Labels, float]


def render(status: Status, readiness: Readiness) -> bytes:
    """The text of /metrics, UTF-8."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(metrics(status, readiness)))
    return generate_latest(registry)


def metrics(status: Status, readiness: Readiness) -> list[Metric]:
    """Every metric with its samples, in the order of the documentation."""
    return [*_of_process(status, readiness), *_of_streams(status.streams), *_of_sinks(status.sinks)]


class _Once(Collector):
    def __init__(self, collected: Sequence[Metric]) -> None:
        self._collected = collected

    def collect(self) -> Iterable[Metric]:
        return self._collected


def _of_process(status: Status, readiness: Readiness) -> Iterable[Metric]:
    about = {"version": status.version, "model": status.model, "engine": status.engine, "run": status.run}
    yield _gauge("vedette_build_info", "Always 1; the labels say what runs.", [(about, 1)])
    yield _gauge("vedette_ready", "1 while frames are flowing, as /readyz says.", [({}, readiness.ready)])
    yield _gauge("vedette_uptime_seconds", "Time since the start.", [({}, status.uptime_s)])
    yield _gauge(
        "vedette_ledger_problems", "Accounts that do not balance; anything but 0 is a bug.",
        [({}, len(status.ledger_problems))],
    )  # fmt: skip
    yield _gauge("vedette_threads", "Living threads.", [({}, len(status.threads))])
    yield _counter(
        "vedette_frames_published_total", "Frames handed to the sinks, all streams.", [({}, status.published)]
    )
    yield _counter("vedette_events_published_total", "Events handed to the sinks, all streams.", [({}, status.events)])
    yield _counter("process_cpu_seconds_total", "CPU time used, user and system.", [({}, status.process.cpu_s)])
    yield _gauge("process_resident_memory_bytes", "Resident memory.", [({}, status.process.rss_bytes)])
    yield _gauge("process_open_fds", "Open file descriptors.", [({}, status.process.open_files)])
    yield _gauge(
        "process_start_time_seconds", "When the process started, Unix time.", [({}, status.started_wall_ns / 1e9)]
    )


def _of_streams(streams: Mapping[str, StreamReport]) -> Iterable[Metric]:
    def each(value: Callable[[StreamReport], float | None]) -> list[Sample]:
        values = ((name, value(report)) for name, report in streams.items())
        return [({"stream": name}, number) for name, number in values if number is not None]

    def by(label: str, words: Sequence[str], value: Callable[[StreamReport, str], float]) -> list[Sample]:
        return [({"stream": name, label: word}, value(r, word)) for name, r in streams.items() for word in words]

    yield _gauge(
        "vedette_stream_state", "1 for the state that the stream is in, 0 for the others.",
        by("state", get_args(StreamStateName), lambda r, state: r.state == state),
    )  # fmt: skip
    yield _gauge(
        "vedette_stream_state_seconds", "How long the stream has been in its state.", each(lambda r: r.since_s)
    )
    yield _gauge("vedette_stream_epoch", "Reconnections so far that brought frames again.", each(lambda r: r.epoch))
    yield _gauge("vedette_stream_frozen", "1 while the pictures do not change.", each(lambda r: r.frozen))
    yield _gauge("vedette_stream_decoded_frames_per_second", "Frames decoded, lately.", each(lambda r: r.fps_decoded))
    yield _gauge(
        "vedette_stream_published_frames_per_second", "Frames published, lately.", each(lambda r: r.fps_published)
    )
    yield _gauge("vedette_stream_objects", "Tracked objects in the last frame.", each(lambda r: r.objects))
    yield _gauge(
        "vedette_stream_last_frame_timestamp_seconds", "When the last published frame was captured, Unix time.",
        each(lambda r: None if r.last_wall_ns is None else r.last_wall_ns / 1e9),
    )  # fmt: skip
    yield _gauge(
        "vedette_stream_clock_error_seconds", "How far off the time of capture may be.",
        each(lambda r: None if r.clock_error_ms is None else r.clock_error_ms / 1e3),
    )  # fmt: skip
    yield _latency(streams)
    yield _counter("vedette_frames_decoded_total", "Frames that left the decoder.", each(lambda r: r.totals.decoded))
    outcomes = ("published", "rate_limited", "superseded", "abandoned")
    yield _counter(
        "vedette_frames_total", "Frames by what became of them; failed ones are in vedette_frames_failed_total.",
        by("outcome", outcomes, lambda r, outcome: getattr(r.totals, outcome)),
    )  # fmt: skip
    yield _counter(
        "vedette_frames_failed_total", "Frames that could not be analysed.",
        by("reason", get_args(FailedReason), lambda r, reason: r.totals.failed.get(reason, 0)),
    )  # fmt: skip
    yield _gauge("vedette_frames_in_flight", "Frames on their way.", each(lambda r: r.totals.in_flight))
    yield _counter(
        "vedette_packets_damaged_total", "Packets that the decoder could not read.",
        each(lambda r: r.totals.packets_damaged),
    )  # fmt: skip
    yield _counter("vedette_packets_lost_total", "Packets that never arrived.", each(lambda r: r.totals.packets_lost))
    yield _counter(
        "vedette_reconnections_total", "Times that the stream had to be opened again.",
        by("reason", get_args(ReasonName), lambda r, reason: r.totals.reconnections.get(reason, 0)),
    )  # fmt: skip


def _latency(streams: Mapping[str, StreamReport]) -> Metric:
    name = "vedette_stream_latency_seconds"
    metric = Metric(name, "Time that frames spend in each stage, and in total from arrival to every sink.", "summary")
    for stream, report in streams.items():
        for stage, took in report.latency_ms.items():
            labels = {"stream": stream, "stage": stage}
            for quantile, value_ms in (("0.5", took.p50), ("0.95", took.p95), ("0.99", took.p99)):
                metric.add_sample(name, {**labels, "quantile": quantile}, value_ms / 1e3)
            metric.add_sample(f"{name}_sum", labels, took.sum_ms / 1e3)
            metric.add_sample(f"{name}_count", labels, took.count)
    return metric


def _of_sinks(sinks: Mapping[str, SinkReport]) -> Iterable[Metric]:
    def each(value: Callable[[SinkReport], float]) -> list[Sample]:
        return [({"sink": name}, value(report)) for name, report in sinks.items()]

    yield _gauge("vedette_sink_problem", "1 while the sink has a problem.", each(lambda r: r.problem is not None))
    accepted = [
        ({"sink": name, "kind": kind}, count)
        for name, report in sinks.items()
        for kind, count in (("frame", report.totals.accepted_frames), ("event", report.totals.accepted_events))
    ]
    yield _counter("vedette_sink_accepted_total", "Messages that the sink was handed.", accepted)
    yield _counter(
        "vedette_sink_recovered_total", "Events found in the spool at start.", each(lambda r: r.totals.recovered)
    )
    yield _counter(
        "vedette_sink_gaps_total", "Events of the sink's own that tell what it dropped.", each(lambda r: r.totals.gaps)
    )
    yield _counter("vedette_sink_delivered_total", "Messages delivered.", each(lambda r: r.totals.delivered))
    dropped = [
        ({"sink": name, "reason": reason}, report.totals.dropped.get(reason, 0))
        for name, report in sinks.items()
        for reason in get_args(DropReason)
    ]
    yield _counter("vedette_sink_dropped_total", "Messages that were not delivered and never will be.", dropped)
    yield _counter(
        "vedette_sink_resent_total", "Messages sent again; no new deliveries.", each(lambda r: r.totals.resent)
    )
    yield _gauge("vedette_sink_waiting_messages", "Messages in the sink's queue.", each(lambda r: r.totals.waiting))
    yield _gauge(
        "vedette_sink_spooled_messages", "Events on disk, promised and not delivered yet.",
        each(lambda r: r.totals.spooled),
    )  # fmt: skip


def _gauge(name: str, about: str, samples: Iterable[Sample]) -> Metric:
    metric = Metric(name, about, "gauge")
    for labels, value in samples:
        metric.add_sample(name, dict(labels), float(value))
    return metric


def _counter(name: str, about: str, samples: Iterable[Sample]) -> Metric:
    metric = Metric(name.removesuffix("_total"), about, "counter")
    for labels, value in samples:
        metric.add_sample(name, dict(labels), float(value))
    return metric
