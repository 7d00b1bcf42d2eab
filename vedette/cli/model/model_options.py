"""What the command line says of a model, as the `ModelOptions` that a configuration would have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vedette.errors import UsageError

if TYPE_CHECKING:
    from engines.options import ModelOptions


def model_options(model: str, *, backend: str, precision: str, threads: int | None = None) -> ModelOptions:
    """`model` is a file or the name of one that ships. Raises UsageError for a setting that is none, ModelError."""
    import msgspec

    from engines.options import ModelOptions
    from engines.weights import find_model

    given: dict[str, Any] = {"path": str(find_model(model)), "backend": backend, "precision": precision}
    try:
        return msgspec.convert(given | {"threads": threads}, ModelOptions)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        msg = f"--{where.rstrip('`')}: {what[:1].lower()}{what[1:].replace('`', '')}"
        raise UsageError(msg, hint=_known(where.rstrip("`"))) from error


def _known(name: str) -> str | None:
    """The values that an option may have, if they can be listed."""
    from typing import Literal, get_args, get_origin, get_type_hints

    from engines.options import ModelOptions

    kind = get_type_hints(ModelOptions).get(name)
    return f"one of: {', '.join(get_args(kind))}" if get_origin(kind) is Literal else None
