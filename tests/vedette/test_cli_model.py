"""`vedette model describe` on models that the tests build, and on files that are none."""

from __future__ import annotations

import json
import os
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

import engines
from vedette.cli.main import main

SEED = Path(engines.__file__).parent / "weights" / "vedette-n-seed_640x384.onnx"

SPEC = "name: tiny\nhead: end2end\nclasses: [person, car]\ninput: {size: [64, 64], fit: stretch, colour: bgr}\n"


def tiny_model(path: Path, columns: int, spec: str | None = None) -> Path:
    """A model of input (1, 3, 64, 64) whose output is a constant (1, 2, columns)."""
    value = helper.make_tensor("value", TensorProto.FLOAT, [1, 2, columns], [0.0] * 2 * columns)
    graph = helper.make_graph(
        [helper.make_node("Constant", [], ["found"], value=value)],
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("found", TensorProto.FLOAT, [1, 2, columns])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if spec is not None:
        helper.set_model_props(model, {"vedette": spec})
    onnx.save(model, str(path))
    return path


def test_the_model_that_ships_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "describe", str(SEED)]) == 0

    out = capsys.readouterr().out
    assert "head        yolo_nas\n" in out
    assert "inputs      images float32[1,3,384,640]\n" in out
    assert "3 classes   person, vehicle, bike\n" in out


def test_json_holds_file_and_spec(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "describe", str(tiny_model(tmp_path / "tiny.onnx", 6, SPEC)), "--json"]) == 0

    described = json.loads(capsys.readouterr().out)
    assert described["outputs"] == [{"name": "found", "shape": [1, 2, 6], "dtype": "float32"}]
    assert described["spec_from"] == "the file's metadata"
    assert described["spec"]["classes"] == ["person", "car"]
    assert described["spec"]["input"]["fit"] == "stretch"
    assert described["spec"]["sha256"] == described["sha256"]


def test_a_class_name_cannot_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = SPEC.replace("car", '"c\\e[2Jar"')  # as YAML escapes it
    assert main(["model", "describe", str(tiny_model(tmp_path / "tiny.onnx", 6, spec))]) == 0

    assert "person, c?[2Jar" in capsys.readouterr().out


def test_a_spec_beside_the_file_comes_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny_model(tmp_path / "tiny.onnx", 6, SPEC)
    (tmp_path / "tiny.yaml").write_text("name: other\nhead: end2end\nclasses: [bird]\ninput: {size: [64, 64]}\n")

    assert main(["model", "describe", str(model)]) == 0
    out = capsys.readouterr().out
    assert "name        other\n" in out
    assert "1 classes   bird\n" in out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "bad.onnx: is not an ONNX model"),
        (b"garbage", "bad.onnx: is not an ONNX model"),
        (SEED.read_bytes()[:100_000], "bad.onnx: is not an ONNX model"),
    ],
    ids=["empty", "garbage", "cut short"],
)
def test_a_file_that_is_no_model_gets_one_line_and_a_hint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)

    assert main(["model", "describe", str(path)]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("ModelError: ")
    assert message in first
    assert second.startswith("  hint: ")


def test_outputs_that_do_not_fit_the_head_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny_model(tmp_path / "tiny.onnx", 7, SPEC)

    assert main(["model", "describe", str(model)]) == 2
    assert "expected one output [?,?,6], got found [1,2,7]" in capsys.readouterr().err


def test_a_model_without_a_spec_is_told_which_keys_to_add(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "describe", str(tiny_model(tmp_path / "tiny.onnx", 7))]) == 2

    first, second = capsys.readouterr().err.splitlines()
    assert "outputs found float32[1,2,7]" in first
    assert "tiny.yaml with the keys name, head, classes, input" in second


def test_a_name_that_is_not_utf_8_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.onnx"))
    odd.write_bytes(SEED.read_bytes())

    assert main(["model", "describe", str(odd)]) == 2
    assert "caf?.onnx: expected a name in UTF-8" in capsys.readouterr().err
    assert main(["model", "export", "yolo-nas-n", "--size", "64", "--out", str(odd.with_name("b\udce9.onnx"))]) == 2
    assert "b?.onnx: expected a name in UTF-8" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [odd]
