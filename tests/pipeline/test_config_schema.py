"""The checked-in JSON Schema is the one that the types make, explains every key, and takes what we ship."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from pipeline.config_file import load_config
from pipeline.config_schema import DESCRIPTIONS, config_schema, schema_text
from pipeline.config_yaml import read_yaml
from tests.support.bad_input import BAD_CONFIGS, ENVIRON, GOOD, BadConfig
from vedette.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"
SHIPPED = sorted(CONFIGS.glob("*.yaml"))
SAMPLE_ENVIRON = ENVIRON | {"CLIP": "clip.mp4", "MODEL": "model.onnx"}


def test_the_checked_in_schema_is_current() -> None:
    assert (CONFIGS / "vedette.schema.json").read_text() == schema_text(), "run `make schema`"


def test_every_key_is_explained_and_nothing_else() -> None:
    keys = {
        f"{struct}.{field}"
        for struct, definition in config_schema()["$defs"].items()
        for field in definition["properties"]
    }

    assert keys == set(DESCRIPTIONS)


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(config_schema())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_configurations_load_and_fit_the_schema(path: Path) -> None:
    assert path.read_text().startswith("# yaml-language-server: $schema=vedette.schema.json\n")
    jsonschema.validate(read_yaml(path.read_bytes(), SAMPLE_ENVIRON).root, json.loads(schema_text()))
    assert load_config(path, SAMPLE_ENVIRON).version == 1


def test_there_are_configurations_to_ship() -> None:
    assert [path.name for path in SHIPPED] == ["bench.yaml", "cameras.yaml", "file.yaml", "gpu.yaml", "synthetic.yaml"]


# What a schema cannot say: it knows one key at a time, and no environment.
_BEYOND = (
    "given twice", "environment variable", "expected one of its own", "expected ${NAME}", "expected none", "in mode",
    "stream, got", "expected a path or", "expected rtsp:// at", "expected a host", "file:///PATH",
    "nothing is downloaded",
    "redis://", "host:port", "loopback", "the scene", "with its zone", "alias", "the tag", "another kind of key",
)  # fmt: skip


@pytest.mark.parametrize("case", BAD_CONFIGS, ids=lambda case: case.name)
def test_the_schema_refuses_what_the_loader_refuses(case: BadConfig) -> None:
    try:
        document = read_yaml(case.text.encode(), ENVIRON)
    except ConfigError:
        return
    says = case.says
    if document.root is None or all(any(beyond in line for beyond in _BEYOND) for line in says):
        return
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document.root, config_schema())


def test_the_schema_takes_what_the_loader_takes() -> None:
    jsonschema.validate(read_yaml(GOOD.encode(), ENVIRON).root, config_schema())
