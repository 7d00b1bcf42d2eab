"""The import rules of the house, and that the public face needs next to nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("cv2", "av", "openvino", "onnxruntime", "numpy", "norfair", "scipy", "rich", "starlette", "uvicorn", "torch")


def test_the_rooms_import_only_what_they_may() -> None:
    lint = Path(sys.executable).parent / "lint-imports"

    ended = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)

    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize(
    "statement",
    [
        "import vedette; vedette.Subscriber; vedette.AsyncSubscriber",
        "import vedette.messages",
        "import vedette.client",
        "from vedette.cli.main import build_parser; build_parser()",
        "from pipeline.config_file import load_config",
    ],
)
def test_the_public_face_imports_nothing_heavy(statement: str) -> None:
    code = f"import sys; {statement}; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"

    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == []


def test_only_the_pipeline_starts_threads() -> None:
    starts = re.compile(r"\b(?:threading\.(?:Thread|Timer)|ThreadPoolExecutor|queue\.(?:Simple)?Queue)\(")
    rooms = [path for room in ("vedette/cli", "stages", "engines") for path in (ROOT / room).rglob("*.py")]
    # The trainer is a program of its own: it makes its batches ahead, and no frame of a camera ever meets it.
    trainer = ROOT / "engines" / "train"

    wrong = [
        str(path.relative_to(ROOT)) for path in rooms if trainer not in path.parents and starts.search(path.read_text())
    ]

    assert wrong == []
