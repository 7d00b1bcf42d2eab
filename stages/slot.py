"""Where a decoded frame waits to be chosen: a live stream keeps its newest, a file all that its credits allow.

Plain objects without locks; the dispatcher guards them. Generic, since what waits is the pipeline's business.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class Slot(Protocol[T]):
    """Holds what is ready of one stream."""

    def put(self, item: T) -> T | None:
        """Keep `item`; return the older one that it supersedes, if any."""
        ...

    def take(self) -> T:
        """Remove and return what is to be analysed next. Raises IndexError when empty."""
        ...

    def __len__(self) -> int: ...


class NewestSlot(Generic[T]):
    """For a live stream: one place, the newest frame wins."""

    def __init__(self) -> None:
        self._item: T | None = None

    def put(self, item: T) -> T | None:
        older, self._item = self._item, item
        return older

    def take(self) -> T:
        if self._item is None:
            msg = "take from an empty slot"
            raise IndexError(msg)
        item, self._item = self._item, None
        return item

    def __len__(self) -> int:
        return 0 if self._item is None else 1


class EverySlot(Generic[T]):
    """For a file: first in, first out; bounded by the credits without which nothing is put."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()

    def put(self, item: T) -> T | None:
        self._items.append(item)
        return None

    def take(self) -> T:
        return self._items.popleft()

    def __len__(self) -> int:
        return len(self._items)
