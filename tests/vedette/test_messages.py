"""Messages: what is written can be read, what is wrong is named, what was recorded stays readable."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.errors import MessageError
from vedette.messages import (
    EVENT_TYPES,
    Event,
    FrameMessage,
    GapEvent,
    Message,
    RunStarted,
    StreamState,
    TrackedObject,
    TrackEnded,
    TrackStarted,
    UnknownEvent,
    decode_message,
    encode_message,
)
from vedette.schema import FILE_NAME, messages_schema, schema_text

RECORDED = Path(__file__).parents[1] / "data" / "messages"
RECORDED_FILES = sorted(RECORDED.glob("v*/*.json"))
VALIDATOR = jsonschema.Draft202012Validator(messages_schema())

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
INT = st.integers(min_value=-(2**63), max_value=2**63 - 1)
COUNT = st.integers(min_value=0, max_value=2**63 - 1)
FLOAT = st.floats(allow_nan=False, allow_infinity=False)
BOX = st.tuples(FLOAT, FLOAT, FLOAT, FLOAT)


def _message_strategy() -> st.SearchStrategy[Message]:
    common: dict[str, Any] = {"producer": TEXT, "n": COUNT, "stream": TEXT, "run": TEXT, "wall_ns": INT}
    states = st.sampled_from(["connecting", "streaming", "stalled", "waiting", "ended", "failed", "stopped"])
    reasons = st.sampled_from(["refused", "auth", "not_found", "timeout", "stall", "frozen", "eof", "leased"])
    objects = st.builds(
        TrackedObject,
        track=COUNT,
        class_=TEXT,
        score=FLOAT,
        box=BOX,
        state=st.sampled_from(["tentative", "confirmed", "coasted"]),
        age_ms=COUNT,
    )
    frames = st.builds(
        FrameMessage,
        stream=TEXT,
        run=TEXT,
        epoch=COUNT,
        seq=COUNT,
        n=COUNT,
        pts=INT,
        time_base=st.tuples(COUNT, COUNT),
        wall_ns=INT,
        clock=st.sampled_from(["rtcp", "arrival", "file"]),
        clock_error_ms=FLOAT,
        size=st.tuples(COUNT, COUNT),
        model=TEXT,
        objects=st.lists(objects, max_size=3).map(tuple),
    )
    return st.one_of(
        frames,
        st.builds(RunStarted, **common, model=TEXT, version=TEXT),
        st.builds(
            StreamState,
            **common,
            state=states,
            previous=st.none() | states,
            reason=st.none() | reasons,
            epoch=COUNT,
            frozen=st.booleans(),
            detail=TEXT,
        ),
        st.builds(TrackStarted, **common, track=COUNT, class_=TEXT, box=BOX, score=FLOAT),
        st.builds(
            TrackEnded,
            **common,
            track=COUNT,
            class_=TEXT,
            first_box=BOX,
            last_box=BOX,
            seen_s=FLOAT,
            reason=st.sampled_from(["lost", "gap", "stream_ended"]),
        ),
        st.builds(
            GapEvent,
            **common,
            what=st.sampled_from(["frames", "events"]),
            count=COUNT,
            first=st.none() | COUNT,
            last=st.none() | COUNT,
            reason=TEXT,
        ),
    )


MESSAGES = _message_strategy()
JSON = st.recursive(
    st.none() | st.booleans() | INT | FLOAT | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def _frame(**changes: Any) -> dict[str, Any]:
    frame: dict[str, Any] = json.loads((RECORDED / "v1" / "frame-two-people-and-a-car.json").read_text("utf-8"))
    return {**frame, **changes}


def _event(kind: str, **changes: Any) -> dict[str, Any]:
    for path in RECORDED_FILES:
        event: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if event.get("kind") == kind:
            return {**event, **changes}
    raise KeyError(kind)


def _without(message: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in message.items() if key != name}


@given(MESSAGES)
def test_any_message_comes_back_from_its_json_as_it_was(message: Message) -> None:
    encoded = encode_message(message)

    assert decode_message(encoded) == message
    assert encode_message(message) == encoded


@given(MESSAGES)
def test_what_is_encoded_fits_the_schema(message: Message) -> None:
    VALIDATOR.validate(json.loads(encode_message(message)))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_message_error_and_nothing_else(data: bytes) -> None:
    with pytest.raises(MessageError):
        decode_message(data)


@given(JSON)
def test_arbitrary_json_raises_message_error_and_nothing_else(value: Any) -> None:
    with pytest.raises(MessageError) as raised:
        decode_message(json.dumps(value))
    assert "\n" not in str(raised.value)


@given(st.data())
def test_a_message_with_one_thing_wrong_decodes_or_raises_message_error_of_one_line(data: st.DataObject) -> None:
    message = json.loads(encode_message(data.draw(MESSAGES)))
    name = data.draw(st.sampled_from(sorted(message)))
    message[name] = data.draw(JSON)
    text = ""
    try:
        decode_message(json.dumps(message))
    except MessageError as error:
        text = str(error)
    assert not text or text.isprintable()
    assert len(text) <= 300


@pytest.mark.parametrize("path", RECORDED_FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_recorded_message_is_read_and_written_again_unchanged(path: Path) -> None:
    recorded = path.read_bytes()

    message = decode_message(recorded)

    assert not isinstance(message, UnknownEvent)
    written = json.loads(encode_message(message))
    if path.parent.name == "v1":
        assert encode_message(message) == msgspec.json.format(recorded, indent=-1).replace(b"\n", b"")
        assert written == json.loads(recorded)
    VALIDATOR.validate(json.loads(recorded))


def test_every_kind_of_message_is_among_the_recorded_ones() -> None:
    seen = {type(decode_message(path.read_bytes())) for path in RECORDED_FILES if path.parent.name == "v1"}

    assert seen == {FrameMessage, *EVENT_TYPES}


def test_checked_in_schema_is_current() -> None:
    file = Path(__file__).parents[2] / "vedette" / "schema" / FILE_NAME

    assert file.read_text("utf-8") == schema_text(), "run `python -m vedette.schema`"


def test_schema_is_a_valid_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(messages_schema())


@pytest.mark.parametrize("name", sorted(_frame()))
def test_schema_and_decoder_both_refuse_a_frame_without_one_of_its_fields(name: str) -> None:
    frame = _without(_frame(), name)

    assert not VALIDATOR.is_valid(frame)
    with pytest.raises(MessageError, match=f"missing required field `{name}`"):
        decode_message(json.dumps(frame))


@pytest.mark.parametrize("name", ["type", "kind", "producer", "n", "stream", "run", "wall_ns", "track", "class"])
def test_schema_and_decoder_both_refuse_an_event_without_a_field_that_it_must_have(name: str) -> None:
    event = _without(_event("track_started"), name)

    assert not VALIDATOR.is_valid(event)
    with pytest.raises(MessageError, match=f"missing required field `{name}`"):
        decode_message(json.dumps(event))


def test_unknown_fields_are_ignored_everywhere() -> None:
    frame = _frame(zone="north")
    frame["objects"] = [{**thing, "colour": "red"} for thing in frame["objects"]]
    event = _event("stream_state", weather={"rain": True})

    assert decode_message(json.dumps(frame)) == decode_message(json.dumps(_frame()))
    assert decode_message(json.dumps(event)) == decode_message(json.dumps(_event("stream_state")))
    VALIDATOR.validate(frame)
    VALIDATOR.validate(event)


def test_unknown_kind_of_event_is_yielded_with_what_all_events_have() -> None:
    event = {"type": "event", "kind": "line_crossed", "producer": "p", "n": 7, "stream": "gate", "line": "a"}
    encoded = json.dumps(event)

    message = decode_message(encoded)

    assert message == UnknownEvent(kind="line_crossed", producer="p", n=7, stream="gate", raw=encoded.encode())
    VALIDATOR.validate(event)


WRONG: list[tuple[str, str | bytes, str]] = [
    ("empty", b"", "Input data was truncated"),
    ("not JSON", b"vedette", "JSON is malformed: invalid character (byte 0)"),
    ("cut", b'{"type":"frame","stream":', "Input data was truncated"),
    ("not UTF-8", b'{"type":"frame","kind":"\xff"}', "JSON is malformed: not UTF-8"),
    ("half a surrogate pair", b'{"type":"\\ud800"}', "Input data was truncated"),
    ("deep", b'{"type":"event","x":' * 50_000, "JSON is malformed"),
    ("an array", b"[]", "Expected `object`, got `array`"),
    ("no type", b"{}", "Object missing required field `type`"),
    ("another type", b'{"type":"zone"}', "Expected type `frame` or `event`, got 'zone' - at `$.type`"),
    ("type with a line break", b'{"type":"a\\nb"}', "got 'a\\nb' - at `$.type`"),
    ("type of a wrong type", b'{"type":1}', "Expected `str`, got `int` - at `$.type`"),
    ("event without kind", b'{"type":"event"}', "Object missing required field `kind`"),
    ("text for a number", json.dumps(_frame(n="1")), "Expected `int`, got `str` - at `$.n`"),
    ("a fraction for n", json.dumps(_frame(n=1.5)), "Expected `int`, got `float` - at `$.n`"),
    ("another clock", json.dumps(_frame(clock="ntp")), "Invalid enum value 'ntp' - at `$.clock`"),
    ("size of three", json.dumps(_frame(size=[1, 2, 3])), "Expected `array` of length 2 - at `$.size`"),
    ("objects null", json.dumps(_frame(objects=None)), "Expected `array`, got `null` - at `$.objects`"),
    (
        "box of three",
        json.dumps(_frame(objects=[{**_frame()["objects"][0], "box": [1, 2, 3]}])),
        "Expected `array` of length 4 - at `$.objects[0].box`",
    ),
    (
        "second object's class",
        json.dumps(_frame(objects=[_frame()["objects"][0], {**_frame()["objects"][1], "class": None}])),
        "Expected `str`, got `null` - at `$.objects[1].class`",
    ),
    ("n of an event", json.dumps(_event("gap", n=None)), "Expected `int`, got `null` - at `$.n`"),
    ("state", json.dumps(_event("stream_state", state="asleep")), "Invalid enum value 'asleep' - at `$.state`"),
    ("n of an unknown kind", b'{"type":"event","kind":"x","producer":"p","n":"1"}', "Expected `int`, got `str`"),
    ("unknown kind without n", b'{"type":"event","kind":"x","producer":"p"}', "missing required field `n`"),
]


@pytest.mark.parametrize(("encoded", "expected"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_wrong_message_is_refused_with_one_precise_line(encoded: str | bytes, expected: str) -> None:
    with pytest.raises(MessageError) as raised:
        decode_message(encoded)

    assert expected in str(raised.value)
    assert str(raised.value).isprintable()
    assert len(raised.value.lines()) == 1


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_never_written(number: float) -> None:
    message = decode_message(json.dumps(_event("track_ended")))
    assert isinstance(message, TrackEnded)

    with pytest.raises(MessageError, match=r"TrackEnded holds a number that is not finite: .*`\$.seen_s`"):
        encode_message(msgspec.structs.replace(message, seen_s=number))


def test_the_word_null_in_a_text_is_no_reason_to_refuse() -> None:
    message = decode_message(json.dumps(_frame(model=":null,")))
    assert isinstance(message, FrameMessage)

    assert decode_message(encode_message(message)) == message


def test_text_that_is_not_unicode_is_never_written() -> None:
    message = decode_message(json.dumps(_frame()))
    assert isinstance(message, FrameMessage)

    with pytest.raises(MessageError, match=r"FrameMessage cannot be encoded: .*surrogates"):
        encode_message(msgspec.structs.replace(message, model="\udc80"))


def test_every_event_type_has_a_kind_of_its_own() -> None:
    kinds = [kind.__struct_config__.tag for kind in EVENT_TYPES]

    assert len(set(kinds)) == len(kinds) == len(Event.__subclasses__())
