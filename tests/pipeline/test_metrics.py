"""/metrics says what the status says, in a form that Prometheus reads."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.ledger import DropReason, FailedReason, SinkTotals, StreamTotals
from pipeline.metrics import metrics, render
from pipeline.status import Readiness, Status
from tests.support.statuses import NOT_READY, READY, a_status
from vedette.messages import ReasonName, StreamStateName

Key = tuple[str, frozenset[tuple[str, str]]]


def scraped(status: Status, readiness: Readiness = READY) -> dict[Key, float]:
    text = render(status, readiness).decode()
    found: dict[Key, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def value(name: str, **labels: str) -> float:
    return scraped(a_status())[name, frozenset(labels.items())]


def test_every_column_of_a_streams_ledger_is_there() -> None:
    totals = a_status().streams["gate"].totals
    columns = {
        "decoded": value("vedette_frames_decoded_total", stream="gate"),
        "published": value("vedette_frames_total", stream="gate", outcome="published"),
        "rate_limited": value("vedette_frames_total", stream="gate", outcome="rate_limited"),
        "superseded": value("vedette_frames_total", stream="gate", outcome="superseded"),
        "failed": {r: value("vedette_frames_failed_total", stream="gate", reason=r) for r in totals.failed},
        "abandoned": value("vedette_frames_total", stream="gate", outcome="abandoned"),
        "in_flight": value("vedette_frames_in_flight", stream="gate"),
        "packets_damaged": value("vedette_packets_damaged_total", stream="gate"),
        "packets_lost": value("vedette_packets_lost_total", stream="gate"),
        "reconnections": {
            r: value("vedette_reconnections_total", stream="gate", reason=r) for r in totals.reconnections
        },
    }

    assert columns == msgspec.to_builtins(totals)
    assert set(columns) == {field.name for field in msgspec.structs.fields(StreamTotals)}


def test_every_column_of_a_sinks_ledger_is_there() -> None:
    totals = a_status().sinks["redis"].totals
    columns = {
        "accepted_frames": value("vedette_sink_accepted_total", sink="redis", kind="frame"),
        "accepted_events": value("vedette_sink_accepted_total", sink="redis", kind="event"),
        "recovered": value("vedette_sink_recovered_total", sink="redis"),
        "delivered": value("vedette_sink_delivered_total", sink="redis"),
        "dropped": {r: value("vedette_sink_dropped_total", sink="redis", reason=r) for r in totals.dropped},
        "spooled": value("vedette_sink_spooled_messages", sink="redis"),
        "waiting": value("vedette_sink_waiting_messages", sink="redis"),
        "resent": value("vedette_sink_resent_total", sink="redis"),
        "gaps": value("vedette_sink_gaps_total", sink="redis"),
    }

    assert columns == msgspec.to_builtins(totals)
    assert set(columns) == {field.name for field in msgspec.structs.fields(SinkTotals)}


@pytest.mark.parametrize(
    ("name", "label", "words"),
    [
        ("vedette_frames_failed_total", "reason", get_args(FailedReason)),
        ("vedette_reconnections_total", "reason", get_args(ReasonName)),
        ("vedette_stream_state", "state", get_args(StreamStateName)),
    ],
)
def test_every_reason_and_state_has_a_series_from_the_start(name: str, label: str, words: tuple[str, ...]) -> None:
    series = scraped(a_status())

    assert {dict(labels)[label] for found, labels in series if found == name} == set(words)


def test_every_reason_to_drop_has_a_series_from_the_start() -> None:
    series = scraped(a_status())

    for reason in get_args(DropReason):
        assert series["vedette_sink_dropped_total", frozenset({("sink", "jsonl"), ("reason", reason)})] == 0.0


def test_a_stream_is_in_exactly_one_state() -> None:
    states = {s: value("vedette_stream_state", stream="yard-2", state=s) for s in get_args(StreamStateName)}

    assert states == {**dict.fromkeys(states, 0.0), "waiting": 1.0}


def test_latencies_are_seconds_by_stage_and_quantile() -> None:
    labels = {"stream": "gate", "stage": "total"}

    assert value("vedette_stream_latency_seconds", **labels, quantile="0.95") == pytest.approx(0.02)
    assert value("vedette_stream_latency_seconds_sum", **labels) == pytest.approx(0.9)
    assert value("vedette_stream_latency_seconds_count", **labels) == 70


def test_what_is_unknown_has_no_series() -> None:
    series = scraped(a_status())

    assert ("vedette_stream_last_frame_timestamp_seconds", frozenset({("stream", "yard-2")})) not in series
    assert ("vedette_stream_clock_error_seconds", frozenset({("stream", "yard-2")})) not in series


def test_readiness_problems_and_the_process_are_there() -> None:
    series = scraped(a_status(), NOT_READY)

    assert series["vedette_ready", frozenset()] == 0
    assert series["vedette_ledger_problems", frozenset()] == 0
    assert series["vedette_sink_problem", frozenset({("sink", "redis")})] == 1
    assert series["vedette_sink_problem", frozenset({("sink", "jsonl")})] == 0
    assert series["process_cpu_seconds_total", frozenset()] == 33.25
    assert series["process_resident_memory_bytes", frozenset()] == 200_000_000
    assert series["process_open_fds", frozenset()] == 42
    assert series["process_start_time_seconds", frozenset()] == 1_780_000_000
    about = next(dict(labels) for name, labels in series if name == "vedette_build_info")
    assert about == {"version": "1.2.3", "model": "yolo_nas_n", "engine": 'OpenVINO "CPU", fp32', "run": "r-1"}


def test_every_metric_has_help_and_a_name_by_the_rule() -> None:
    for metric in metrics(a_status(), READY):
        assert metric.documentation.endswith(".")
        assert metric.name.startswith(("vedette_", "process_"))
        for sample in metric.samples:
            assert sample.name.endswith("_total") == (metric.type == "counter")


def test_no_url_is_a_label() -> None:
    assert b"rtsp" not in render(a_status(), READY)


def test_a_machine_without_streams_can_be_rendered() -> None:
    empty = msgspec.structs.replace(a_status(), streams={}, sinks={})

    assert ("vedette_ready", frozenset()) in scraped(empty)
