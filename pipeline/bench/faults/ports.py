"""Free ports that stay free: below the ephemeral range, so that no client gets one while its server is down.

A client that keeps trying an ephemeral port of its own machine can end up connected to itself.
"""

from __future__ import annotations

import random
import socket

from vedette.errors import SinkError

HOST = "127.0.0.1"
_FIRST, _LAST = 15000, 32000


def free_port() -> int:
    """A port of loopback that nobody listens on. Raises SinkError if a thousand tries find none."""
    for _ in range(1000):
        port = random.SystemRandom().randrange(_FIRST, _LAST)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    msg = f"no free port between {_FIRST} and {_LAST}"
    raise SinkError(msg)
