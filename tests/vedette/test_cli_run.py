"""`vedette run` itself: signals, the summary, the exit status. Whole runs: tests/system."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.assembly import Outcome
from pipeline.ledger import Ledger, LedgerTotals
from stages.types import StreamId
from vedette.cli.run import StopSignals, exit_status, print_summary, summary_lines

GATE = StreamId("gate")


@pytest.fixture
def handlers() -> Iterator[None]:
    """The handlers of SIGTERM and SIGINT as they were."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_asks_for_an_orderly_end(number: signal.Signals) -> None:
    asked: list[str] = []
    StopSignals().ask(lambda: asked.append("stop"))
    signal.raise_signal(number)
    assert asked == ["stop"]


@pytest.mark.usefixtures("handlers")
def test_a_signal_that_comes_before_there_is_anything_to_stop_is_remembered() -> None:
    asked: list[str] = []
    stop = StopSignals()
    signal.raise_signal(signal.SIGTERM)
    assert asked == []
    stop.ask(lambda: asked.append("stop"))
    assert asked == ["stop"]


def test_the_second_signal_ends_the_process_at_once() -> None:
    code = """
import signal
from vedette.cli.run import StopSignals
StopSignals(at_once=lambda: print("tidied up", flush=True)).ask(lambda: print("asked", flush=True))
signal.raise_signal(signal.SIGINT)
signal.raise_signal(signal.SIGTERM)
print("never said")
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (143, "asked\ntidied up\n", "")


def ledger() -> Ledger:
    """One frame published, of which the sink dropped nothing yet, and one that failed."""
    made = Ledger()
    made.open_stream(GATE)
    made.open_sink("redis")
    for seq in range(2):
        made.decoded(GATE, seq)
    made.published(GATE, 0)
    made.failed(GATE, 1, "engine")
    return made


def outcome(totals: LedgerTotals, **changes: Any) -> Outcome:
    values: dict[str, Any] = {"status": SimpleNamespace(), "ledger": totals, "failed": {}, "left_behind": ()}
    return Outcome(**(values | changes))


def test_the_summary_accounts_for_every_frame_and_message() -> None:
    made = ledger()
    made.delivered("redis")
    ended = outcome(made.totals())
    said = "\n".join(summary_lines(ended))
    assert "2 decoded = 1 published + 1 failed (engine 1)" in said
    assert "1 frames = 1 delivered\n" in said
    assert "The ledger balances." in said
    assert exit_status(ended) == 0


def test_a_message_that_still_waits_is_a_fault_of_the_ledger(capsys: pytest.CaptureFixture[str]) -> None:
    ended = outcome(ledger().totals())
    assert exit_status(ended) == 71
    print_summary(ended, as_json=True)
    assert json.loads(capsys.readouterr().out)["ledger_problems"] == ["sink redis: 1 messages still wait"]
    assert "THE LEDGER DOES NOT BALANCE:\n  sink redis: 1 messages" in "\n".join(summary_lines(ended))


def test_a_frame_that_was_forgotten_is_a_fault_of_the_ledger() -> None:
    made = ledger()
    made.delivered("redis")
    made.decoded(GATE, 2)
    ended = outcome(made.totals(), failed={"gate": "not_found"})
    assert ended.ledger_problems == ["stream gate: 1 frames were never accounted for"]
    assert exit_status(ended) == 71


def test_a_stream_that_failed_for_ever_is_named() -> None:
    made = ledger()
    made.delivered("redis")
    ended = outcome(made.totals(), failed={"gate": "not_found"})
    assert exit_status(ended) == 3
    assert any(line.endswith("FAILED: not_found") for line in summary_lines(ended))
