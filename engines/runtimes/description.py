"""Words that every runtime's description shares."""

from __future__ import annotations

from engines.spec import ModelSpec


def title(spec: ModelSpec) -> str:
    """The model's name; one that was built around the accuracy gate says so wherever it is named."""
    return f"{spec.name} (unverified)" if spec.unverified else spec.name


def one_line(text: object, limit: int = 300) -> str:
    """What a library said, as one line."""
    return " ".join(str(text).split())[:limit] or "it does not say why"
