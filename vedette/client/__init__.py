"""Reading what Vedette publishes: typed messages, gaps made visible, lost connections survived.

Needs msgspec and redis, nothing else of Vedette. `Subscriber` is for threads, `AsyncSubscriber` for asyncio; both run
the same logic (`follow.py`, `group.py`), which knows neither. docs/messages.md explains the guarantees.
"""

from __future__ import annotations

from vedette.client.aio import AsyncFeed, AsyncGroup, AsyncGroupFeed, AsyncSubscriber
from vedette.client.sync import Feed, Group, GroupFeed, Subscriber
from vedette.client.types import BadEntry, Gap, LinkChange, Received

__all__ = [
    "AsyncFeed",
    "AsyncGroup",
    "AsyncGroupFeed",
    "AsyncSubscriber",
    "BadEntry",
    "Feed",
    "Gap",
    "Group",
    "GroupFeed",
    "LinkChange",
    "Received",
    "Subscriber",
]
