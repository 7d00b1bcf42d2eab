"""What the kernel holds of a camera's packets: sent by the server and not taken by the network, arrived and not read.

From /proc/net/tcp, as Linux writes it, for connections of this host's IPv4. A receiver that does not keep up lets its
own queue fill first and then the server's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

_TABLE = Path("/proc/net/tcp")
_ESTABLISHED = "01"


def queued(ports: Collection[int], lines: Iterable[str] | None = None) -> tuple[int, int]:
    """(unsent, unread) bytes over all established connections of the servers on `ports`.

    Unsent: in the server's send queue. Unread: in the receive queue of its clients. `lines`: the table's, for tests.
    """
    unsent = unread = 0
    for line in _TABLE.read_text().splitlines() if lines is None else lines:
        words = line.split()
        if len(words) < 5 or words[3] != _ESTABLISHED:
            continue
        send, receive = (int(number, 16) for number in words[4].split(":"))
        if _port(words[1]) in ports:
            unsent += send
        if _port(words[2]) in ports:
            unread += receive
    return unsent, unread


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)
