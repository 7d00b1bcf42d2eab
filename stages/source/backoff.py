"""How long to wait before the next attempt: exponential with jitter, slow where a camera might lock the account."""

from __future__ import annotations

import random

from stages.types import Reason

FIRST_S = 1.0
LONGEST_S = 30.0
AUTH_S = 30.0
# A connection that held this long was a good one: the next attempt after it is quick again (guess).
STEADY_S = 10.0


class BackOff:
    """Counts failed attempts in a row. Half of each delay is jitter: cameras behind one switch come back apart."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.attempts = 0

    def succeeded(self, steady_s: float) -> None:
        """The last attempt streamed for `steady_s`."""
        if steady_s >= STEADY_S:
            self.attempts = 0

    def delay_s(self, reason: Reason) -> float:
        """The delay before the next attempt: at most 30 s; after a refused password 30 s to 33 s."""
        longest_s = min(LONGEST_S, FIRST_S * 2.0 ** min(self.attempts, 16))
        self.attempts += 1
        if reason is Reason.AUTH:
            return AUTH_S * (1.0 + 0.1 * self._rng.random())
        return longest_s * (0.5 + 0.5 * self._rng.random())
