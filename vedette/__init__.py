"""Vedette: tracked detections out of cameras and video files, published to Redis.

The public face for programs that read what Vedette publishes:

    from vedette import Gap, Subscriber

    for item in Subscriber("redis://127.0.0.1:6379/0").frames("gate"):
        print("missed" if isinstance(item, Gap) else item.message.objects)

Names are loaded when first used, so that `import vedette` costs nothing and needs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["AsyncSubscriber", "Gap", "Received", "Subscriber", "__version__"]

if TYPE_CHECKING:
    from vedette.client import AsyncSubscriber, Gap, Received, Subscriber


def __getattr__(name: str) -> Any:
    if name in {"AsyncSubscriber", "Gap", "Received", "Subscriber"}:
        return getattr(importlib.import_module("vedette.client"), name)
    msg = f"module 'vedette' has no attribute {name!r}"
    raise AttributeError(msg)
