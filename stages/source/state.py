"""The states of a stream, the moves between them, and the reasons that each move may have: a table, no behaviour.

    connecting ──► streaming ──► stalled ──► waiting ──► connecting ──► …
         │  └─────────►──┼───────────────────►──┘
         └──► ended, failed or stopped, from anywhere: for ever

`streaming` follows itself where something is told without an interruption: the picture froze or moves again (frozen), a
file that plays in a loop begins anew (eof), or the time stamps do (corrupt).
"""

from __future__ import annotations

from stages.types import Reason, State

_NETWORK = frozenset(
    {
        Reason.REFUSED,
        Reason.AUTH,
        Reason.NOT_FOUND,
        Reason.TIMEOUT,
        Reason.STALL,
        Reason.EOF,
        Reason.CORRUPT,
        Reason.CODEC,
        Reason.UNRESOLVED,
    }
)
_FOR_EVER = _NETWORK | {Reason.LEASED}
_END: dict[State, frozenset[Reason | None]] = {
    State.ENDED: frozenset({Reason.EOF}),
    State.FAILED: frozenset(_FOR_EVER),
    State.STOPPED: frozenset({Reason.OPERATOR}),
}

MOVES: dict[State | None, dict[State, frozenset[Reason | None]]] = {
    None: {State.CONNECTING: frozenset({None})},
    State.CONNECTING: {State.STREAMING: frozenset({None}), State.WAITING: frozenset(_NETWORK)} | _END,
    State.STREAMING: {
        State.STREAMING: frozenset({Reason.FROZEN, Reason.EOF, Reason.CORRUPT}),
        State.STALLED: frozenset({Reason.STALL}),
        State.WAITING: frozenset(_NETWORK - {Reason.STALL}),
    }
    | _END,
    State.STALLED: {State.WAITING: frozenset({Reason.STALL})} | _END,
    State.WAITING: {State.CONNECTING: frozenset({None})} | _END,
    State.ENDED: {},
    State.FAILED: {},
    State.STOPPED: {},
}

FINAL = frozenset({State.ENDED, State.FAILED, State.STOPPED})


def check_move(previous: State | None, state: State, reason: Reason | None) -> None:
    """Raise ValueError for a move that the table does not have: that is our own fault, and ends the process."""
    reasons = MOVES[previous].get(state)
    if reasons is None or reason not in reasons:
        start = previous.value if previous else "nothing"
        why = reason.value if reason else "no reason"
        msg = f"a stream cannot go from {start} to {state.value} for {why}"
        raise ValueError(msg)
