"""Fixtures for all tests; the larger ones live in tests/support and are registered here."""

from __future__ import annotations

import os

from hypothesis import settings

# No timing assertions: how long an example takes is the machine's affair. In CI the same examples at every run.
settings.register_profile("vedette", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("vedette")

pytest_plugins: list[str] = [
    "tests.support.redis_server",
    "tests.support.subscribers",
    "tests.support.rtsp",
    "tests.support.http_camera",
]
