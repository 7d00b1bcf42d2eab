"""Wrong input gets one clear line an error and a non-zero exit status, never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.bad_input import (
    BAD_CONFIGS,
    BAD_MESSAGES,
    BAD_MODELS,
    ENVIRON,
    BadConfig,
    BadMessage,
    BadModel,
)
from vedette.cli.main import main
from vedette.errors import MessageError
from vedette.messages import decode_message

SEED = Path(__file__).parents[2] / "engines/weights/vedette-n-seed_640x384.onnx"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("case", BAD_CONFIGS, ids=lambda case: case.name)
def test_a_wrong_configuration_is_explained(
    case: BadConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "site.yaml").write_text(case.text)
    monkeypatch.chdir(tmp_path)

    status = main(["check", "site.yaml"])

    said = capsys.readouterr()
    assert said.err.splitlines() == [f"ConfigError: site.yaml: {line}" for line in case.says]
    assert status == 2
    assert said.out == ""
    assert "hunter2-for-the-gate" not in said.err


@pytest.mark.parametrize("case", BAD_MODELS, ids=lambda case: case.name)
def test_a_wrong_model_is_explained(
    case: BadModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    if case.content is None:
        Path("model.onnx").symlink_to(SEED)
    else:
        Path("model.onnx").write_bytes(case.content)
    if case.spec is not None:
        Path("model.yaml").write_text(case.spec)

    status = main(["model", "describe", "model.onnx"])

    lines = capsys.readouterr().err.splitlines()
    assert status == 2
    assert len(lines) in (len(case.says), len(case.says) + 1), "one line an error, and perhaps a hint"
    for line, start in zip(lines, case.says, strict=False):
        assert line.startswith(start)


@pytest.mark.parametrize("case", BAD_MESSAGES, ids=lambda case: case.name)
def test_a_wrong_message_is_explained(case: BadMessage) -> None:
    with pytest.raises(MessageError) as error:
        decode_message(case.content)

    assert error.value.lines() == [f"MessageError: {case.says}"]


LONG = "x" * 300


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["model", "describe", f"{LONG}.onnx"], f"ModelError: {LONG}.onnx: cannot be read: File name too long"),
        (["model", "describe", LONG], f"ModelError: {LONG}: expected a model file or the name of a model that ships"),
        (["model", "predict", "a.png", "--model", f"{LONG}.onnx"], f"ModelError: {LONG}.onnx: cannot be read: "),
        (["model", "predict", f"{LONG}.png"], f"StillError: {LONG}.png: cannot be read: File name too long"),
        (["model", "validate", "vedette-n-seed", "--data", LONG], f"UsageError: {LONG}: file name too long"),
    ],
    ids=["model", "name", "predict", "picture", "data"],
)
def test_a_path_that_cannot_be_looked_at_is_explained(
    words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(words) == 2

    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith(says)
    assert [line for line in said[1:] if not line.startswith("  hint: ")] == []
