"""The command line as a whole: help, usage errors, exit statuses, and what it must not import."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.clock import SystemClock
from pipeline.supervisor import Supervisor
from vedette import __version__
from vedette.cli import main as cli
from vedette.errors import ConfigError, DataError, LedgerError, SourceError, VedetteError

ROOT = Path(__file__).resolve().parents[2]


def command(monkeypatch: pytest.MonkeyPatch, run: Callable[[object], int]) -> None:
    """Make every command line run `run`."""
    parser = SimpleNamespace(parse_args=lambda _words: SimpleNamespace(run=run))
    monkeypatch.setattr(cli, "build_parser", lambda: parser)


def raising(error: BaseException) -> Callable[[object], int]:
    def run(_arguments: object) -> int:
        raise error

    return run


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([])

    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "vedette demo" in said
    assert "exit status: 0 all is well" in said


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help_with_a_description(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([name, "--help"])

    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: vedette {name}")


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])

    assert capsys.readouterr().out == f"vedette {__version__}\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["chek", "a.yaml"], ["UsageError: expected a command, got 'chek'", "  hint: did you mean 'check'?"]),
        (
            ["zebra"],
            ["UsageError: expected a command, got 'zebra'", f"  hint: one of: {', '.join(cli.COMMANDS)}"],
        ),
        (
            ["check"],
            [
                "UsageError: the following arguments are required: CONFIG",
                "  hint: `vedette check --help` shows how it is used",
            ],
        ),
        (
            ["check", "a.yaml", "rtsp://user:hunter2@cam/1"],
            [
                "UsageError: unrecognized arguments: rtsp://***@cam/1",
                "  hint: `vedette check --help` shows how it is used",
            ],
        ),
        (
            ["check", "a.yaml", "--jsn"],
            ["UsageError: unrecognized arguments: --jsn", "  hint: `vedette check --help` shows how it is used"],
        ),
        (["rtsp://user:hunter2@cam/1"], ["UsageError: expected a command, got 'rtsp://***@cam/1'"]),
        (["check", "none.yaml"], ["ConfigError: none.yaml: no such file"]),
        (["check", "/"], ["ConfigError: /: expected a file, got a directory"]),
    ],
)
def test_wrong_usage_is_explained(words: list[str], says: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 2

    assert capsys.readouterr().err.splitlines()[: len(says)] == says


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (ConfigError(["a: wrong", "b: wrong"]), 2, ["ConfigError: a: wrong", "ConfigError: b: wrong"]),
        (SourceError("no rtsp://u:hunter2@h/", reason="auth"), 3, ["SourceError: no rtsp://***@h/"]),
        (LedgerError("off by 1"), 71, ["LedgerError: off by 1"]),
        (VedetteError("odd", hint="do this"), 70, ["VedetteError: odd", "  hint: do this"]),
        (
            ModuleNotFoundError("No module named 'openvino'", name="openvino.runtime"),
            2,
            [
                "MissingExtraError: this needs the package openvino.runtime, which is not installed",
                "  hint: pip install 'vedette[cpu]'",
            ],
        ),
        (
            PermissionError(13, "Permission denied", "/srv/a.onnx"),
            2,
            ["UsageError: /srv/a.onnx: permission denied", "  hint: check the path"],
        ),
        (KeyboardInterrupt(), 130, []),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_an_error_becomes_lines_and_an_exit_status(
    error: BaseException,
    status: int,
    says: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command(monkeypatch, raising(error))

    assert cli.main(["run"]) == status
    assert capsys.readouterr().err.splitlines() == says


def test_what_files_of_others_say_does_not_steer_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for error in (DataError("no file \x1b]0;a\x07\nb\udcff"), KeyError("c"), RuntimeError("\x1b[2Jd")):
        command(monkeypatch, raising(error))
        cli.main(["run"])

    said = capsys.readouterr().err
    assert said.startswith("DataError: no file ?]0;a??b?\n")
    assert said.endswith("RuntimeError: ?[2Jd\n")
    assert all(line.isprintable() for line in said.split("\n"))


def test_our_own_fault_is_shown_with_its_traceback_and_without_passwords(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command(monkeypatch, raising(KeyError("rtsp://u:hunter2@h/")))

    assert cli.main(["run"]) == 70
    said = capsys.readouterr().err
    assert said.startswith("Traceback (most recent call last):")
    assert said.endswith("KeyError: 'rtsp://***@h/'\n")


def test_an_error_of_the_system_without_a_path_or_of_a_thread_is_our_own_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    of_thread = FileNotFoundError(2, "No such file or directory", "/run/x")
    supervisor = Supervisor(SystemClock())
    supervisor.spawn("reader", partial(raising(of_thread), None))  # type: ignore[arg-type]  # it never returns
    supervisor.join()
    for error in (of_thread, OSError(24, "Too many open files")):
        command(monkeypatch, raising(error))

        assert cli.main(["run"]) == 70
        assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["run", "--help"]])
def test_help_that_cannot_be_written_is_no_success(words: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "vedette.cli.main", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stderr == "standard output cannot be written: No space left on device\n"


def test_letters_that_the_output_does_not_have_are_replaced() -> None:
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    words = [sys.executable, "-m", "vedette.cli.main", "model", "bench", "--help"]
    ended = subprocess.run(words, capture_output=True, text=True, env=ascii_only, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "?" in ended.stdout


def test_a_closed_pipe_ends_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "vedette.cli.main", "--help"],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writer)

    assert ended.stderr == ""
    assert ended.returncode in (0, 141)  # 0 where PYTHONUNBUFFERED is set: argparse then swallows the error itself


@pytest.mark.parametrize("words", ["--version", "check none.yaml"])
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_standard_output_and_error_may_be_closed(words: str, closed: str) -> None:
    ended = subprocess.run(
        ["/bin/sh", "-c", f'"$0" -m vedette.cli.main {words} {closed}', sys.executable],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == (0 if words == "--version" else 2)
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("words", ["model describe vedette-n", "model describe vedette-n --json"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_behind_standard_output_is_one_line(words: str, unbuffered: str, tmp_path: Path) -> None:
    limited = 'ulimit -f 0; trap "" XFSZ; exec "$0" -m vedette.cli.main $1 > out.txt'  # every write is EFBIG
    ended = subprocess.run(
        ["/bin/sh", "-c", limited, sys.executable, words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": unbuffered},
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.stderr == "standard output cannot be written: File too large\n"
    assert ended.returncode == 1


def leave(*, with_thread: bool) -> subprocess.CompletedProcess[str]:
    code = f"""
import atexit, threading
from vedette.cli import main as cli
atexit.register(print, "the interpreter ended")
if {with_thread}:
    threading.Thread(target=threading.Event().wait, daemon=True).start()
cli.main = lambda *_, **__: print("the summary") or 3
cli.entry()
"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def test_a_thread_that_is_left_behind_does_not_meet_the_end_of_the_interpreter() -> None:
    ended = leave(with_thread=True)

    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "the summary\n", "")


def test_without_threads_the_process_ends_as_usual() -> None:
    ended = leave(with_thread=False)

    assert (ended.returncode, ended.stdout) == (3, "the summary\nthe interpreter ended\n")


def test_an_engine_at_work_does_not_abort_a_process_that_failed() -> None:
    code = """
import threading, time
from engines.options import ModelOptions
from engines.runtimes import open_engine
from vedette.cli import main as cli

def work():
    engine = open_engine(ModelOptions(path="engines/weights/vedette-n-seed_640x384.onnx"), now_ns=time.monotonic_ns)
    def finish():
        while (completion := engine.completed()) is not None:
            engine.release(completion.buffer)
    threading.Thread(target=finish, daemon=True).start()
    while (buffer := engine.acquire()) is not None:
        engine.submit(buffer, 1)
        working.set()

working = threading.Event()
threading.Thread(target=work, daemon=True).start()
assert working.wait(60)
cli.main = lambda *_, **__: 70
cli.entry()
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False, cwd=ROOT
    )

    assert (ended.returncode, ended.stderr) == (70, "")
