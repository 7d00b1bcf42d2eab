"""A process with a Redis outlet at work, to be stopped and killed: `python -m tests.support.outlet_child URL SPOOL`.

Publishes a frame of `cam` and an event every few milliseconds until it is killed or its lease is gone. Writes one line
for each thing that the test wants to know: `spooled N` (that many events are promised), `leased cam`, `frame N`.
"""

from __future__ import annotations

import dataclasses
import sys
import threading
from pathlib import Path

from tests.support.outlets import QUICK, Rig, redis_options


def main(url: str, spool: str, lease_ms: str) -> None:
    times = dataclasses.replace(QUICK, lease_ns=int(lease_ms) * 1_000_000)
    rig = Rig(redis_options(url, Path(spool)), times=times, run=f"child-{spool}")
    tick = threading.Event()
    while not rig.leased:
        number = rig.frame("cam")
        rig.event(number)
        totals = rig.totals
        events = totals.spooled + totals.delivered - len(rig.settled)
        sys.stdout.write(f"frame {number}\nspooled {events}\n")
        sys.stdout.flush()
        tick.wait(0.005)
    sys.stdout.write(f"leased {rig.leased[0]}\n")
    sys.stdout.flush()
    rig.frames(5)
    rig.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
