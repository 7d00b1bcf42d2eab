"""What the logs look like, that no password is in them, and that a repeated line is held back and counted."""

from __future__ import annotations

import io
import json
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.config_file import load_config
from pipeline.logs import CHANGE, LogHandler, configure_logging, hide_in_logs
from tests.support.bad_input import ENVIRON, GOOD
from tests.support.clock import FakeClock

PASSWORD = "hunter2"
URL = f"rtsp://user:{PASSWORD}@cam/1"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    names = (None, "vedette", "pipeline", "stages", "engines")
    levels = {name: logging.getLogger(name).level for name in names}
    yield
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, LogHandler)]:
        root.removeHandler(handler)
        handler.close()
    logging.captureWarnings(False)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def human(clock: FakeClock, level: str = "info") -> io.StringIO:
    out = io.StringIO()
    configure_logging(level=level, format="human", clock=clock, stream=out)
    return out


def as_json(clock: FakeClock) -> io.StringIO:
    out = io.StringIO()
    configure_logging(format="auto", clock=clock, stream=out)
    return out


def entries(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


logger = logging.getLogger("pipeline.test")


def test_a_person_reads_time_level_source_text_and_fields(clock: FakeClock) -> None:
    out = human(clock)

    logger.warning("no packet for %.1f s", 4.0, extra={"stream": "gate", "attempt": 2})

    assert out.getvalue()[12:] == " WARNING no packet for 4.0 s  stream=gate  attempt=2\n"


def test_a_machine_reads_one_object_a_line_with_typed_fields(clock: FakeClock) -> None:
    out = as_json(clock)

    logger.info("connected", extra={"stream": "gate", "attempt": 2})

    (entry,) = entries(out)
    assert entry.pop("time")
    assert entry == {
        "level": "info",
        "logger": "pipeline.test",
        "thread": "MainThread",
        "message": "connected",
        "stream": "gate",
        "attempt": 2,
    }


def test_a_terminal_gets_the_human_form_and_colours(clock: FakeClock) -> None:
    out = Terminal()
    configure_logging(format="auto", clock=clock, stream=out)

    logger.warning("look")

    assert "\033[33m" in out.getvalue()
    assert not out.getvalue().startswith("{")


def test_our_level_is_ours_and_other_packages_speak_from_warnings_on(clock: FakeClock) -> None:
    out = human(clock, level="debug")

    logger.debug("ours")
    logging.getLogger("uvicorn").info("theirs")
    logging.getLogger("uvicorn").warning("their warning")

    assert [line.split()[2:] for line in out.getvalue().splitlines()] == [["ours"], ["their", "warning"]]


def fail() -> None:
    msg = f"cannot open {URL}"
    raise OSError(msg)


@pytest.mark.parametrize("make", [human, as_json])
def test_no_password_in_message_field_traceback_or_warning(
    make: type[io.StringIO], clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = make(clock)
    hide_in_logs([PASSWORD])

    logger.info("opening %s", URL)
    logger.info("opening", extra={"url": URL})
    logger.info("AUTH user %s", PASSWORD)
    try:
        fail()
    except OSError:
        logger.exception("failed")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"odd {URL}", stacklevel=1)

    text = out.getvalue()
    assert PASSWORD not in text
    assert text.count("***") >= 5


def test_a_hidden_word_is_found_in_json_whatever_its_letters(clock: FakeClock) -> None:
    out = as_json(clock)
    hide_in_logs(['q"uo\\te', "pässword"])

    logger.info("AUTH %s %s", 'q"uo\\te', "pässword")

    assert entries(out)[0]["message"] == "AUTH *** ***"


def test_what_a_configuration_holds_is_hidden_from_then_on(clock: FakeClock, tmp_path: Path) -> None:
    out = human(clock)
    (tmp_path / "site.yaml").write_text(GOOD.replace('8080"', '8080", token: "${TOKEN}"'))

    load_config(tmp_path / "site.yaml", ENVIRON | {"TOKEN": "open-sesame"})
    logger.info("AUTH user %s open-sesame", ENVIRON["GATE_PASSWORD"])

    assert "AUTH user *** ***" in out.getvalue()


def test_a_repeated_line_is_held_back_and_counted(clock: FakeClock) -> None:
    out = as_json(clock)
    for attempt in range(25):
        logger.warning("attempt %d failed after %.1f s", attempt, attempt / 2, extra={"stream": "gate"})
        clock.advance(0.5)

    said = entries(out)

    assert [entry["message"] for entry in said] == ["attempt 0 failed after 0.0 s", "attempt 20 failed after 10.0 s"]
    assert [entry.get("suppressed") for entry in said] == [None, 19]


def test_a_change_of_state_is_never_held_back(clock: FakeClock) -> None:
    out = as_json(clock)
    for state in ("streaming", "waiting", "streaming"):
        logger.info("stream gate: %s", state, extra={"stream": "gate", **CHANGE})

    said = entries(out)

    assert [entry["message"] for entry in said] == [f"stream gate: {s}" for s in ("streaming", "waiting", "streaming")]
    assert set(said[0]) == {"time", "level", "logger", "thread", "message", "stream"}


def test_another_stream_and_other_words_are_no_repeats(clock: FakeClock) -> None:
    out = as_json(clock)

    logger.info("stream is %s", "connecting", extra={"stream": "cam-1"})
    logger.info("stream is %s", "streaming", extra={"stream": "cam-1"})
    logger.info("stream is %s", "streaming", extra={"stream": "cam-2"})
    logger.info("cam-1 is up")
    logger.info("cam-2 is up")

    assert len(entries(out)) == 5


def test_what_was_held_back_is_told_at_the_end(clock: FakeClock) -> None:
    out = human(clock)
    for _ in range(4):
        logger.warning("again")

    logging.getLogger().handlers[-1].close()

    assert [line[21:].strip() for line in out.getvalue().splitlines()] == [
        "again",
        "again  (2 more like this were held back)",
    ]


def test_a_record_with_wrong_arguments_is_still_shown(clock: FakeClock) -> None:
    out = io.StringIO()
    handler = configure_logging(format="human", clock=clock, stream=out)

    handler.handle(logging.LogRecord("x", logging.WARNING, "x.py", 1, "%d frames", ("many",), None))

    assert "'%d frames' with ('many',)" in out.getvalue()


def test_control_characters_do_not_reach_the_terminal(clock: FakeClock) -> None:
    out = human(clock)

    logger.warning("camera says \x1b[2Jhello\r")

    assert "camera says ?[2Jhello?" in out.getvalue()


def test_a_closed_standard_error_ends_nothing(clock: FakeClock, capsys: pytest.CaptureFixture[str]) -> None:
    out = human(clock)
    out.close()

    logger.warning("nobody hears this: %s", URL)

    assert PASSWORD not in capsys.readouterr().err
    assert sys.stderr is not None
