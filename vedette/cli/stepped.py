"""`python -m vedette.cli.stepped FILE run CONFIG …`: `vedette run CONFIG …`, but its wall time can be stepped.

FILE says by how much (`pipeline/bench/faults/stepped_clock.py`). For `vedette bench faults`, which plays the host.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline.bench.faults.stepped_clock import SteppedClock
from vedette.cli.main import entry

if __name__ == "__main__":
    entry(sys.argv[2:], clock=SteppedClock(Path(sys.argv[1])))
