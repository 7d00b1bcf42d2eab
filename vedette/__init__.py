"""Vedette: tracked detections out of cameras and video files, published to Redis.

The public face for programs that read what Vedette publishes:

    from vedette import Gap, Subscriber

    for item in Subscriber("redis://127.0.0.1:6379/0").frames("gate"):
        print("missed" if isinstance(item, Gap) else item.message.objects)

and for those that want the boxes of a picture (`vedette.model` says more):

    from vedette import Model

    print(Model("vedette-n").predict("street.jpg").boxes)

Names are loaded when first used, so that `import vedette` costs nothing and needs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
# Without Model: `from vedette import *` must go on working where only the client is installed.
__all__ = ["AsyncSubscriber", "Gap", "Received", "Subscriber", "__version__"]

if TYPE_CHECKING:
    from vedette.client import AsyncSubscriber, Gap, Received, Subscriber
    from vedette.model import Model as Model  # so that type checkers take it for exported


def __getattr__(name: str) -> Any:
    if name in {"AsyncSubscriber", "Gap", "Received", "Subscriber"}:
        return getattr(importlib.import_module("vedette.client"), name)
    if name == "Model":
        return _model()
    msg = f"module 'vedette' has no attribute {name!r}"
    raise AttributeError(msg)


def _model() -> Any:
    try:
        return importlib.import_module("vedette.model").Model
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in {"vedette", "engines", "stages", "pipeline"}:
            raise
        from vedette.errors import MissingExtraError

        msg = f"vedette.Model needs the package {error.name}, which is not installed"
        raise MissingExtraError(msg, hint="pip install 'vedette[cpu]'") from error
