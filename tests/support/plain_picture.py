"""The plain definition of a network's input, which the tests of the fast one are held against."""

from __future__ import annotations

from engines.validate.plain_picture import plain_levels, plain_placement, to_values

__all__ = ["plain_levels", "plain_placement", "to_values"]
