"""Status and readiness: ready means that frames flow, with a reason when not."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import msgspec

from pipeline.ledger import SinkTotals
from pipeline.status import as_json
from stages.source import Decoded
from tests.support.core import LIMIT_S
from tests.support.machine import Running, camera, decoded, film
from tests.support.outlets import eventually
from vedette.errors import SourceError


def flowing(stop: threading.Event) -> Iterator[Decoded]:
    number = 0
    while not stop.wait(0.005):
        yield decoded(number)
        number += 1


def broken(_: threading.Event) -> Iterator[Decoded]:
    raise SourceError("no such host", reason="unresolved", fatal=True)
    yield


def test_before_anything_flows_it_is_not_ready_and_says_of_whom() -> None:
    run = Running(cameras={"gate": camera(0), "yard": camera(0)})
    readiness = run.machine.readiness()
    assert not readiness.ready
    assert readiness.reasons == ["stream gate: connecting", "stream yard: connecting"]


def test_one_dead_camera_is_named_and_does_not_make_the_others_unready() -> None:
    run = Running(cameras={"gate": flowing, "yard": broken}).start()
    eventually(lambda: run.machine.readiness().ready)
    eventually(lambda: run.machine.readiness().reasons == ["stream yard: failed (unresolved)"])
    run.stop()


def test_a_camera_that_streams_without_a_frame_coming_out_does_not_flow() -> None:
    run = Running(cameras={"gate": camera(1)}).start()
    run.outlet.wait_frames(1)
    readiness = run.machine.readiness()
    assert not readiness.ready
    assert readiness.reasons == ["stream gate: streaming"]
    run.stop()


def test_a_sink_with_a_problem_makes_it_unready() -> None:
    run = Running(cameras={"gate": flowing}).start()
    eventually(lambda: run.machine.readiness().ready)
    run.outlet.problem = lambda: "redis://redis:6379: away"  # type: ignore[method-assign]
    readiness = run.machine.readiness()
    assert not readiness.ready
    assert readiness.reasons == ["sink collector: redis://redis:6379: away"]
    assert run.machine.status().sinks["collector"].problem == "redis://redis:6379: away"
    run.stop()


def test_a_file_that_has_ended_has_flowed() -> None:
    run = Running(files={"a": film(3)}).start()
    run.join()
    assert run.machine.readiness().ready


def test_the_status_tells_it_all_and_balances() -> None:
    release = threading.Event()

    def last(_: threading.Event) -> Iterator[Decoded]:
        yield from (decoded(number) for number in range(5))
        release.wait(LIMIT_S)

    run = Running(files={"a": last}).start()
    run.outlet.wait_frames(5)
    eventually(lambda: "total" in run.machine.status().streams["a"].latency_ms)
    status = run.machine.status()
    stream = status.streams["a"]
    assert (stream.state, stream.codec, stream.size, stream.objects) == ("streaming", "grey", (64, 32), 1)
    assert stream.clock == "file"
    assert stream.run == run.outlet.frames()[0].message.run
    assert stream.run != status.run
    assert stream.totals.published == status.published == 5
    assert stream.latency_ms["total"].count == 5
    assert status.model == "scripted"
    assert {"source:a", "dispatch", "finish"} <= set(status.threads)
    assert status.ledger_problems == []
    assert status.process.rss_bytes > 1 << 20
    assert status.process.open_files > 0
    plain = msgspec.json.decode(as_json(status))
    assert msgspec.convert(plain["sinks"]["collector"]["totals"], SinkTotals) == status.sinks["collector"].totals
    release.set()
    run.join()
