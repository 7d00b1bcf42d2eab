"""What a run's materials were opened from; kept in its checkpoint beside the options, so that `--resume` finds them.

The data itself is named anew each time.
"""

from __future__ import annotations

from pathlib import Path

import msgspec


class Ingredients(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`split`, `images` and `sources` choose from the data; `mixed` are further sets, whose shares the options have."""

    split: str = "train"
    images: str | None = None
    sources: tuple[str, ...] | None = None
    mixed: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    pseudo: str | None = None
    teachers: tuple[str, ...] = ()
    names: dict[str, str] = {}
    weigh: dict[str, float] = {}

    def absolute(self) -> Ingredients:
        """With absolute paths: a run may go on from another folder."""
        return msgspec.structs.replace(
            self,
            images=_absolute(self.images),
            mixed=tuple(str(Path(path).absolute()) for path in self.mixed),
            validation=tuple(str(Path(path).absolute()) for path in self.validation),
            pseudo=_absolute(self.pseudo),
            teachers=tuple(str(Path(path).absolute()) for path in self.teachers),
        )


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).absolute())
