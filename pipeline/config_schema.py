"""The configuration's JSON Schema, made from its types, so that editors complete it and explain each key.

`python -m pipeline.config_schema` prints it; `make schema` writes it to configs/vedette.schema.json, and a test holds
that file to the types. What no schema can say (unique ids, which URL goes with which key) `vedette check` says.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import msgspec

from pipeline.config import Config
from vedette.secrets import Secret, SecretUrl

# What an editor shows for a key: `Struct.field`. A test sees to it that every field is here.
DESCRIPTIONS = {
    "Config.version": "The version of this format.",
    "Config.model": "Which network runs, on what, and what it may report.",
    "Config.batch": "How many pictures go to the engine at once.",
    "Config.track": "How objects are followed from frame to frame.",
    "Config.streams": "The cameras and files.",
    "Config.sinks": "Where the results go.",
    "Config.http": "Where health, status and metrics are served; nowhere if absent.",
    "Config.shutdown_s": "After SIGTERM, at most how long frames under way may take to come out.",
    "ModelOptions.path": "The model file (ONNX), relative to this file; or give a name.",
    "ModelOptions.name": "A model that ships with Vedette, such as vedette-n, instead of a path.",
    "ModelOptions.backend": "What executes the network; auto takes the best that this machine has, and logs why.",
    "ModelOptions.precision": "The numbers that the engine computes with; auto leaves it to the engine.",
    "ModelOptions.threads": "CPU threads for the network; all that this process may use if absent.",
    "ModelOptions.score": "Boxes below this score are left out; the model's own default if absent.",
    "ModelOptions.nms_iou": "Boxes of a class that overlap more than this are one; the model's own default if absent.",
    "ModelOptions.max_objects": "At most how many objects a frame has.",
    "ModelOptions.classes": "The names of the classes to report; all of the model's if absent.",
    "ModelOptions.gpu": "Where the network runs on a machine with NVIDIA GPUs.",
    "GpuOptions.devices": "GPUs by their number in the driver's order; the first one if absent.",
    "GpuOptions.engines": "Copies of the network on each GPU.",
    "GpuOptions.contexts": "Runs at once of each copy: while one computes, the next is copied.",
    "GpuOptions.memory_mb": "At most how much memory this process may take of each GPU, in units of 2**20 bytes.",
    "GpuOptions.decode": "gpu: NVDEC decodes and kernels prepare, on a GPU, where pictures stay. cpu: as ever.",
    "BatchOptions.max": "At most how many pictures an engine call takes (on a CPU one pays best).",
    "BatchOptions.wait_ms": "How long a lone picture waits for company; 0 is not at all.",
    "TrackOptions.kind": "The tracker.",
    "TrackOptions.memory_s": "How long an unseen object is remembered, in media time.",
    "TrackOptions.confirm_s": "How long an object must be seen before it counts, in media time.",
    "StreamOptions.id": "The stream's name in messages, Redis keys and metrics.",
    "StreamOptions.url": "rtsp://, rtsps://, http://, https://, synthetic://, file: or a path; secrets as ${NAME}.",
    "StreamOptions.mode": "file: lossless, as fast as the machine goes. live: at its own pace, newest frame first.",
    "StreamOptions.loop": "Play a file in mode live for ever.",
    "StreamOptions.start": "Wall-clock time of a file's first picture, with its zone: 2026-11-20T18:00:00Z.",
    "StreamOptions.fps": "How many frames a second are analysed; all if absent.",
    "StreamOptions.decode": "nonkey: decode key frames only, which costs far less.",
    "StreamOptions.transport": "How RTSP carries the pictures.",
    "StreamOptions.open_timeout_s": "How long opening may take before it counts as failed.",
    "StreamOptions.read_timeout_s": "How long the stream may be silent before it counts as stalled.",
    "StreamOptions.frozen_s": "After how long an unchanging picture is reported.",
    "StreamOptions.clock_tolerance_s": "How far a camera's own clock may be off before arrival times are used instead.",
    "StreamOptions.tls": "How the camera's certificate is checked (rtsps, https).",
    "TlsOptions.ca": "A PEM file with the authority to trust; the system's authorities if absent.",
    "TlsOptions.verify": "false accepts any certificate, and is logged.",
    "RedisSinkOptions.kind": "Redis streams, for subscribers.",
    "RedisSinkOptions.url": "redis://HOST:PORT/NUMBER, rediss:// or unix:///PATH; the password as ${NAME}.",
    "RedisSinkOptions.prefix": "What the names of all keys begin with.",
    "RedisSinkOptions.maxlen": "About how many entries Redis keeps of each stream.",
    "RedisSinkOptions.empty": "false leaves out frames without objects.",
    "RedisSinkOptions.spool": "Where events wait until Redis has them.",
    "RedisSinkOptions.tls": "How the server's certificate is checked (rediss).",
    "SpoolOptions.path": "A folder, relative to this file; one process at a time uses it.",
    "SpoolOptions.max_mb": "At most how large it may become; then new events are dropped and counted.",
    "SpoolOptions.retain_s": "How long events are kept after Redis has them, in case it loses its memory.",
    "JsonlSinkOptions.kind": "One message a line, in a file.",
    "JsonlSinkOptions.path": "The file, relative to this one; lines are appended.",
    "JsonlSinkOptions.empty": "false leaves out frames without objects.",
    "HttpOptions.listen": "HOST:PORT; [::1]:8080 for IPv6; port 0 takes any free one.",
    "HttpOptions.token": "What a request must bring as its bearer token; as ${NAME}.",
    "HttpOptions.open": "true serves everybody who reaches the address, without a token.",
}


def config_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a configuration file."""
    schema = msgspec.json.schema(Config, schema_hook=_hook)
    definitions: dict[str, Any] = schema["$defs"]
    for struct, definition in definitions.items():
        definition["description"] = " ".join(definition["description"].split())
        for field, property_schema in definition.get("properties", {}).items():
            text = DESCRIPTIONS.get(f"{struct}.{field}")
            if text:
                property_schema["description"] = text
            if property_schema.get("type") == "string" and "enum" not in property_schema:
                property_schema.setdefault("minLength", 1)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Vedette configuration, version 1",
        "description": "What one Vedette process does. ${NAME} in any text is taken from the environment.",
        **schema,
    }


def schema_text() -> str:
    """The schema as it is checked in."""
    return json.dumps(config_schema(), indent=2, ensure_ascii=False) + "\n"


def _hook(type_: type) -> dict[str, Any]:
    """Called for the types that msgspec does not know, which are the secrets: text in the file."""
    assert type_ in (Secret, SecretUrl), type_
    return {"type": "string", "minLength": 1}


if __name__ == "__main__":
    sys.stdout.write(schema_text())
