"""Wrong input and exactly what is said about it: one table, which the tests of the command line run through.

A `BadConfig` replaces text in GOOD; `says` are the lines on standard error, without the leading «ConfigError: FILE: ».
"""

# ruff: noqa: E501 - a table is read line by line

from __future__ import annotations

from dataclasses import dataclass

GOOD = """\
version: 1
model: {path: model.onnx, score: 0.35}
track: {kind: norfair, memory_s: 1.0}
streams:
  - {id: gate, url: "rtsp://user:${GATE_PASSWORD}@cam.example:8554/gate", fps: 10, transport: tcp}
  - {id: lobby, url: file:clips/lobby.mp4, mode: live, loop: true}
  - {id: archive, url: clips/yesterday.mkv, mode: file, start: 2026-11-20T18:00:00Z}
sinks:
  - {kind: redis, url: "redis://127.0.0.1:6379/0", spool: {path: out/spool, max_mb: 64}}
  - {kind: jsonl, path: out/detections.jsonl}
http: {listen: "127.0.0.1:8080"}
"""
ENVIRON = {"GATE_PASSWORD": "hunter2-for-the-gate", "EMPTY": "", "LINES": "one\ntwo"}


@dataclass(frozen=True, slots=True)
class BadConfig:
    name: str
    changes: tuple[tuple[str, str], ...]
    says: tuple[str, ...]

    @property
    def text(self) -> str:
        text = GOOD
        for old, new in self.changes:
            assert old in text, f"{self.name}: {old!r} is not in the good configuration"
            text = text.replace(old, new)
        return text


def bad(name: str, old: str, new: str, *says: str) -> BadConfig:
    return BadConfig(name, ((old, new),), says)


_A_NUMBER = "expected a number >= 0.001 and <= 1000"
_SCHEMES = "expected a path or rtsp://, rtsps://, http://, https://, file:, synthetic://"
_HOST = "expected a host, and a port from 1 to 65535 if any"
_ENCODE = " (in a password, write @ : / ? # as %40 %3A %2F %3F %23)"

BAD_CONFIGS = (
    # The file as a whole
    BadConfig("empty", ((GOOD, ""),), ("expected a mapping that begins with version: 1, got an empty file",)),
    BadConfig("a list", ((GOOD, "- 1\n"),), ("expected a mapping, got a list",)),
    BadConfig("a word", ((GOOD, "hello\n"),), ("expected a mapping, got 'hello'",)),
    bad("two documents", "http: {", "---\nhttp: {", "line 11, column 1: expected one document, got a second one"),
    bad("a tab", "track:", "\ttrack:", "line 3, column 1: a tab; YAML is indented with spaces"),
    bad("a control character", "id: gate", "id: ga\x07te", "line 5, column 12: a control character, U+0007"),
    bad(
        "an unknown alias",
        "id: gate",
        "id: *hunter2",
        "line 5, column 10: an alias (*name) without its anchor (&name); text that begins with '*' needs quotes",
    ),
    bad("a tag", "version: 1", "version: !!python/object:os.system 1", "version: expected plain YAML, got the tag !!python/object:os.system"),
    bad("an alias in itself", "track: {", "track: &a {kind: *a, ", "track.kind: an alias that contains itself", "track.kind: given twice, in line 3 and again in line 3"),
    # Keys
    bad("version 2", "version: 1", "version: 2", "version: expected 1, got 2"),
    bad("version as text", "version: 1", "version: '1'", "version: expected 1, got '1'; take the quotes away"),
    bad("no version", "version: 1\n", "", "version: missing, expected 1"),
    bad("a misspelt section", "track:", "trak:", "trak: unknown key; did you mean 'track'?"),
    bad("a misspelt key that is needed", "{path: model", "{pth: model", "model.pth: unknown key; did you mean 'path'?"),
    bad("a key with a hyphen", "fps: 10", "open-timeout: 3", "streams[0].open-timeout: unknown key; did you mean 'open_timeout_s'?"),
    bad(
        "a key out of the blue",
        "memory_s: 1.0",
        "zebra: 1",
        "track.zebra: unknown key; expected one of: kind, memory_s, confirm_s",
    ),
    bad("a key given twice", "score: 0.35", "score: 0.35, score: 0.4", "model.score: given twice, in line 2 and again in line 2"),
    bad("a key that is no word", "score: 0.35", "3: 0.35", "model: expected a key that is a word, got another kind of key in line 2"),
    # Values
    bad("no URL", 'url: "rtsp://user:${GATE_PASSWORD}@cam.example:8554/gate", ', "", "streams[0].url: missing, expected a URL"),
    bad("a negative rate", "fps: 10", "fps: -5", f"streams[0].fps: {_A_NUMBER}, got -5"),
    bad("a rate of not a number", "fps: 10", "fps: .nan", f"streams[0].fps: {_A_NUMBER}, got '.nan'"),
    bad("a rate as text", "fps: 10", "fps: fast", f"streams[0].fps: {_A_NUMBER}, got 'fast'"),
    bad(
        "a rate from the environment",
        "fps: 10",
        'fps: "${GATE_PASSWORD}"',
        f"streams[0].fps: {_A_NUMBER}, got '${{GATE_PASSWORD}}', and what the environment gives is always text",
    ),
    bad("a score above 1", "score: 0.35", "score: 35", "model.score: expected a number >= 0 and <= 1, got 35"),
    bad("yes for true", "loop: true", "loop: yes", "streams[1].loop: expected true or false, got 'yes'"),
    bad("a number for a name", "id: gate", "id: 12", "streams[0].id: expected a name of letters, digits, _, - and ., at most 64, got 12, a number; put it in quotes"),
    bad("a name with a blank", "id: gate", "id: the gate", "streams[0].id: expected a name of letters, digits, _, - and ., at most 64, got 'the gate'"),
    bad("a misspelt choice", "transport: tcp", "transport: tpc", "streams[0].transport: expected 'tcp' or 'udp', got 'tpc'; did you mean 'tcp'?"),
    bad("a choice that is none", "kind: norfair", "kind: bytetrack", "track.kind: expected 'norfair', got 'bytetrack'"),
    bad("an unknown sink", "kind: jsonl", "kind: kafka", "sinks[1].kind: expected 'redis' or 'jsonl', got 'kafka'"),
    bad("a sink without a kind", "kind: jsonl, ", "", "sinks[1].kind: missing, expected 'redis' or 'jsonl'"),
    bad("a section of nothing", "{kind: norfair, memory_s: 1.0}", "", "track: expected a mapping, got nothing"),
    bad("a mapping for a list", "sinks:\n  - {kind: redis", "sinks:\n  first: {kind: redis", "line 10, column 3: expected <block end>, but found '-'"),
    bad(
        "a time without its zone",
        "18:00:00Z",
        "18:00:00",
        "streams[2].start: expected a time with its zone, such as 2026-11-20T18:00:00Z, got '2026-11-20T18:00:00'",
    ),
    bad("an empty path", "path: model.onnx", 'path: ""', "model.path: expected text, got ''"),
    # The environment
    bad("an unset variable", "GATE_PASSWORD", "GATE_PASWORD", "streams[0].url: the environment variable GATE_PASWORD is not set"),
    bad("an empty variable", "GATE_PASSWORD", "EMPTY", "streams[0].url: the environment variable EMPTY is empty"),
    bad("a variable of two lines", "GATE_PASSWORD", "LINES", "streams[0].url: the environment variable LINES holds a control character or a line break"),
    bad(
        "a variable without its name",
        "${GATE_PASSWORD}",
        "${GATE PASSWORD}",
        "streams[0].url: expected ${NAME}, a name of letters, digits and _ in braces (write $${ for ${ itself)",
    ),
    # What goes together
    bad("the same id twice", "id: lobby", "id: Gate", "streams[1].id: expected one of its own, got 'Gate', which streams[0] has already"),
    bad("a misspelt scheme", "rtsp://", "rstp://", f"streams[0].url: {_SCHEMES}, got 'rstp://***@cam.example:8554/gate'; did you mean 'rtsp'?"),
    bad("a scheme with one slash", "rtsp://user:${GATE_PASSWORD}@", "rtsp:/", "streams[0].url: expected rtsp:// at its beginning, got 'rtsp:/cam.example:8554/gate'"),
    bad("no host", "@cam.example:8554", "@", f"streams[0].url: {_HOST}{_ENCODE}, got 'rtsp://***@/gate'"),
    bad("a port that is none", "user:${GATE_PASSWORD}@cam.example:8554", "cam.example:85540", f"streams[0].url: {_HOST}, got 'rtsp://cam.example:85540/gate'"),
    bad("a slash in a clear password", "${GATE_PASSWORD}", "hun/ter2", f"streams[0].url: {_HOST}{_ENCODE}, got 'rtsp://***@cam.example:8554/gate'"),
    bad("a file URL of another machine", "file:clips/", "file://nas/", "streams[1].url: expected file:PATH or file:///PATH on this machine, got 'file://nas/lobby.mp4'"),
    bad("mode file for a camera", "fps: 10", "mode: file", "streams[0].mode: expected 'live' for a rtsp:// stream, got 'file', which is for files"),
    bad(
        "mode file for a synthetic camera without an end",
        "file:clips/lobby.mp4, mode: live, loop: true",
        '"synthetic://street?people=5", mode: file',
        "streams[1].mode: expected 'live' for an endless synthetic:// stream, got 'file'; add seconds= to its URL",
    ),
    bad(
        "a start for a live synthetic camera",
        "file:clips/lobby.mp4, mode: live, loop: true",
        '"synthetic://street?seconds=5", start: 2026-11-20T18:00:00Z',
        "streams[1].start: expected none for a synthetic:// stream; only a file in mode 'file' has a start",
    ),
    bad("a loop for a camera", "fps: 10", "loop: true", "streams[0].loop: expected false for a rtsp:// stream, got true; only a file in mode 'live' can loop"),
    bad("a loop for a lossless file", "mode: live, loop", "mode: file, loop", "streams[1].loop: expected false for a file in mode 'file', got true; only a file in mode 'live' can loop"),
    bad("a start for a live file", "loop: true", "start: 2026-11-20T18:00:00Z", "streams[1].start: expected none for a file in mode 'live'; only a file in mode 'file' has a start"),
    bad("a transport for a file", "loop: true", "transport: udp", "streams[1].transport: expected none for a file in mode 'live'; only rtsp:// and rtsps:// have a transport"),
    bad("TLS for rtsp", "fps: 10", "tls: {verify: false}", "streams[0].tls: expected none for a rtsp:// stream; only rtsps:// and https:// use TLS"),
    bad("a model to download", "path: model.onnx", 'path: "https://example.com/m.onnx"', "model.path: expected the path of a file, got 'https://example.com/m.onnx'; nothing is downloaded"),
    bad("a name that does not ship", "path: model.onnx", "name: vedete-n", "model.name: expected 'vedette-n' or 'vedette-n-416' or 'vedette-n-float' or 'vedette-n-seed' or 'vedette-s', got 'vedete-n'; did you mean 'vedette-n'?"),
    bad("a model by path and by name", "path: model.onnx", "path: model.onnx, name: vedette-n", "model: expected a path or a name, got both"),
    bad("Redis over HTTP", "redis://", "http://", "sinks[0].url: expected redis://, rediss:// or unix://, got 'http://127.0.0.1:6379/0'"),
    bad("a database that is no number", "6379/0", "6379/events", "sinks[0].url: expected redis://HOST:PORT/NUMBER and nothing more, got 'redis://127.0.0.1:6379/events'"),
    bad(
        "two sinks on the same keys",
        "{kind: jsonl, path: out/detections.jsonl}",
        '{kind: redis, url: "redis://127.0.0.1", spool: {path: out/spool2}}',
        "sinks[1].prefix: expected one of its own, got the default, which sinks[0] has already",
    ),
    bad(
        "two sinks on one spool",
        "{kind: jsonl, path: out/detections.jsonl}",
        '{kind: redis, url: "redis://127.0.0.2", spool: {path: ./out/../out/spool}}',
        "sinks[1].spool.path: expected one of its own, got './out/../out/spool', which sinks[0] has already",
    ),
    bad(
        "two sinks on one file",
        "  - {kind: jsonl, path: out/detections.jsonl}",
        "  - {kind: jsonl, path: out/a.jsonl}\n  - {kind: jsonl, path: out/b/../a.jsonl}",
        "sinks[2].path: expected one of its own, got 'out/b/../a.jsonl', which sinks[1] has already",
    ),
    bad("a port without a host", "127.0.0.1:8080", ":8080", "http.listen: expected host:port such as 127.0.0.1:8080, got ':8080'"),
    bad(
        "an open port without a word",
        "127.0.0.1:8080",
        "0.0.0.0:8080",
        "http.listen: expected a loopback address, or a token, or open: true if everybody may read it, got '0.0.0.0:8080'",
    ),
    bad("an unknown scene", "file:clips/lobby.mp4, mode: live, loop: true", '"synthetic://beach?people=5"', "streams[1].url: synthetic://: expected the scene to be 'street', got 'beach'"),
    # All at once, in the order of the file
    BadConfig(
        "much at once",
        (
            ("version: 1", "version: 3"),
            ("score: 0.35", "scoer: 0.35"),
            ("fps: 10, transport: tcp", "fps: 0"),
            ("path: out/detections.jsonl", "path: 7"),
        ),
        (
            "version: expected 1, got 3",
            "model.scoer: unknown key; did you mean 'score'?",
            f"streams[0].fps: {_A_NUMBER}, got 0",
            "sinks[1].path: expected text, got 7, a number; put it in quotes",
        ),
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class BadModel:
    """A model file (`content` None: the seed, which is good) with a spec beside it; `says` are the first lines."""

    name: str
    content: bytes | None
    spec: str | None
    says: tuple[str, ...]


_SPEC = "name: x\nhead: yolo_nas\nclasses: [person, vehicle, bike]\ninput: {size: [640, 384]}\n"

BAD_MODELS = (
    BadModel("an empty model", b"", None, ("ModelError: model.onnx: is not an ONNX model that can be loaded: ",)),
    BadModel("text for a model", b"hello\n", None, ("ModelError: model.onnx: is not an ONNX model that can be loaded: ",)),
    BadModel("no spec", None, None, ("ModelError: model.onnx: looks like YOLO-NAS (",)),
    BadModel("a spec that is no YAML", None, "name: [", ("ModelError: model.yaml: line 1, column 8: expected YAML: ",)),
    BadModel("a spec that is a list", None, "- 1", ("ModelError: model.yaml: expected keys and values, got a list",)),
    BadModel("a misspelt key of a spec", None, _SPEC.replace("head", "haed"), ("ModelError: model.yaml: haed: unknown key, did you mean 'head'?",)),
    BadModel("another model's spec", None, _SPEC.replace("yolo_nas", "yolox"), ("ModelError: model 'x': outputs: head yolox with 3 classes at 640x384 expected one output ",)),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class BadMessage:
    """The JSON of a message that somebody published, and what is said of it."""

    name: str
    content: bytes
    says: str


_FRAME = (
    b'{"type":"frame","stream":"gate","run":"r","epoch":0,"seq":0,"n":1,"pts":0,"time_base":[1,90000],"wall_ns":0,'
    b'"clock":"file","clock_error_ms":0.0,"size":[640,360],"model":"m","objects":[]}'
)

BAD_MESSAGES = (
    BadMessage("nothing", b"", "Input data was truncated"),
    BadMessage("cut short", _FRAME[:-5], "Input data was truncated"),
    BadMessage("no text", b"\xff", "JSON is malformed: invalid character (byte 0)"),
    BadMessage("a list", b"[]", "Expected `object`, got `array`"),
    BadMessage("no type", b"{}", "Object missing required field `type`"),
    BadMessage("a foreign type", b'{"type":"ghost"}', "Expected type `frame` or `event`, got 'ghost' - at `$.type`"),
    BadMessage("no stream", _FRAME.replace(b'"stream":"gate",', b""), "Object missing required field `stream`"),
    BadMessage("text for a number", _FRAME.replace(b'"n":1', b'"n":"1"'), "Expected `int`, got `str` - at `$.n`"),
    BadMessage("an unknown clock", _FRAME.replace(b'"file"', b'"sun"'), "Invalid enum value 'sun' - at `$.clock`"),
    BadMessage("half an object", _FRAME.replace(b"[]}", b'[{"track":1}]}'), "Object missing required field `class` - at `$.objects[0]`"),
)  # fmt: skip
