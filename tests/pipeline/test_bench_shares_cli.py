"""`vedette bench isolation` and `vedette bench staleness` before they start anything: what they refuse."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.bench.shares.cores import share_out
from vedette.cli.main import main
from vedette.errors import UsageError

NO_CORE = str(max(os.sched_getaffinity(0)) + 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["isolation", "--seconds", "0"], "--seconds: expected a number from 1 to 600, got 0"),
        (["isolation", "--rounds", "0"], "--rounds: expected a whole number from 1 to 100, got 0"),
        (["isolation", "--fps", "500"], "--fps: expected a number from 1 to 120, got 500"),
        (
            ["isolation", "--kinds", "killed,sad"],
            "--kinds: expected some of killed, stalled, corrupt, garbled, got 'sad'",
        ),
        (["isolation", "--cores", "a"], "--cores: expected numbers of cores separated by commas, got 'a'"),
        (["isolation", "--cores", NO_CORE], f"which are there, got {NO_CORE}"),
        (["isolation", "--only", "both"], "invalid choice: 'both'"),
        (["staleness", "--seconds", "0"], "--seconds: expected a number from 1 to 3600, got 0"),
        (["staleness", "--capacity-seconds", "-1"], "--capacity-seconds: expected a number from 1 to 600, got -1"),
        (["staleness", "--fps", "nan"], "--fps: expected a number from 1 to 120, got nan"),
        (["staleness", "--factor", "0"], "--factor: expected a number from 0.1 to 100, got 0"),
        (["staleness", "--cameras", "101"], "--cameras: expected a whole number from 1 to 100, got 101"),
        (["staleness", "--model", "vedette-m"], "vedette-m: expected a model file or the name of a model that ships"),
    ],
)
def test_wrong_words_are_refused_in_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *words]) == 2

    lines = capsys.readouterr().err.splitlines()
    assert said in lines[0]
    assert all(line.startswith("  hint: ") for line in lines[1:])


@pytest.mark.parametrize("kind", ["isolation", "staleness"])
def test_a_report_that_cannot_be_written_is_refused_first(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", kind, "--json", str(tmp_path)]) == 2

    assert f"--json: {tmp_path} cannot be written" in capsys.readouterr().err


def test_the_first_two_cores_are_judged_and_the_others_serve() -> None:
    ours = frozenset(os.sched_getaffinity(0))

    cores = share_out(None)

    assert cores.judged == frozenset(sorted(ours)[:2])
    assert cores.others == (ours - cores.judged or ours)
    assert cores.judged | cores.others == ours


def test_cores_that_are_all_judged_serve_as_well() -> None:
    ours = frozenset(os.sched_getaffinity(0))

    cores = share_out(",".join(map(str, ours)))

    assert cores.judged == cores.others == ours
    with pytest.raises(UsageError, match="--cores"):
        share_out("0,,1")
