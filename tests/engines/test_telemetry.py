"""The runtimes' own reports to their makers are off: nothing is left in the home or the temporary folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.system import SEED

_OPEN = """
import sys, time
from engines.options import ModelOptions
from engines.runtimes import open_engine
open_engine(ModelOptions(path=sys.argv[1], backend=sys.argv[2]), now_ns=time.monotonic_ns).close()
print(sorted(name for name in sys.modules if "telemetry" in name and name.startswith("openvino_telemetry.")))
"""


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_runtime_reports_to_nobody(backend: str, tmp_path: Path) -> None:
    kept = ("PATH", "LANG", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
    # Without CI in it: that alone would keep one of them quiet.
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment |= {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, "-c", _OPEN, str(SEED), backend],
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
    assert list(tmp_path.iterdir()) == []
