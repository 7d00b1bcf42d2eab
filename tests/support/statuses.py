"""A status as a running machine would give it, with every field filled: two streams, two sinks."""

from __future__ import annotations

from pipeline.ledger import SinkTotals, StreamTotals
from pipeline.status import ProcessReport, Quantiles, Readiness, SinkReport, Status, StreamReport

READY = Readiness(ready=True, reasons=[])
NOT_READY = Readiness(ready=False, reasons=["stream gate: waiting (refused)"])


def a_status() -> Status:
    totals = StreamTotals(
        decoded=120,
        published=70,
        rate_limited=30,
        superseded=11,
        failed={"no_timestamp": 1, "engine": 3},
        abandoned=2,
        in_flight=3,
        packets_damaged=5,
        packets_lost=6,
        reconnections={"refused": 2, "stall": 1},
    )
    latency = Quantiles(p50=12.5, p95=20.0, p99=31.0, count=70, sum_ms=900.0)
    gate = StreamReport(
        state="streaming",
        reason=None,
        since_s=12.5,
        epoch=3,
        url="rtsp://***@cam/gate",
        run="r-1",
        size=(640, 360),
        codec="h264",
        fps_decoded=25.0,
        fps_published=9.9,
        frozen=False,
        clock="rtcp",
        clock_error_ms=2.0,
        note="",
        latency_ms={"decode": latency, "total": latency},
        objects=4,
        last_wall_ns=1_790_000_000_500_000_000,
        totals=totals,
    )
    quiet = StreamReport(
        state="waiting",
        reason="refused",
        since_s=1.5,
        epoch=0,
        url="rtsp://***@cam/\"odd\"\\name",
        run="r-1",
        size=None,
        codec=None,
        fps_decoded=0.0,
        fps_published=0.0,
        frozen=True,
        clock=None,
        clock_error_ms=None,
        note="no packet for 4.0 s",
        latency_ms={},
        objects=0,
        last_wall_ns=None,
        totals=StreamTotals(
            decoded=0, published=0, rate_limited=0, superseded=0, failed={}, abandoned=0, in_flight=0,
            packets_damaged=0, packets_lost=0, reconnections={"refused": 7},
        ),
    )  # fmt: skip
    redis = SinkTotals(
        accepted_frames=70, accepted_events=9, recovered=4, delivered=60, dropped={"redis_away": 12, "queue_full": 3},
        spooled=5, waiting=3, resent=2,
    )  # fmt: skip
    jsonl = SinkTotals(
        accepted_frames=70, accepted_events=9, recovered=0, delivered=79, dropped={}, spooled=0, waiting=0, resent=0
    )
    return Status(
        version="1.2.3",
        started_wall_ns=1_780_000_000_000_000_000,
        uptime_s=90.5,
        model="yolo_nas_n",
        engine='OpenVINO "CPU", fp32',
        run="r-1",
        streams={"gate": gate, "yard-2": quiet},
        sinks={
            "redis": SinkReport(problem="redis away for 3 s", totals=redis),
            "jsonl": SinkReport(problem=None, totals=jsonl),
        },
        published=70,
        events=9,
        ledger_problems=[],
        threads=["dispatch", "finish", "http"],
        process=ProcessReport(cpu_s=33.25, rss_bytes=200_000_000, open_files=42),
    )
