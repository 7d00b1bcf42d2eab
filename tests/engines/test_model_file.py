"""What an ONNX file says of itself, and every way in which a file may be none."""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.options import ModelOptions
from engines.runtimes import open_engine, read_model_file
from engines.spec import Tensor
from tests.support.tiny_models import SPEC, mean_model, picky_model
from vedette.errors import ModelError


def test_names_shapes_types_hash_and_size_are_read(tmp_path: Path) -> None:
    path = picky_model(tmp_path / "picky.onnx")

    file = read_model_file(path)

    assert file.inputs == (Tensor(name="images", shape=(1, 3, 32, 64), dtype="float32"),)
    assert file.outputs == (Tensor(name="output", shape=(1, -1, -1), dtype="float32"),)
    assert str(file.outputs[0]) == "output float32[1,?,?]"
    assert file.bytes == path.stat().st_size
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert file.metadata == {}


def test_metadata_carries_the_spec(tmp_path: Path) -> None:
    path = mean_model(tmp_path / "with.onnx", spec=None)
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {"vedette": SPEC})
    path.write_bytes(model.SerializeToString())

    engine = open_engine(ModelOptions(path=str(path)), now_ns=lambda: 0)

    assert engine.spec.classes == ("person", "car")
    assert engine.spec.sha256 == read_model_file(path).sha256


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.onnx", None, "no such model file"),
        ("empty.onnx", b"", "is not an ONNX model that can be loaded: No graph was found"),
        ("text.onnx", b"garbage\n", "is not an ONNX model that can be loaded: Protobuf parsing failed"),
        ("zeros.onnx", bytes(1000), "is not an ONNX model that can be loaded: Protobuf parsing failed"),
        ("weights.pth", b"PK", "is a checkpoint cut short or damaged"),
        ("weights.bin", b"PK", r"expected an ONNX file \(\.onnx\), got \.bin"),
        ("plan.engine", b"PK", "is not an engine file of Vedette's; a bare plan does not say what it was built for"),
        ("weights", b"x", "got no ending"),
    ],
)
def test_what_is_no_model_is_said_in_one_line(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ModelError, match=said) as error:
        read_model_file(path)
    assert str(path) in error.value.message
    assert "\n" not in error.value.message


def test_folder_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()

    with pytest.raises(ModelError, match="no such model file"):
        read_model_file(tmp_path / "folder.onnx")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mean_model(tmp_path_factory.mktemp("tiny") / "tiny.onnx", spec=None)


@settings(max_examples=60)
@given(st.data())
def test_model_with_bytes_changed_or_cut_off_is_read_or_refused(tiny: Path, data: st.DataObject) -> None:
    content = bytearray(tiny.read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    broken = tiny.with_name("broken.onnx")
    broken.write_bytes(content[: data.draw(st.integers(0, len(content)))])

    try:
        read_model_file(broken)
    except ModelError as error:
        message = error.message
    else:
        message = ""
    assert "\n" not in message
