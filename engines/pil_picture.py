"""From an image of PIL to the picture that its file would be (`engines/stills.py`).

In:  an image of PIL; one whose pixels were not read yet is read here.
Out: (height, width, 3) uint8 RGB, an array of its own.
Called by one-off prediction. Nothing of PIL is imported: who has no PIL has no image of it.

16 bits of grey are rounded to 8, where PIL's own conversion makes everything above 255 white; the picture is turned
upright as its Exif block says, which for PIL is the caller's affair; transparency is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from engines import jpeg
from engines.stills import levels, upright
from engines.types import U8
from vedette.errors import PictureError

_WIDE = ("I", "F", "La")
"""Integers of 32 bits, floats, and grey times its transparency: what is white in them is not said."""

_DEEP_FORMATS = ("PNG", "PPM")
"""Whose 16 bits some versions of PIL give as 32."""


@runtime_checkable
class PilImage(Protocol):
    """What is taken for an image of PIL."""

    @property
    def mode(self) -> str: ...

    @property
    def info(self) -> Mapping[Any, Any]: ...

    def load(self) -> Any: ...

    def convert(self, mode: str, /) -> Any: ...


def rgb_of_pil(image: PilImage) -> U8:
    """Raises PictureError: one line that names the image's file, if it has one, and what is wrong with it."""
    name = getattr(image, "filename", None) or "an image of PIL"
    _load(image, str(name))
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and getattr(image, "format", None) in _DEEP_FORMATS):
        rgb = np.repeat(levels(np.asarray(image).astype(np.uint16))[..., None], 3, axis=2)
    elif mode in _WIDE:
        msg = f"{name}: expected 8 bits a channel or 16 of grey, got mode {mode}"
        raise PictureError(msg, hint="scale it to 0..255 and convert it to L or RGB")
    else:
        rgb = np.asarray(image.convert("RGB"))
    return upright(rgb, jpeg.exif_orientation(image.info.get("exif") or b""))


def _load(image: PilImage, name: str) -> None:
    """Have the pixels read, which PIL puts off until they are asked for."""
    try:
        image.load()
    # PIL's errors for a damaged file, by its formats; the last for a file that was closed before it was read.
    except (OSError, ValueError, SyntaxError, AssertionError) as error:
        said = str(error) or "its file was closed before it was read"
        msg = f"{name}: expected a picture in grey, RGB or YCbCr, but it is damaged or cut short ({said})"
        raise PictureError(msg, hint="copy or export it again, and predict before the file is closed") from error
