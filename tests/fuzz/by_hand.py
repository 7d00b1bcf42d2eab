"""`make fuzz`: one door, for as long as you like; not part of make test.

    python -m tests.fuzz.by_hand DOOR [SECONDS] [INPUT…]

atheris starts from the corpus, keeps what reaches new code in out/fuzz/DOOR, and ends at the first finding, whose input
it leaves in out/fuzz. With INPUT it only runs those files through the door. A finding worth keeping goes into the
corpus. The door `bitstream` has no coverage to go by, since the decoder is in another process: it damages the small
clips of test_fuzz_bitstreams.py at random, from a seed that it prints.
"""

from __future__ import annotations

import logging
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["engines.spec", "pipeline", "vedette", "yaml"]):
    from tests.fuzz.doors import CORPUS, DOORS

from pipeline.clock import SystemClock

OUT = Path("out/fuzz")
NAMES = (*DOORS, "bitstream")


def main(door: str, seconds: int = 60, *inputs: str) -> None:
    """Ends by itself: libFuzzer exits with 0 when the time is up and with 77 at a finding."""
    logging.disable(logging.CRITICAL)
    found = OUT / door
    found.mkdir(parents=True, exist_ok=True)
    options = [f"-max_total_time={seconds}", "-timeout=30", "-rss_limit_mb=4096", "-max_len=8192"]
    places = list(inputs) or [str(found), str(CORPUS / door)]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={OUT}/{door}-", *places], DOORS[door])
    atheris.Fuzz()


def bitstreams(seconds: int, seed: int) -> None:
    """Ends at the first crash, exception or silence of the child, or when the time is up."""
    from tests.fuzz import test_fuzz_bitstreams as bits

    rng, clock, counts = random.Random(seed), SystemClock(), Counter[str]()
    until_ns = clock.mono_ns() + seconds * 1_000_000_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sound = bits.sound_inputs(folder)
        child = bits.Child(folder)
        while clock.mono_ns() < until_ns:
            which = rng.choice(sorted(sound))
            path = folder / which
            path.write_bytes(bits.damaged(sound[which], [_damage(rng) for _ in range(rng.randint(1, 8))]))
            answer = child.tell(path, "still" if which in bits.STILLS else rng.choice(["file", "live"]))
            counts["inputs"] += 1
            counts["with pictures"] += answer["pictures"] > 0
            counts["with an error"] += "error" in answer
        child.close()
    print(f"seed {seed}:", ", ".join(f"{count} {what}" for what, count in counts.items()))  # noqa: T201 - for people


def _damage(rng: random.Random) -> tuple[str, float, object]:
    kind = rng.choice(["flip", "flip", "set", "set", "insert", "drop", "repeat", "zeros", "cut"])
    where = rng.random() ** rng.choice([1, 1, 4])  # the heads, more often than their share
    what = {
        "flip": rng.randrange(8),
        "set": rng.randbytes(rng.randint(1, 8)),
        "insert": rng.randbytes(rng.randint(1, 64)),
    }
    return kind, where, what.get(kind, rng.randint(1, 2000))


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in NAMES:
        sys.exit(f"which door? one of {', '.join(NAMES)}")
    door, seconds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 60
    if door == "bitstream":
        bitstreams(seconds, int(sys.argv[3]) if len(sys.argv) > 3 else random.SystemRandom().randrange(1 << 32))
    else:
        main(door, seconds, *sys.argv[3:])
