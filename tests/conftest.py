"""Fixtures for all tests; the larger ones live in tests/support and are registered here."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from pipeline.logs import LogHandler

# No timing assertions: how long an example takes is the machine's affair. In CI the same examples at every run.
settings.register_profile("vedette", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("vedette")

pytest_plugins: list[str] = [
    "tests.support.redis_server",
    "tests.support.subscribers",
    "tests.support.rtsp",
    "tests.support.http_camera",
]


def pytest_configure() -> None:
    # A shell that starts a job in the background lets it ignore SIGINT, and what it starts inherits that: `vedette`
    # would ignore it too, as it should, and the tests that send it would wait for ever.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Undo `configure_logging`, which commands that a test runs in this process call."""
    names = (None, "pipeline", "stages", "engines", "vedette")
    levels = {name: logging.getLogger(name).level for name in names}
    yield
    logging.captureWarnings(False)
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, LogHandler)]:
        root.removeHandler(handler)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
