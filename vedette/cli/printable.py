"""Text that no terminal obeys: files, data sets and models of others name things as they like.

Called wherever a command prints lines; `vedette/cli/tail_lines.py` has its own, with another sign for what it replaces.
"""

from __future__ import annotations


def printable(line: str) -> str:
    """One line without control characters, line breaks and halves of characters; a question mark for each."""
    return "".join(letter if letter.isprintable() else "?" for letter in line)
