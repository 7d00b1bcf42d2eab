"""Specs: found beside the model or in it, and held against the file, every disagreement named."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from engines.spec import InputSpec, ModelSpec, find_spec, sha256_of, spec_path
from tests.support.model_files import SHA256, model_file
from vedette.errors import ModelError

GOOD = """\
name: small
head: yolo_nas
classes: [person, vehicle, bike]
input: {size: [96, 64]}
"""


def test_yaml_beside_the_model_is_its_spec(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(GOOD)

    found = find_spec(model_file(tmp_path / "small.onnx"))

    assert found.origin == str(tmp_path / "small.yaml")
    assert found.spec == ModelSpec(
        name="small",
        head="yolo_nas",
        classes=("person", "vehicle", "bike"),
        input=InputSpec(size=(96, 64)),
        sha256=SHA256,
    )


def test_metadata_holds_the_same_keys(tmp_path: Path) -> None:
    found = find_spec(model_file(tmp_path / "small.onnx", metadata={"vedette": GOOD}))

    assert found.origin == "the file's metadata"
    assert found.spec.name == "small"


def test_yaml_beside_the_model_wins_over_metadata(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(GOOD.replace("name: small", "name: beside"))

    assert find_spec(model_file(tmp_path / "small.onnx", metadata={"vedette": GOOD})).spec.name == "beside"


def test_a_free_side_of_the_file_takes_any_size(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(GOOD)

    assert find_spec(model_file(tmp_path / "small.onnx", (-1, 3, -1, -1))).spec.input.size == (96, 64)


def test_hash_of_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(GOOD + f"sha256: {'f' * 64}\n")

    with pytest.raises(ModelError, match=r"small\.yaml: sha256: expected that of small\.onnx, 0123456789ab…, got ffff"):
        find_spec(model_file(tmp_path / "small.onnx"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (GOOD, "", "expected keys and values, got nothing"),
        (GOOD, "- 1", "expected keys and values, got a list"),
        (GOOD, "a: [", r"line 1, column 5: expected YAML: "),
        (GOOD, "a: 2026-13-45", "expected YAML: month must be in 1..12"),
        (GOOD, "[" * 100_000, "expected YAML: "),
        ("name: small\n", "", r"small\.yaml: name: missing"),
        ("name: small", "name: 3", "name: expected str, got int"),
        ("name: small", "nmae: small", r"nmae: unknown key, did you mean 'name'\?$"),
        ("yolo_nas", "yolo", "head: invalid enum value 'yolo'"),
        ("[person, vehicle, bike]", "person", "classes: expected list, got str"),
        ("[person, vehicle, bike]", "[]", "classes: expected list of length >= 1"),
        ("[person, vehicle, bike]", "[a, 1, c]", r"classes\[1\]: expected str, got int"),
        ("vehicle, bike", "bike, bike", r"classes\[2\]: expected names that differ, got 'bike', as classes\[1\]"),
        ("vehicle", "' '", r"classes\[1\]: expected a name, got ' '"),
        ("{size: [96, 64]}", "3", "input: expected mapping, got int"),
        ("{size: [96, 64]}", "{}", r"input\.size: missing"),
        ("[96, 64]", "[96]", r"input\.size: expected list of length 2, got 1"),
        ("[96, 64]", "[96, 8]", r"input\.size\[1\]: expected int >= 32"),
        ("[96, 64]", "[64, 96]", r"input\.size: expected \[96, 64\] as in small\.onnx, got \[64, 96\]"),
        ("64]", "64], fitt: stretch", r"input\.fitt: unknown key, did you mean 'fit'\?"),
        ("64]", "64], pad: 300", r"input\.pad: expected int <= 255"),
        ("64]", "64], scale: .inf", r"input\.scale: expected finite numbers > 0, got inf"),
        ("64]", "64], mean: [0, .nan, 0]", r"input\.mean: expected finite numbers, got 0, nan, 0"),
        ("64]", "64], std: [1, 0, 1]", r"input\.std: expected finite numbers > 0, got 1, 0, 1"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_spec_is_said_with_its_path(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    (tmp_path / "small.yaml").write_text(GOOD.replace(old, new))

    with pytest.raises(ModelError, match=said) as error:
        find_spec(model_file(tmp_path / "small.onnx"))
    assert all("\n" not in line for line in error.value.lines())


def test_several_wrong_things_are_a_line_each(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text("nmae: small\nclasses: []\ninput: {size: [96, 64], pad: -1}\n")

    with pytest.raises(ModelError) as error:
        find_spec(model_file(tmp_path / "small.onnx"))
    start = f"ModelError: {tmp_path / 'small.yaml'}: "
    assert error.value.lines() == [
        f"{start}nmae: unknown key, did you mean 'name'?",
        f"{start}head: missing",
        f"{start}classes: expected list of length >= 1",
        f"{start}input.pad: expected int >= 0",
        "  hint: `vedette model describe --help` shows a whole spec",
    ]


@pytest.mark.parametrize(
    ("shape", "dtype", "said"),
    [
        ((1, 64, 96), "float32", r"input: expected small\.onnx to have one, \(batch, 3, height, width\), got images"),
        ((4, 3, 64, 96), "float32", r"to take \(1, 3, height, width\), got images float32\[4,3,64,96\]"),
        ((1, 1, 64, 96), "float32", r"to take \(1, 3, height, width\), got images float32\[1,1,64,96\]"),
        ((1, 3, 64, 96), "int64", r"to take float32, float16, uint8, got images int64"),
        (
            (1, 3, 64, 96),
            "uint8",
            r"input\.scale: expected 1, without mean and std, for an input of uint8, got 0\.0039",
        ),
    ],
)
def test_file_that_no_spec_can_fit_is_refused(tmp_path: Path, shape: tuple[int, ...], dtype: str, said: str) -> None:
    (tmp_path / "small.yaml").write_text(GOOD)

    with pytest.raises(ModelError, match=said):
        find_spec(model_file(tmp_path / "small.onnx", shape, dtype=dtype))


def test_spec_that_is_a_folder_or_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "large.yaml").write_bytes(b"#" * (2 << 20))

    with pytest.raises(ModelError, match=r"folder\.yaml: cannot be read: Is a directory"):
        find_spec(model_file(tmp_path / "folder.onnx"))
    with pytest.raises(ModelError, match=r"large\.yaml: expected a small YAML file, got more than 1048576 bytes"):
        find_spec(model_file(tmp_path / "large.onnx"))


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*ModelSpec.__struct_fields__, "colour", "x"]), _VALUES, max_size=5))
def test_a_spec_with_anything_in_it_is_read_or_refused_with_a_model_error(changes: dict[str, object]) -> None:
    text = yaml.safe_dump(yaml.safe_load(GOOD) | changes)

    try:
        found = find_spec(model_file("/nowhere/small.onnx", metadata={"vedette": text}))
    except ModelError:
        return
    again = msgspec.convert(msgspec.to_builtins(found.spec), ModelSpec)
    assert repr(again) == repr(found.spec)  # not ==: what a gate reported may be NaN


@given(st.binary(max_size=64))
def test_bytes_that_are_no_spec_are_refused_with_a_model_error(garbage: bytes) -> None:
    with pytest.raises(ModelError):
        find_spec(model_file("/nowhere/small.onnx", metadata={"vedette": garbage.decode("latin-1")}))


def test_shipped_spec_describes_the_shipped_model() -> None:
    model = Path(__file__).resolve().parents[2] / "engines/weights/vedette-n-seed_640x384.onnx"
    spec = msgspec.yaml.decode(spec_path(model).read_bytes(), type=ModelSpec)

    assert spec.sha256 == sha256_of(model)
    assert spec.classes == ("person", "vehicle", "bike")


def test_hash_of_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot be read: No such file"):
        sha256_of(tmp_path / "none.onnx")
