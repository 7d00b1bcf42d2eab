"""The JSON Schema of the messages, made from their types; `messages-v1.json` beside this file is the current one.

`python -m vedette.schema` writes it anew (`make schema`); a test compares the two.
"""

from __future__ import annotations

import inspect
import json
from typing import Any

import msgspec

from vedette.messages import EVENT_TYPES, SCHEMA_VERSION, FrameMessage

FILE_NAME = f"messages-v{SCHEMA_VERSION}.json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def messages_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of what is found in the field `m` of an entry: a frame or an event.

    Every field of this version is required, since all of them are always written; others are allowed, since a later
    version may add some. An event of an unknown kind fits too, if it has what every event has.
    """
    kinds = [str(kind.__struct_config__.tag) for kind in EVENT_TYPES]
    names = ["FrameMessage", *(kind.__name__ for kind in EVENT_TYPES)]
    _, components = msgspec.json.schema_components([FrameMessage, *EVENT_TYPES], ref_template="#/$defs/{name}")
    for component in components.values():
        component["description"] = inspect.cleandoc(component["description"])
        component["required"] = list(component["properties"])
        for field in component["properties"].values():
            field.pop("default", None)
    components["UnknownEvent"] = {
        "title": "UnknownEvent",
        "description": "An event of a kind that this version does not know.",
        "type": "object",
        "properties": {
            "type": {"enum": ["event"]},
            "kind": {"type": "string", "not": {"enum": kinds}},
            "producer": {"type": "string"},
            "n": {"type": "integer"},
        },
        "required": ["type", "kind", "producer", "n"],
    }
    return {
        "$schema": DIALECT,
        "title": f"Vedette messages, version {SCHEMA_VERSION}",
        "description": "What Vedette publishes: a frame's tracked objects, or something that happened.",
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in [*names, "UnknownEvent"]],
        "$defs": dict(sorted(components.items())),
    }


def schema_text() -> str:
    """The schema as the checked-in file holds it."""
    return json.dumps(messages_schema(), indent=2, ensure_ascii=False) + "\n"
