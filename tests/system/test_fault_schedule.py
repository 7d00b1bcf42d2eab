"""`vedette bench faults`: three schedules hold; and with a defect planted into a copy of the tree, something says so.

The schedules are drawn from seeds that have 22 of the 26 kinds of fault between them in a third of a minute each. A
defect is caught by the schedule itself or by the test whose matter it is, run in the copy.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.bench.faults.run import impossible
from pipeline.bench.faults.schedule import ALL, Fault, draw

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
SEEDS = (1850, 3672, 464)
MINUTES = 0.3
# A machine that runs other tests beside may be slow; the command's own 2 s are for one that is not.
SLACK_S = 10.0


def faults(cwd: Path, out: Path, seed: int, minutes: float) -> subprocess.CompletedProcess[str]:
    words = ["bench", "faults", "--seed", str(seed), "--minutes", str(minutes), "--slack", str(SLACK_S)]
    command = [sys.executable, "-m", "vedette", *words, "--json", str(out)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=280, check=False)


def drawn(seed: int) -> tuple[Fault, ...]:
    """What this machine makes of the seed: all kinds, where mounts in a namespace are permitted."""
    return draw(seed, MINUTES, ALL - impossible().keys())


def test_seeds_have_most_kinds_of_fault_between_them() -> None:
    assert len({fault.kind for seed in SEEDS for fault in draw(seed, MINUTES)}) >= 22


@pytest.mark.parametrize("seed", SEEDS)
def test_promises_hold(seed: int, tmp_path: Path) -> None:
    ended = faults(ROOT, tmp_path / "report.json", seed, MINUTES)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["verdict"] == "held"
    assert report["violations"] == []
    assert sorted(str(Fault(**done["fault"])) for done in report["done"]) == sorted(map(str, drawn(seed)))
    assert report["skipped"] == impossible()
    counts = report["counts"]
    assert min(counts["frames"], counts["events"], counts["ledgers_checked"], counts["statuses_checked"]) > 0
    assert {life["status"] for life in report["lives"]} <= {0, 3, -9}


@dataclass(frozen=True)
class Defect:
    """Pieces of files, what stands there instead, and the tests that must fail (none: the schedule)."""

    edits: tuple[tuple[str, str, str], ...]
    tests: tuple[str, ...] = ()


DEFECTS = {
    "a-frame-is-not-counted": Defect(
        (
            (
                "pipeline/ledger.py",
                'self._end(stream, seq, "superseded").superseded += 1',
                'self._end(stream, seq, "superseded")',
            ),
        ),
        ("tests/pipeline/test_ledger.py",),
    ),
    "a-retry-duplicates": Defect(
        (
            (
                "stages/sink/scripts.py",
                "if last and tonumber(last) >= tonumber(ARGV[i + 1]) then",
                "if false then",
            ),
        ),
        ("tests/pipeline/test_outlet_redis_chaos.py",),
    ),
    "frames-without-the-lease": Defect(
        (
            (
                "stages/sink/scripts.py",
                "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {0, 'LEASE'} end",
                "",
            ),
        ),
        ("tests/stages/sink/test_redis.py", "-k", "need_the_lease"),
    ),
    "the-spool-acknowledges-before-fsync": Defect(
        (("pipeline/spool/spool.py", "            self._disk.sync(active.name)", "            pass"),),
        ("tests/pipeline/test_spool_model.py",),
    ),
    "a-slow-stream-takes-a-lock": Defect(
        (
            (
                "pipeline/stream.py",
                "            for item in pictures:\n",
                "            for item in _in_turn(pictures):\n",
            ),
            (
                "pipeline/stream.py",
                "class StreamRunner:\n",
                """_TURN = threading.Lock()


def _in_turn(items: Iterable[Decoded | Trouble]) -> Iterator[Decoded | Trouble]:
    items = iter(items)
    while True:
        with _TURN:
            item = next(items, None)
        if item is None:
            return
        yield item


class StreamRunner:
""",
            ),
        ),
        ("tests/pipeline/test_isolation.py",),
    ),
    # Three edits: each of the log's own two masks would hide it.
    "a-password-in-a-log-line": Defect(
        (
            ("pipeline/stream.py", "self._id, self._options.url, text", "self._id, self._options.url.reveal(), text"),
            ("pipeline/logs.py", "        return self.mask(text)", "        return text"),
            ("pipeline/logs.py", '"message": scrub(record.getMessage())', '"message": record.getMessage()'),
        ),
    ),
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code and its tests; the weights are the original's."""
    copy = tmp_path_factory.mktemp("tree")
    for room in ("vedette", "pipeline", "stages", "engines", "tests"):
        shutil.copytree(ROOT / room, copy / room, ignore=shutil.ignore_patterns("__pycache__", "*.onnx"))
    for model in (ROOT / "engines" / "weights").glob("*.onnx"):
        (copy / "engines" / "weights" / model.name).symlink_to(model)
    shutil.copy(ROOT / "pyproject.toml", copy)
    # Found is enough: Hypothesis need not look for the smallest example.
    replace(
        copy / "tests" / "conftest.py",
        "from hypothesis import settings\n",
        "from hypothesis import Phase, settings\n",
    )
    replace(copy / "tests" / "conftest.py", "deadline=None,", "deadline=None, phases=(Phase.explicit, Phase.generate),")
    # One run in twenty found nothing in what `make test` can afford; with these, none of forty did.
    for name, affordable in (("test_spool_model.py", 150), ("test_ledger.py", 60)):
        replace(copy / "tests" / "pipeline" / name, f"max_examples={affordable}", "max_examples=1500")
    return copy


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{path}: expected once: {old!r}"
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("name", sorted(DEFECTS))
def test_planted_defect_is_caught(name: str, tree: Path, tmp_path: Path) -> None:
    defect = DEFECTS[name]
    before = {path: (tree / path).read_text() for path, _, _ in defect.edits}
    try:
        for path, old, new in defect.edits:
            replace(tree / path, old, new)
        if defect.tests:
            command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *defect.tests]
            ended = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=200, check=False)
            assert ended.returncode == 1, ended.stdout[-2000:] + ended.stderr[-2000:]
            assert " failed" in ended.stdout
        else:
            ended = faults(tree, tmp_path / "report.json", 1, 0.1)
            assert ended.returncode == 1, ended.stdout + ended.stderr
            first = json.loads((tmp_path / "report.json").read_text())["violations"][0]
            assert first["promise"] == "no password is shown"
            assert "<the password>" in first["what"]
    finally:
        for path, text in before.items():
            (tree / path).write_text(text)
