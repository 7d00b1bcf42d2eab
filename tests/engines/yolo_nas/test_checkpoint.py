"""Checkpoints: what is found in good ones, and the one line that each bad one is refused with."""

from __future__ import annotations

import collections
import io
import pickle
import re
import sys
import types
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engines.spec import InputSpec
from engines.yolo_nas import Form, YoloNas, build, fuse
from engines.yolo_nas.checkpoint import load_checkpoint
from engines.yolo_nas.inert_pickle import read_inert, read_tensors
from engines.yolo_nas.recipe import read_recipe
from tests.support.shared import SHARED
from vedette.errors import ModelError

State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def network() -> YoloNas:
    torch.manual_seed(1)
    return build("n", 2).eval()


@pytest.fixture(scope="module")
def state(network: YoloNas) -> State:
    return network.state_dict()


def save(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


def same(network: YoloNas, state: State) -> bool:
    own = network.state_dict()
    return own.keys() == state.keys() and all(torch.equal(own[key], state[key]) for key in state if not unused(key))


def unused(key: str) -> bool:
    return ".rbr_reparam." in key


def refusal(path: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load_checkpoint(path)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith(f"{path}: ")
    assert "\n" not in caught.value.problems[0]
    assert caught.value.hint is not None
    return caught.value


# Good ones.


def test_a_checkpoint_comes_back_as_it_was_saved(network: YoloNas, state: State, tmp_path: Path) -> None:
    found = load_checkpoint(save({"net": state, "epoch": 3}, tmp_path / "a.pth"))
    assert (found.variant, found.network.classes, found.network.form) == ("n", 2, Form.TRAINING)
    assert same(found.network, state)
    assert not found.network.training
    assert (found.class_names, found.input, found.score, found.nms_iou, found.notes) == (None, None, None, None, ())
    learns = {key for key, value in found.network.named_parameters() if value.requires_grad}
    assert learns == {key for key, value in network.named_parameters() if value.requires_grad}


def test_averaged_weights_go_before_the_others(state: State, tmp_path: Path) -> None:
    other = {key: value + 1 for key, value in state.items()}
    assert same(load_checkpoint(save({"net": other, "ema_net": state}, tmp_path / "a.pth")).network, state)


@pytest.mark.parametrize("prefix", ["module.", "model._orig_mod.module."])
def test_a_bare_state_dict_loads_with_any_prefix(state: State, prefix: str, tmp_path: Path) -> None:
    bare = {prefix + key: value for key, value in state.items()} | {"n_averaged": torch.tensor(5)}
    assert same(load_checkpoint(save(bare, tmp_path / "a.pth")).network, state)


def test_half_precision_without_the_unused_weights_loads_as_float32(state: State, tmp_path: Path) -> None:
    small = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    small = {key: value for key, value in small.items() if not unused(key)}
    found = load_checkpoint(save({"net": small, "class_names": ["cat", "dog"]}, tmp_path / "a.pth"))
    assert {value.dtype for value in found.network.parameters()} == {torch.float32}
    for key, value in found.network.state_dict().items():
        wanted = torch.zeros(value.shape) if unused(key) else small[key].to(value.dtype)
        assert torch.equal(value, wanted), key
    assert found.class_names == ("cat", "dog")


@pytest.mark.parametrize("variant", ["s", "m", "l"])
def test_the_variant_and_the_classes_show_in_the_shapes(variant: Any, tmp_path: Path) -> None:
    # One number for all places: a large network in a small file.
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in build(variant, 7).state_dict().items()}
    state = {key: torch.zeros(()).expand(shape) for key, shape in shapes.items() if not unused(key)}
    found = load_checkpoint(save({"net": state}, tmp_path / "a.pth"))
    assert (found.variant, found.network.classes) == (variant, 7)


@pytest.mark.skipif(SHARED is None, reason="needs ../shared/seed")
def test_the_seed_loads() -> None:
    assert SHARED is not None
    found = load_checkpoint(SHARED / "seed" / "yolo_nas_n_seed_fp16.pth")
    assert (found.variant, found.class_names) == ("n", ("person", "vehicle", "bike"))


def test_a_file_written_in_the_way_of_old_torch_loads(state: State, tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save({"net": state}, path, _use_new_zipfile_serialization=False)
    assert same(load_checkpoint(path).network, state)


# What torch refuses and is read without running it.


def omegaconf_list(monkeypatch: pytest.MonkeyPatch, items: list[str]) -> object:
    """A list as omegaconf pickles it: its content is nodes, each with its value."""

    def made(module: str, name: str, **attributes: object) -> object:
        there = sys.modules.get(module) or types.ModuleType(module)
        monkeypatch.setitem(sys.modules, module, there)
        if not hasattr(there, name):
            setattr(there, name, type(name, (), {"__module__": module}))
        thing = getattr(there, name)()
        vars(thing).update(attributes)
        return thing  # type: ignore[no-any-return]  # a type made above

    monkeypatch.setitem(sys.modules, "omegaconf", types.ModuleType("omegaconf"))
    nodes = [made("omegaconf.nodes", "AnyNode", _val=item, _metadata=None) for item in items]
    return made("omegaconf.listconfig", "ListConfig", _content=nodes, _parent=None)


PROCESSING = [
    "ReverseImageChannels",
    {"DetectionLongestMaxSizeRescale": {"output_shape": (384, 640)}},
    {"DetectionBottomRightPadding": {"output_shape": (384, 640), "pad_value": 127}},
    {"StandardizeImage": {"max_value": 255.0}},
    {"ImagePermute": {"permutation": (2, 0, 1)}},
]


def test_a_trainers_checkpoint_with_strange_objects_loads(
    state: State, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = {
        "net": {key: value + 1 for key, value in state.items()},
        "ema_net": collections.OrderedDict(state),
        "acc": np.float32(0.5),
        "metrics": collections.defaultdict(list, {"mAP": [np.float64(0.4)], "raw": np.arange(3)}),
        "optimizer_state_dict": {"state": {0: {"step": torch.tensor(1.0)}}},
        "processing_params": {
            "class_names": omegaconf_list(monkeypatch, ["person", "car"]),
            "image_processor": {"ComposeProcessing": {"processings": PROCESSING}},
            "conf": np.float64(0.25),
            "iou": 0.7,
        },
    }
    path = save(content, tmp_path / "trainer.pth")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    found = load_checkpoint(path)
    assert same(found.network, state)
    assert found.class_names == ("person", "car")
    assert found.input == InputSpec(size=(640, 384), align="top_left", pad=127, colour="bgr", scale=1 / 255)
    assert (found.score, found.nms_iou) == (0.25, 0.7)


def test_parameters_and_views_are_read_as_torch_reads_them(state: State, tmp_path: Path) -> None:
    whole = torch.arange(24, dtype=torch.float64).reshape(4, 6)
    content = {
        "view": whole[1:, ::2],
        "turned": whole.t(),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "half": torch.tensor([1.5]).half(),
        "brain": torch.tensor([2.5]).bfloat16(),
        "scalar": torch.tensor(3),
        "none": torch.zeros(0, 3),
    }
    found: Any = read_inert(save(content, tmp_path / "a.pth"))
    tensors = read_tensors(found)
    for key, value in content.items():
        got = tensors[key]
        assert got.dtype == value.dtype
        assert torch.equal(got, value.detach()), key


# Recipes.


def recipe(steps: list[Any], **params: object) -> Any:
    params |= {"image_processor": {"ComposeProcessing": {"processings": steps}}}
    return read_recipe({"processing_params": params}, 2)


def test_the_recipe_of_the_published_weights_is_known() -> None:
    steps = [
        {"DetectionLongestMaxSizeRescale": {"output_shape": (636, 636)}},
        {"DetectionCenterPadding": {"output_shape": (640, 640), "pad_value": 114}},
        {"StandardizeImage": {"max_value": 255.0}},
        {"ImagePermute": {"permutation": (2, 0, 1)}},
    ]
    found = recipe(steps, class_names=["a", "b"], conf=0.25, iou=0.7)
    assert found.input == InputSpec(size=(640, 640))
    assert found.notes == ("pictures are fitted into 640x640, not into 636x636 within it as in its own pre-processing",)


def test_channels_that_are_reversed_twice_are_not_reversed() -> None:
    steps = ["ReverseImageChannels", *PROCESSING]
    assert recipe(steps).input.colour == "rgb"


def test_stretched_and_normalised_pictures_are_known() -> None:
    steps = [
        {"DetectionRescale": {"output_shape": [320, 416]}},
        {"StandardizeImage": {}},
        {"NormalizeImage": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}},
    ]
    assert recipe(steps).input == InputSpec(
        size=(416, 320), fit="stretch", scale=1 / 255, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)
    )


def test_a_picture_normalised_before_it_is_divided_comes_out_the_same() -> None:
    steps = [
        {"DetectionRescale": {"output_shape": [320, 416]}},
        {"NormalizeImage": {"mean": [100, 110, 120], "std": [50, 60, 70]}},
        {"StandardizeImage": {"max_value": 2.0}},
    ]
    got = recipe(steps).input
    level = 200.0
    wanted = [(level - mean) / std / 2 for mean, std in zip((100, 110, 120), (50, 60, 70), strict=True)]
    assert [(level * got.scale - m) / s for m, s in zip(got.mean, got.std, strict=True)] == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("steps", "note"),
    [
        ([{"Blur": {}}, *PROCESSING], "unknown steps or settings: Blur"),
        (["StandardizeImage"], "it says no size"),
        ([{"DetectionRescale": {"output_shape": [100, 100]}}], "100x100 is not a size in multiples of 32"),
        ([{"DetectionCenterPadding": {"output_shape": [64, 64], "pad_value": [1, 2, 3]}}], "pad_value [1, 2, 3]"),
        ([{"NormalizeImage": {"mean": [1], "std": [0]}}], "NormalizeImage"),
    ],
)
def test_a_recipe_that_cannot_be_kept_is_noted(steps: list[Any], note: str) -> None:
    found = recipe(steps)
    assert found.input is None
    assert [note in said for said in found.notes] == [True]


@pytest.mark.parametrize(
    ("names", "note"), [(["a"], "it names 1, but its network has 2 classes"), (["a", "a"], "not all different names")]
)
def test_class_names_that_do_not_fit_are_noted(names: list[str], note: str) -> None:
    found = read_recipe({"class_names": names}, 2)
    assert found.class_names is None
    assert note in found.notes[0]


# Bad ones.


def test_no_file_is_refused(tmp_path: Path) -> None:
    assert "no such checkpoint" in refusal(tmp_path / "none.pth").message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "got an empty file"),
        (b"<html>404</html>", "expected a checkpoint as torch.save writes it, got a file that starts with b'<html>40'"),
        (b"PK\x03\x04 cut", "cut short or damaged"),
        (b"\x80", "is not a checkpoint that can be read"),
        (pickle.dumps([1, 2]), "expected a mapping with the weights of a YOLO-NAS, got a list"),
        (pickle.dumps({"a": 1}), "holds no weights: expected ema_net, net or tensors by name, got a"),
        (pickle.dumps(np.ones(3)), "got something else"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else "",
)
def test_a_file_of_another_kind_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.pth"
    path.write_bytes(content)
    assert said in refusal(path).message


@pytest.mark.parametrize("part", [0.01, 0.3, 0.999])
def test_a_truncated_checkpoint_is_refused(state: State, part: float, tmp_path: Path) -> None:
    path = save({"net": state}, tmp_path / "cut.pth")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    assert "is a checkpoint cut short or damaged" in refusal(path).message


def archive(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def test_a_zip_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    said = refusal(archive(tmp_path / "a.pth", {"readme.txt": b"x", "b/c": b"y"})).message
    assert "is a zip archive, but not one of torch: expected data.pkl in it, got readme.txt, b/c" in said


def test_a_packed_archive_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    """A small file that becomes a huge one."""
    members = {"a/data.pkl": pickle.dumps(np.float32(1)), "a/data/0": bytes(1 << 20)}
    said = refusal(archive(tmp_path / "a.pth", members, zipfile.ZIP_DEFLATED)).message
    assert "nothing in it compressed, got a/data.pkl compressed" in said


def test_a_torchscript_module_is_refused(tmp_path: Path) -> None:
    members = {"a/data.pkl": b"\x80\x02N.", "a/constants.pkl": b"", "a/version": b"3"}
    assert "is a TorchScript module" in refusal(archive(tmp_path / "a.pth", members)).message


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    other = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    said = refusal(save({"state_dict": other.state_dict()}, tmp_path / "other.pth"))
    assert (
        "expected the weights of a YOLO-NAS, got those of another network: 7 tensors, 0.weight, 0.bias" in said.message
    )
    assert said.hint is not None
    assert "export to ONNX" in said.hint


def test_a_checkpoint_that_nearly_fits_is_told_where_it_does_not(state: State, tmp_path: Path) -> None:
    odd = dict(state)
    odd["heads.head1.extra"] = odd.pop("heads.head2.cls_pred.bias")
    odd["backbone.stem.conv.branch_1x1.weight"] = torch.zeros(24, 4, 1, 1)
    assert refusal(save({"net": odd}, tmp_path / "odd.pth")).message.endswith(
        "is no YOLO-NAS; beside the nearest, N with 2 classes: 1 missing (heads.head2.cls_pred.bias), "
        "1 unexpected (heads.head1.extra), 1 of another shape (backbone.stem.conv.branch_1x1.weight: "
        "expected [24, 3, 1, 1], got [24, 4, 1, 1])"
    )


def test_only_all_of_the_unused_weights_may_be_missing(state: State, tmp_path: Path) -> None:
    odd = dict(state)
    del odd["backbone.stem.conv.rbr_reparam.bias"]
    assert "1 missing (backbone.stem.conv.rbr_reparam.bias)" in refusal(save(odd, tmp_path / "odd.pth")).message


@pytest.mark.parametrize("form", [Form.PARTIAL, Form.FULL, Form.FOLDED])
def test_a_fused_network_is_refused(network: YoloNas, form: Form, tmp_path: Path) -> None:
    path = save({"net": fuse(network, form).state_dict()}, tmp_path / "fused.pth")
    assert "holds a YOLO-NAS N that is fused already, expected one as trained" in refusal(path).message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(state: State, value: float, tmp_path: Path) -> None:
    odd = dict(state)
    key = "neck.neck1.upsample.weight"
    odd[key] = odd[key].clone()
    odd[key][0, 0] = value
    said = refusal(save({"net": odd}, tmp_path / "odd.pth"))
    assert said.message.endswith(f"{key}: expected finite weights, got 4 of 36864 NaN or infinite")
    assert said.hint == "the training has diverged; take an earlier checkpoint"


def test_weights_of_another_kind_are_refused(state: State, tmp_path: Path) -> None:
    key = "neck.neck1.upsample.weight"
    whole = refusal(save({"net": state | {key: state[key].to(torch.int8)}}, tmp_path / "int.pth"))
    assert whole.message.endswith(f"{key}: expected floating point numbers, got int8")
    sparse = refusal(save({"net": state | {key: state[key].to_sparse()}}, tmp_path / "sparse.pth"))
    assert sparse.message.endswith(f"{key}: expected a plain tensor, got a sparse or quantized one")


# Files that were made to attack whoever loads them. The proof that nothing ran is a file that is not there.


class _Touch:
    """Touches a file when it is unpickled in the usual way."""

    def __init__(self, path: Path, how: str) -> None:
        self.path, self.how = path, how

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        line = f"open({str(self.path)!r}, 'w').close()"
        match self.how:
            case "os.system":
                return (os.system, (f"touch {self.path}",))
            case "builtins.exec":
                return (exec, (line,))
            case _:
                return (eval, (line,))


@pytest.mark.parametrize("how", ["os.system", "builtins.exec", "builtins.eval"])
@pytest.mark.parametrize("kind", ["archive", "bare"])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(
    state: State, how: str, kind: str, tmp_path: Path
) -> None:
    touched = tmp_path / "touched"
    content = {"net": state, "acc": _Touch(touched, how)}
    path = tmp_path / "evil.pth"
    if kind == "archive":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps({"acc": content["acc"]}))
    said = refusal(path)
    name = how.replace("os.", "posix.")
    assert re.search(f"would run {name} on the machine of whoever loads it; nothing of it was run", said.message)
    assert not touched.exists()
    with path.open("rb") as file:  # It would have, in the usual way.
        if kind == "bare":
            pickle.load(file)
            assert touched.exists()


class _Own:
    """A class of somebody's own, whose methods would run when it is unpickled in the usual way."""

    loaded = False

    def __setstate__(self, state: object) -> None:
        type(self).loaded = True

    def __getstate__(self) -> dict[str, int]:
        return {"x": 1}


def test_a_class_of_somebodys_own_is_never_imported_or_run(tmp_path: Path) -> None:
    path = save({"net": {"weight": torch.ones(2)}, "metrics": _Own()}, tmp_path / "own.pth")
    found: Any = read_inert(path)
    assert read_tensors(found["net"])["weight"].tolist() == [1.0, 1.0]
    assert not _Own.loaded
    torch.load(path, weights_only=False)  # what it would have done
    assert _Own.loaded


def program(*lines: bytes) -> bytes:
    """A pickle in a torch archive, by its instructions."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a/data.pkl", b"\x80\x02" + b"".join(lines) + b".")
        file.writestr("a/data/0", b"\x00" * 16)
        file.writestr("a/version", b"3")
    return buffer.getvalue()


def test_a_pickle_cannot_alter_what_it_names(tmp_path: Path) -> None:
    """BUILD on a function or class sets attributes of it: in the usual way for the whole process, here of stand-ins."""
    before = dict(vars(torch._utils._rebuild_tensor_v2))
    targets = (
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"ccollections\nOrderedDict\n",
        b"ctorch\nFloatStorage\n",
        b"cnumpy\nndarray\n",
        b"c_codecs\nencode\n",
    )
    path = tmp_path / "evil.pth"
    for target in targets:
        # The same twice: (None, {"x": 1}) as slots' state, then a call of what it gave.
        path.write_bytes(program(target, b"(N}X\x01\x00\x00\x00xK\x01stb"))
        refusal(path)
        path.write_bytes(program(target, b")R}X\x01\x00\x00\x00xK\x01sb"))
        refusal(path)
    assert vars(torch._utils._rebuild_tensor_v2) == before
    assert not hasattr(collections.OrderedDict, "x")
    assert not hasattr(torch.FloatStorage, "x")


def test_a_tensor_that_reaches_beyond_its_storage_is_refused(tmp_path: Path) -> None:
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x02(K\x02K\x02t(K\x02K\x01t\x89NtR"
    # {"far": the tensor, "odd": a class that makes torch refuse the file}
    path = tmp_path / "far.pth"
    path.write_bytes(program(b"}(X\x03\x00\x00\x00far", tensor, b"X\x03\x00\x00\x00oddcmine\nOwn\nu"))
    found: Any = read_inert(path)
    with pytest.raises(ModelError, match=r"far: \[2, 2\] cannot be read from a/data/0"):
        read_tensors({"far": found["far"]})


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_pickle_is_one_line(state: State, seed: int, tmp_path: Path) -> None:
    path = save({"acc": np.float32(1), "net": dict(list(state.items())[:3])}, tmp_path / "a.pth")
    with zipfile.ZipFile(path) as file:
        members = {name: bytearray(file.read(name)) for name in file.namelist()}
    generator = np.random.default_rng(seed)
    data = members["a/data.pkl"]
    for place in generator.integers(2, len(data), 4):
        data[place] = generator.integers(256)
    refusal(archive(path, {name: bytes(value) for name, value in members.items()}))


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_archive_is_one_line(seed: int, tmp_path: Path) -> None:
    path = save({"net": {"weight": torch.ones(4)}}, tmp_path / "a.pth")
    data = bytearray(path.read_bytes())
    generator = np.random.default_rng(seed)
    for place in generator.integers(2, len(data), 40):
        data[place] = generator.integers(256)
    path.write_bytes(data)
    refusal(path)
