"""What `vedette demo` runs: which cameras, which model, which sinks. The embedded Redis is its only sink."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from engines.weights import DEFAULT, find_model
from pipeline.config import Config
from pipeline.config_file import load_config, make_config
from stages.options import RedisSinkOptions, SpoolOptions
from vedette.errors import UsageError
from vedette.secrets import SecretUrl

DEFAULT_MODEL = find_model(DEFAULT)
"""YOLO-NAS N in INT8, for CPUs: made and checked as docs/int8.md says."""

_CAMERAS = {
    "market-street": "synthetic://street?people=6&vehicles=2&bikes=1&seed=1&fps=8",
    "station-road": "synthetic://street?people=4&vehicles=3&bikes=1&seed=2&fps=8",
    "night-shift": "synthetic://street?people=4&vehicles=2&bikes=0&seed=3&fps=8&time=night",
}


def demo_config(*, source: str | None, config: Path | None, model: Path | None, redis_url: str, folder: Path) -> Config:
    """The demo's configuration; sinks of a given `config` give way to the demo's own Redis.

    Raises UsageError for a source that holds a password, ConfigError for one that is none.
    """
    sinks = (RedisSinkOptions(url=SecretUrl(redis_url), spool=SpoolOptions(path=str(folder / "spool"))),)
    if config is not None:
        given = load_config(config, os.environ)
        changed = msgspec.structs.replace(given, sinks=sinks, http=None)
        if model is not None:
            changed = msgspec.structs.replace(changed, model=msgspec.structs.replace(given.model, path=str(model)))
        return changed
    values = {
        "version": 1,
        "model": {"path": str(model or DEFAULT_MODEL)},
        "track": {"memory_s": 1.5, "confirm_s": 0.3},
        "streams": _streams(source),
        "sinks": [{"kind": "redis", "url": redis_url, "spool": {"path": str(folder / "spool")}}],
    }
    return make_config(values, name="the demo", base=Path.cwd())


def _streams(source: str | None) -> list[dict[str, object]]:
    if source is None:
        return [{"id": name, "url": url, "mode": "live"} for name, url in _CAMERAS.items()]
    url = SecretUrl(source)
    if url.has_password:
        msg = f"--source: {url} holds a password, which every user of this machine could read in the process list"
        raise UsageError(
            msg,
            hint="write it into a configuration as ${NAME} and give that: --config FILE, or make demo CONFIG=FILE "
            "(see configs/cameras.yaml)",
        )
    if source and url.scheme == "":
        source = str(Path(source).expanduser())
    return [{"id": "source", "url": source, "mode": "live", "loop": url.scheme in {"", "file"}}]
