"""Every error that Vedette raises on purpose, in one small tree.

    VedetteError                what any caller may catch          exit status 70
    ├── UsageError              the command line is wrong          exit status 2
    ├── ConfigError             the configuration is wrong         exit status 2
    ├── ModelError              a model file or spec does not fit  exit status 2
    ├── MissingExtraError       a package of an extra is missing   exit status 2
    ├── SourceError             a stream cannot be read; `reason` is of the closed list, `fatal` says «for ever»; 3
    ├── DataError               a data set or an image in it is wrong  exit status 2
    ├── PictureError            a decoded picture that we cannot convert; fails that frame only
    │   └── StillError          an image file that we cannot read      exit status 2
    ├── EngineError             an engine refused work or broke
    │   └── GpuError                the model cannot start on the GPUs that there are  exit status 2
    ├── SinkError               a sink cannot deliver; at start, when it cannot be opened: exit status 2
    │   └── SpoolError          the spool cannot be opened, locked or read
    ├── MessageError            a message does not fit its schema
    ├── SubscribeError          Redis refuses a subscriber for ever    exit status 2
    └── LedgerError             a frame was counted twice or not at all   exit status 71

A message says what, where, got, expected; `hint` says what to do. End of stream is a value, never an error.
This module and `vedette.secrets` import nothing and may be imported from every room.
"""

from __future__ import annotations

from collections.abc import Sequence


class VedetteError(Exception):
    """The root; `exit_status` is what the command line ends with when nobody caught it."""

    exit_status = 70

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def lines(self) -> list[str]:
        """The error as the command line prints it: one line, and one more if there is a hint."""
        first = f"{type(self).__name__}: {self.message}"
        return [first] if self.hint is None else [first, f"  hint: {self.hint}"]


class UsageError(VedetteError):
    exit_status = 2


class _ProblemsError(VedetteError):
    """One or more things wrong in something that people write; all of them are in `problems`, one line each."""

    exit_status = 2

    def __init__(self, problems: Sequence[str] | str, *, hint: str | None = None) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("; ".join(self.problems), hint=hint)

    def lines(self) -> list[str]:
        lines = [f"{type(self).__name__}: {problem}" for problem in self.problems]
        return lines if self.hint is None else [*lines, f"  hint: {self.hint}"]


class ConfigError(_ProblemsError):
    """What is wrong in a configuration."""


class ModelError(_ProblemsError):
    """What is wrong with a model file or its spec."""


class DataError(_ProblemsError):
    """What is wrong with a data set: its list of images, its labels, or an image file."""


class MissingExtraError(VedetteError):
    exit_status = 2


class SourceError(VedetteError):
    """A stream cannot be read. `reason` is a `stages.types.Reason`; `fatal` means that waiting will not help."""

    exit_status = 3

    def __init__(self, message: str, *, reason: str, fatal: bool = False, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason
        self.fatal = fatal


class PictureError(VedetteError):
    pass


class StillError(PictureError):
    """An image file is missing, damaged, or of a kind that we cannot convert."""

    exit_status = 2


class EngineError(VedetteError):
    pass


class GpuError(EngineError):
    """At start: no such GPU, no driver, too little memory, made for another GPU. No restart will mend it."""

    exit_status = 2


class SinkError(VedetteError):
    pass


class SpoolError(SinkError):
    pass


class MessageError(VedetteError):
    pass


class SubscribeError(VedetteError):
    """Redis refuses what a subscriber asks (password, rights, another type of key), or a single question fails."""

    exit_status = 2


class LedgerError(VedetteError):
    exit_status = 71
