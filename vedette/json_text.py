"""JSON of what msgspec encodes, also where a name out of the file system is not UTF-8: it has question marks then.

Imports nothing of Vedette and may be imported from every room.
"""

from __future__ import annotations

from typing import Any

import msgspec


def json_bytes(value: object) -> bytes:
    """In one line."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_in_unicode(msgspec.to_builtins(value)))


def json_text(value: object) -> str:
    """For people to read, too."""
    return msgspec.json.format(json_bytes(value), indent=2).decode()


def _in_unicode(value: Any) -> Any:
    match value:
        case str():
            return value.encode(errors="replace").decode()
        case dict():
            return {_in_unicode(key): _in_unicode(one) for key, one in value.items()}
        case list() | tuple():
            return [_in_unicode(one) for one in value]
    return value
