"""The configuration file: read once at start, into frozen typed values, or refused with everything that is wrong.

`load_config` is what every command uses; `resolved` shows what was understood, secrets masked; `stream_fingerprint`
names what a stream's results depend on. The three steps live beside this module: `config_yaml` (text to plain values,
`${NAME}`), `config_convert` (plain values to structs) and `config_checks` (what must hold across fields).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from engines.options import ModelOptions
from engines.weights import find_model
from pipeline.config import Config
from pipeline.config_checks import Checks, absolute, file_path
from pipeline.config_convert import convert
from pipeline.config_yaml import MAX_BYTES, Document, read_yaml
from pipeline.logs import hide_in_logs
from stages.options import JsonlSinkOptions, RedisSinkOptions, SinkOptions, StreamOptions, TlsOptions
from vedette.errors import ConfigError
from vedette.secrets import SecretUrl

logger = logging.getLogger(__name__)

# What decides how a stream is reached or how patiently, but not what its frames are.
_NOT_ANALYSED = frozenset({"url", "transport", "open_timeout_s", "read_timeout_s", "clock_tolerance_s", "tls"})


def load_config(path: Path | str, environ: Mapping[str, str]) -> Config:
    """The configuration in the file at `path`, `${NAME}` taken from `environ`, all paths absolute, modes filled in.

    Raises ConfigError with one problem for each thing that is wrong, in the order of the file; no problem ever holds
    a password or a value from the environment. Logs a warning for each password that stands in the file itself, and
    has every password and token masked in the logs from then on.
    """
    path = Path(path)
    try:
        document = read_yaml(_read(path), environ)
    except ConfigError as error:
        raise ConfigError([f"{path}: {problem}" for problem in error.problems]) from None
    if document.root is None and not document.problems:
        msg = f"{path}: expected a mapping that begins with version: 1, got an empty file"
        raise ConfigError(msg)
    return _build(document, str(path), Path.cwd() / path.parent)


def make_config(values: Mapping[str, Any], *, name: str, base: Path) -> Config:
    """The configuration that a file with these values would make; `name` stands for the file in errors.

    For commands that make a configuration out of options. Raises ConfigError as `load_config` does.
    """
    return _build(Document(root=dict(values)), name, base)


def _build(document: Document, path: str, base: Path) -> Config:
    converted = convert(document.root, Config, document.problems)
    Checks(converted, base).run()
    if converted.problems:
        problems = sorted(converted.problems, key=lambda problem: _line(document, problem[0]))
        raise ConfigError([f"{path}: {where}: {text}" if where else f"{path}: {text}" for where, text in problems])
    config: Config = converted.value
    hide_in_logs(_secrets(config))
    for where, shown in _clear_passwords(config, document):
        logger.warning("%s: %s: a password in clear, %s; ${NAME} takes it from the environment", path, where, shown)
    return _settle(config, base)


def resolved(config: Config) -> str:
    """The whole configuration as YAML, defaults and absolute paths included, secrets masked."""
    plain = msgspec.to_builtins(config, enc_hook=str)
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)


def stream_fingerprint(config: Config, stream: StreamOptions) -> str:
    """A hash (64 hex digits) of all settings on which this stream's messages depend: model, tracking, its own.

    Where the stream and the model come from is not in it, nor on which GPUs it runs, nor is anything secret; hash those
    files beside it.
    """
    model = {
        key: value for key, value in msgspec.to_builtins(config.model).items() if key not in {"path", "name", "gpu"}
    }
    own = msgspec.to_builtins(stream, enc_hook=str)
    settings = {
        "model": model,
        "track": msgspec.to_builtins(config.track),
        "stream": {key: value for key, value in own.items() if key not in _NOT_ANALYSED},
    }
    return hashlib.sha256(msgspec.json.encode(settings, order="deterministic")).hexdigest()


def _read(path: Path) -> bytes:
    """At most one byte more than a configuration may have. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        msg = "no such file"
        raise ConfigError(msg) from None
    except IsADirectoryError:
        msg = "expected a file, got a directory"
        raise ConfigError(msg) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        msg = f"cannot be read: {reason or 'not a file name'}"
        raise ConfigError(msg) from None


def _line(document: Document, path: str) -> int:
    """The line of `path`, or of the nearest thing around it that is in the file."""
    while path and path not in document.lines:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return document.lines.get(path, 0)


def _clear_passwords(config: Config, document: Document) -> list[tuple[str, str]]:
    """(path, masked URL) of each URL whose password is written in the file."""
    found = []
    for section, items in (("streams", config.streams), ("sinks", config.sinks)):
        for index, item in enumerate(items):
            url = getattr(item, "url", None)
            raw = document.root[section][index].get("url")
            if isinstance(url, SecretUrl) and url.has_password and type(raw) is str:
                found.append((f"{section}[{index}].url", str(url)))
    return found


def _secrets(config: Config) -> list[str]:
    urls = [stream.url for stream in config.streams]
    urls += [sink.url for sink in config.sinks if isinstance(sink, RedisSinkOptions)]
    token = config.http.token if config.http else None
    return [word for url in urls for word in url.secrets()] + ([token.reveal()] if token else [])


def _settle(config: Config, base: Path) -> Config:
    """The same configuration with absolute paths and with every stream's mode."""
    replace = msgspec.structs.replace
    return replace(
        config,
        model=replace(config.model, path=str(_model_path(config.model, base)), name=None),
        streams=tuple(_settle_stream(stream, base) for stream in config.streams),
        sinks=tuple(_settle_sink(sink, base) for sink in config.sinks),
    )


def _model_path(model: ModelOptions, base: Path) -> Path:
    return absolute(model.path, base) if model.name is None else find_model(model.name)


def _settle_stream(stream: StreamOptions, base: Path) -> StreamOptions:
    path = file_path(stream.url)
    if path is None:
        mode, url = stream.mode or "live", stream.url
    else:
        mode, url = stream.mode or "file", SecretUrl(str(absolute(path, base)))
    return msgspec.structs.replace(stream, mode=mode, url=url, tls=_settle_tls(stream.tls, base))


def _settle_sink(sink: SinkOptions, base: Path) -> SinkOptions:
    replace = msgspec.structs.replace
    if isinstance(sink, JsonlSinkOptions):
        return replace(sink, path=str(absolute(sink.path, base)))
    assert isinstance(sink, RedisSinkOptions)
    spool = replace(sink.spool, path=str(absolute(sink.spool.path, base)))
    return replace(sink, spool=spool, tls=_settle_tls(sink.tls, base))


def _settle_tls(tls: TlsOptions, base: Path) -> TlsOptions:
    return tls if tls.ca is None else msgspec.structs.replace(tls, ca=str(absolute(tls.ca, base)))
