"""docs/security.md: what it names as proof is there; and the claims that nothing else proves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")
NAMED = sorted(set(re.findall(r"`((?:tests|pipeline|stages|deploy|constraints)/[\w./]+)(?:::(\w+))?`", PAGE)))


@pytest.mark.parametrize(("path", "test"), NAMED)
def test_what_the_page_names_exists(path: str, test: str) -> None:
    assert (ROOT / path).exists()
    if test:
        assert re.search(rf"^ *def {test}\(", (ROOT / path).read_text("utf-8"), re.MULTILINE)


def test_every_row_of_the_page_names_a_proof() -> None:
    rows = [
        line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| Protected", "| ---"))
    ]

    assert len(rows) >= 20
    for row in rows:
        assert re.search(r"\| `[^|]+` \|$", row), row


def test_the_unit_is_confined() -> None:
    lines = (ROOT / "deploy" / "vedette.service").read_text("utf-8").splitlines()

    assert {
        "DynamicUser=yes",
        "UMask=0077",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "AmbientCapabilities=",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "PrivateTmp=yes",
        "PrivateDevices=yes",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
        "SystemCallFilter=@system-service",
        "LimitCORE=0",
    } <= set(lines)
