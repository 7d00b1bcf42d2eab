"""Wrong input gets one clear line an error and a non-zero exit status, never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.bad_input import BAD_CONFIGS, ENVIRON, BadConfig
from vedette.cli.main import main


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
