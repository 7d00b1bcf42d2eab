"""Where the real clips, teachers and data lie, on machines that have them; the tests pass without."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).resolve().parents[3] / "shared"

SHARED: Path | None = _FOLDER if (_FOLDER / "clips").is_dir() else None
"""The folder beside the repository, or None."""
