"""YOLO-NAS as ONNX: the same numbers as in torch in every runtime and batch, and a graph that can be quantized."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import openvino
import pytest
import torch

from engines.heads import build_head
from engines.runtimes import read_model_file
from engines.spec import InputSpec, ModelSpec, find_spec
from engines.yolo_nas import Form, VariantName, YoloNas, build, fuse
from engines.yolo_nas.export import as_onnx, difference, export_onnx
from engines.yolo_nas.random_weights import random_network
from tests.support import parity
from vedette.errors import ModelError

BOX_PX = 5e-3
SCORE = 1e-5

Pair = tuple[npt.NDArray[Any], npt.NDArray[Any]]


def spec_of(network: YoloNas, size_wh: tuple[int, int]) -> ModelSpec:
    names = tuple(f"class {number}" for number in range(network.classes))
    return ModelSpec(name="exported", head="yolo_nas", classes=names, input=InputSpec(size=size_wh), score=0.3)


def pictures(count: int, width: int, height: int) -> npt.NDArray[np.float32]:
    squares = np.random.default_rng(5).random((count, 3, height // 16, width // 16), np.float32)
    return squares.repeat(16, axis=2).repeat(16, axis=3)


def in_torch(network: YoloNas, images: npt.NDArray[np.float32]) -> Pair:
    with torch.no_grad():
        boxes, scores = network(torch.from_numpy(images))
    return boxes.numpy(), scores.numpy()


def in_onnxruntime(model: onnx.ModelProto, images: npt.NDArray[np.float32]) -> Pair:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    boxes, scores = session.run(["boxes", "scores"], {"images": images})
    return boxes, scores


def in_openvino(model: onnx.ModelProto, images: npt.NDArray[np.float32]) -> Pair:
    core = openvino.Core()
    read = core.read_model(model.SerializeToString())
    compiled = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1})
    found = compiled(images)
    return found[0], found[1]


def assert_same(got: Pair, wanted: Pair) -> None:
    assert got[0].shape == wanted[0].shape
    assert got[1].shape == wanted[1].shape
    np.testing.assert_allclose(got[0], wanted[0], rtol=0, atol=BOX_PX)
    np.testing.assert_allclose(got[1], wanted[1], rtol=0, atol=SCORE)


@pytest.fixture(scope="module")
def network() -> YoloNas:
    return random_network("n", 2)


@pytest.fixture(scope="module")
def fixed(network: YoloNas) -> onnx.ModelProto:
    return as_onnx(network, spec_of(network, (96, 64)))


@pytest.fixture(scope="module")
def free(network: YoloNas) -> onnx.ModelProto:
    return as_onnx(network, spec_of(network, (96, 64)), dynamic_size=True)


@pytest.mark.parametrize("runtime", [in_onnxruntime, in_openvino])
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_every_batch_gives_what_torch_gives(network: YoloNas, fixed: onnx.ModelProto, runtime: Any, batch: int) -> None:
    images = pictures(batch, 96, 64)
    assert_same(runtime(fixed, images), in_torch(network, images))


@pytest.mark.parametrize("runtime", [in_onnxruntime, in_openvino])
@pytest.mark.parametrize(("batch", "width", "height"), [(1, 96, 64), (3, 32, 128), (8, 64, 32)])
def test_every_size_gives_what_torch_gives_where_the_size_is_free(
    network: YoloNas, free: onnx.ModelProto, runtime: Any, batch: int, width: int, height: int
) -> None:
    images = pictures(batch, width, height)
    assert_same(runtime(free, images), in_torch(network, images))


@pytest.mark.skipif(parity.FOLDER is None, reason="needs ../shared/parity")
@pytest.mark.parametrize(("variant", "shape_hw"), [("n", (96, 160)), ("s", (64, 64)), ("s", (96, 160))])
def test_the_file_gives_the_boxes_and_scores_of_the_references(variant: VariantName, shape_hw: tuple[int, int]) -> None:
    keys = parity.keys(variant)
    network = build(variant, keys["num_classes"])
    weights = parity.weights(keys["training"])
    network.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    model = as_onnx(network.eval(), spec_of(network, (shape_hw[1], shape_hw[0])))
    wanted = parity.references(variant, shape_hw)
    for runtime in (in_onnxruntime, in_openvino):
        assert_same(runtime(model, parity.image(shape_hw)), (wanted["boxes"], wanted["scores"]))


@pytest.mark.parametrize("form", [Form.PARTIAL, Form.FULL, Form.FOLDED])
def test_a_network_in_any_form_gives_the_same_file(network: YoloNas, fixed: onnx.ModelProto, form: Form) -> None:
    other = as_onnx(fuse(network, form), spec_of(network, (96, 64)))
    assert [node.name for node in other.graph.node] == [node.name for node in fixed.graph.node]
    for ours, theirs in zip(other.graph.initializer, fixed.graph.initializer, strict=True):
        assert ours.name == theirs.name
        np.testing.assert_allclose(
            onnx.numpy_helper.to_array(ours), onnx.numpy_helper.to_array(theirs), rtol=1e-4, atol=1e-6
        )


def test_the_same_network_gives_the_same_bytes(network: YoloNas, fixed: onnx.ModelProto) -> None:
    assert as_onnx(network, spec_of(network, (96, 64))).SerializeToString() == fixed.SerializeToString()


def test_the_body_is_made_of_few_kinds_of_nodes(fixed: onnx.ModelProto) -> None:
    body = Counter(node.op_type for node in fixed.graph.node if not decodes(node))
    assert body == {"Conv": 98, "Relu": 92, "Mul": 20, "Add": 20, "Concat": 13, "MaxPool": 3, "ConvTranspose": 2}
    # Nothing computes shapes, and nothing fixes the batch.
    assert [node.op_type for node in fixed.graph.node if decodes(node)] == [
        *("Transpose", "Reshape") * 3,
        *("Concat", "Sigmoid"),
        *("Reshape",) * 3,
        *("Concat", "Softmax", "MatMul", "Reshape", "Transpose", "Mul", "Add"),
    ]
    batches = {value.type.tensor_type.shape.dim[0].dim_param for value in fixed.graph.value_info}
    assert batches <= {"batch", ""}


def decodes(node: onnx.NodeProto) -> bool:
    return node.name.startswith("decode.") or node.name in {"boxes", "scores"}


def test_nodes_and_weights_have_the_names_of_modules_and_parameters(network: YoloNas, fixed: onnx.ModelProto) -> None:
    folded = fuse(network, Form.FOLDED)
    modules = {name for name, _ in folded.named_modules()}
    for node in fixed.graph.node:
        if decodes(node):
            continue
        place = re.sub(r"\.(add|mul|concat)$", "", node.name)
        assert place in modules, node.name
    names = [node.name for node in fixed.graph.node]
    assert len(set(names)) == len(names)
    for known in (
        "backbone.stem.conv.rbr_reparam",
        "backbone.stage2.blocks.bottlenecks.1.cv2.act",
        "backbone.stage2.blocks.bottlenecks.1.mul",
        "backbone.stage2.blocks.bottlenecks.1.add",
        "backbone.context_module.concat",
        "neck.neck1.upsample",
        "heads.head3.reg_pred",
    ):
        assert known in names
    weights = {weight.name for weight in fixed.graph.initializer if not weight.name.startswith("decode.")}
    assert weights == set(folded.state_dict())


def test_the_file_is_a_whole_model(network: YoloNas, tmp_path: Path) -> None:
    spec = spec_of(network, (96, 64))
    out = export_onnx(network, msgspec.structs.replace(spec, sha256="0" * 64, unverified=True), tmp_path / "a.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]
    file = read_model_file(out)
    found = find_spec(file)
    assert found.origin == "the file's metadata"
    assert found.spec == msgspec.structs.replace(spec, sha256=file.sha256)
    build_head(found.spec).check({tensor.name: tensor.shape for tensor in file.outputs})
    assert [str(tensor) for tensor in (*file.inputs, *file.outputs)] == [
        "images float32[?,3,64,96]",
        "boxes float32[?,126,4]",
        "scores float32[?,126,2]",
    ]
    model = onnx.load(out)
    assert model.opset_import[0].version == 17
    apart = difference(network, out, (96, 64))
    assert apart.boxes_px < BOX_PX
    assert apart.scores < SCORE


def test_a_file_of_any_size_says_so(network: YoloNas, tmp_path: Path) -> None:
    out = export_onnx(network, spec_of(network, (96, 64)), tmp_path / "a.onnx", dynamic_size=True)
    file = read_model_file(out)
    assert find_spec(file).spec.input.size == (96, 64)
    assert [str(tensor) for tensor in (*file.inputs, *file.outputs)] == [
        "images float32[?,3,?,?]",
        "boxes float32[?,?,4]",
        "scores float32[?,?,2]",
    ]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"head": "yolox"}, "spec 'exported': head: expected yolo_nas, got yolox"),
        ({"classes": ("one",)}, "spec 'exported': classes: expected 2 names, as the network has, got 1"),
        ({"input": InputSpec(size=(96, 80))}, "spec 'exported': input.size: expected multiples of 32, got 96x80"),
    ],
)
def test_a_spec_of_another_network_is_refused(
    network: YoloNas, changed: dict[str, Any], said: str, tmp_path: Path
) -> None:
    spec = msgspec.structs.replace(spec_of(network, (96, 64)), **changed)
    with pytest.raises(ModelError) as caught:
        export_onnx(network, spec, tmp_path / "a.onnx")
    assert caught.value.problems == (said,)
    assert not list(tmp_path.iterdir())


def test_a_spec_that_lies_beside_is_never_taken_for_the_new_one(network: YoloNas, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: old\n")
    with pytest.raises(ModelError, match=r"a\.yaml: lies beside and would be read as the spec of the new a\.onnx"):
        export_onnx(network, spec_of(network, (96, 64)), tmp_path / "a.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["a.yaml"]


@pytest.mark.parametrize(
    ("name", "said"),
    [("a.pth", "expected a name that ends in .onnx"), ("none/a.onnx", "cannot be written: No such file or directory")],
)
def test_a_place_where_it_cannot_be_written_is_refused(network: YoloNas, name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=said):
        export_onnx(network, spec_of(network, (96, 64)), tmp_path / name)
    assert not list(tmp_path.iterdir())
