"""SIGTERM takes away what a command has half made."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.outlets import eventually


def test_synth_leaves_no_part_folder(tmp_path: Path) -> None:
    words = ["synth", str(tmp_path / "street"), "--seconds", "3000"]
    with subprocess.Popen([sys.executable, "-m", "vedette", *words]) as command:
        try:
            eventually(lambda: any(tmp_path.glob(".street-*/*")))
            command.terminate()
            assert command.wait(30) == 130
        finally:
            command.kill()

    assert list(tmp_path.iterdir()) == []
