"""Fixtures for all tests; the larger ones live in tests/support and are registered here."""

pytest_plugins: list[str] = [
    "tests.support.redis_server",
    "tests.support.rtsp",
]
