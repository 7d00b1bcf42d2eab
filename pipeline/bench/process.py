"""Has one measurement made in a process of its own, so that none is warmed or slowed by what was before it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TypeVar

import msgspec

from pipeline.bench.child import BenchError, NoStreamsError

Answer = TypeVar("Answer")


def measured(
    module: str,
    kind: str,
    config_path: Path,
    seconds: float,
    answer: type[Answer],
    *more: str,
    startup_s: float,
) -> Answer:
    """What `python -m MODULE KIND CONFIG --seconds S MORE…` prints as its last line.

    Raises BenchError with its last words, or where it takes `startup_s` longer than it shall measure.
    """
    arguments = [sys.executable, "-m", module, kind, str(config_path), "--seconds", str(seconds), *more]
    try:
        done = subprocess.run(arguments, capture_output=True, timeout=seconds + startup_s, check=False)
    except subprocess.TimeoutExpired as error:
        msg = f"measuring {kind}: no result after {error.timeout:.0f} s"
        raise BenchError(msg, hint="run the configuration with `vedette run` and look at its log") from error
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        msg = f"measuring {kind} failed: {lines[-1] if lines else f'exit status {done.returncode}'}"
        kind_of = NoStreamsError if done.returncode == NoStreamsError.exit_status else BenchError
        raise kind_of(msg, hint="`vedette check` on the configuration says more")
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=answer)
