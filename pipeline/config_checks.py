"""What must hold across the fields of a configuration: which URL goes with which keys, what must be unique.

Works on the values that are right so far (`Converted.given`), so that these errors appear together with the others.
Called by `pipeline/config_file.py`.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from engines.weights import DEFAULT
from pipeline.config_convert import Converted, nearest
from vedette.errors import ConfigError
from vedette.secrets import SecretUrl

CAMERA_SCHEMES = ("rtsp", "rtsps", "http", "https")
STREAM_SCHEMES = (*CAMERA_SCHEMES, "file", "synthetic")
REDIS_SCHEMES = ("redis", "rediss", "unix")

_SCHEME = re.compile(r"^(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*):")


def absolute(path: str, base: Path) -> Path:
    """`path` seen from `base`, without `..`, links left as they are."""
    return Path(os.path.normpath(base / path))


def file_path(url: SecretUrl) -> str | None:
    """The path in a plain path or `file:` URL (`file:a.mp4`, `file:///a%20b.mp4`); None for anything else."""
    text = url.reveal()
    if url.scheme == "":
        return text
    if url.scheme != "file":
        return None
    rest = text[5:]
    if not rest.startswith("//"):
        return rest
    host, slash, tail = rest[2:].partition("/")
    return unquote(slash + tail) if host in ("", "localhost") else None


def loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_and_port(listen: str) -> tuple[str, int] | None:
    """`127.0.0.1:8080` or `[::1]:8080` as host and port; None if it is neither. Port 0 means any free one."""
    match = re.fullmatch(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})", listen)
    if match is None or int(match["port"]) > 65535 or not _is_host(match["six"] or match["host"]):
        return None
    return match["six"] or match["host"], int(match["port"])


@dataclass(frozen=True, slots=True)
class Checks:
    """The checks on one configuration; problems are appended to `converted.problems`."""

    converted: Converted
    base: Path

    def run(self) -> None:
        """Report everything that does not fit together."""
        streams = self._sections(r"streams\[\d+\]")
        sinks = self._sections(r"sinks\[\d+\]")
        for path, values in streams.items():
            self._stream(path, values)
        for path, values in sinks.items():
            self._sink(path, values)
        self._unique(streams, "id", {path: str(v["id"]).lower() for path, v in streams.items() if "id" in v})
        self._unique(sinks, "path", {path: self._place(v["path"]) for path, v in sinks.items() if "path" in v})
        self._unique(sinks, "spool.path", self._spools(sinks))
        self._unique(sinks, "prefix", _redis_keys(sinks))
        if "model" in self.converted.given:
            self._model(self.converted.given["model"])
        self._http(self.converted.given.get("http", {}))

    def _report(self, path: str, text: str) -> None:
        self.converted.problems.append((path, text))

    def _meant(self, section: str, keys: Sequence[str]) -> bool:
        """Whether one of these keys was given wrongly, or misspelt: that was reported already."""
        return any(
            where in {f"{section}.{key}", section}
            or (where.startswith(f"{section}.") and f"did you mean '{key}'?" in text)
            for where, text in self.converted.problems
            for key in keys
        )

    def _got(self, path: str) -> str:
        return f"got {self.converted.shown.get(path, 'the default')}"

    def _sections(self, pattern: str) -> dict[str, dict[str, Any]]:
        return {path: values for path, values in self.converted.given.items() if re.fullmatch(pattern, path)}

    def _place(self, path: str) -> str:
        return str(absolute(path, self.base))

    def _stream(self, path: str, values: Mapping[str, Any]) -> None:
        if "url" not in values:
            return
        scheme = self._stream_scheme(values["url"], f"{path}.url")
        if scheme is None:
            return
        is_file = scheme in ("", "file")
        mode = values.get("mode") or ("file" if is_file else "live")
        shown = f"a file in mode '{mode}'" if is_file else f"a {scheme}:// stream"
        if mode == "file" and scheme == "synthetic":
            if not _ends(values["url"]):
                text = "expected 'live' for an endless synthetic:// stream, got 'file'; add seconds= to its URL"
                self._report(f"{path}.mode", text)
        elif mode == "file" and not is_file:
            self._report(f"{path}.mode", f"expected 'live' for {shown}, got 'file', which is for files")
        if values.get("loop") and not (is_file and mode == "live"):
            self._report(f"{path}.loop", f"expected false for {shown}, got true; only a file in mode 'live' can loop")
        if values.get("start") is not None and not (mode == "file" and (is_file or scheme == "synthetic")):
            self._report(f"{path}.start", f"expected none for {shown}; only a file in mode 'file' has a start")
        if "transport" in values and scheme not in ("rtsp", "rtsps"):
            self._report(f"{path}.transport", f"expected none for {shown}; only rtsp:// and rtsps:// have a transport")
        self._tls(path, shown, scheme in ("rtsps", "https"), "rtsps:// and https://")

    def _stream_scheme(self, url: SecretUrl, path: str) -> str | None:
        """The scheme of a stream's URL ('' for a plain path), or None after reporting what is wrong with it."""
        match = _SCHEME.match(url.reveal())
        scheme = match["scheme"].lower() if match else ""
        if url.scheme == "" and scheme in STREAM_SCHEMES:
            self._report(path, f"expected {scheme}:// at its beginning, {self._got(path)}")
            return None
        if url.scheme not in ("", *STREAM_SCHEMES) or url.lacks_scheme:
            names = ", ".join(f"{name}://" if name != "file" else "file:" for name in STREAM_SCHEMES)
            self._report(path, f"expected a path or {names}, {self._got(path)}{_hint(url.scheme, STREAM_SCHEMES)}")
            return None
        problem = None
        if url.scheme in ("", "file"):
            problem = None if file_path(url) else "expected file:PATH or file:///PATH on this machine"
        elif url.scheme == "synthetic":
            problems = _synthetic_problems(url)
            if problems and "${" in self._got(path):  # parse_synthetic shows values, here the environment's
                problems = (f"expected a URL such as synthetic://street?people=8, {self._got(path)}",)
            for text in problems:
                self._report(path, text)
            return None if problems else url.scheme
        else:
            problem = _authority_problem(url.reveal())
        if problem:
            self._report(path, f"{problem}, {self._got(path)}")
            return None
        return url.scheme

    def _tls(self, path: str, shown: str, applies: bool, where: str) -> None:
        tls = self.converted.given.get(f"{path}.tls")
        if tls is None:
            return
        if not applies:
            self._report(f"{path}.tls", f"expected none for {shown}; only {where} use TLS")
        elif tls.get("ca") is not None and tls.get("verify") is False:
            self._report(f"{path}.tls.ca", f"expected none with verify: false, {self._got(f'{path}.tls.ca')}")

    def _sink(self, path: str, values: Mapping[str, Any]) -> None:
        if "url" not in values:
            return
        url: SecretUrl = values["url"]
        if url.scheme not in REDIS_SCHEMES:
            got = self._got(f"{path}.url") + _hint(url.scheme, REDIS_SCHEMES)
            self._report(f"{path}.url", f"expected redis://, rediss:// or unix://, {got}")
            return
        problem = _redis_problem(url)
        if problem:
            self._report(f"{path}.url", f"{problem}, {self._got(f'{path}.url')}")
        self._tls(path, f"{url.scheme}://", url.scheme == "rediss", "rediss:// sinks")

    def _spools(self, sinks: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
        places = {}
        for path, values in sinks.items():
            spool = self.converted.given.get(f"{path}.spool", {})
            if "url" in values and ("spool" in values or not spool):
                places[path] = self._place(spool.get("path", "out/spool"))
        return places

    def _unique(self, sections: Mapping[str, object], key: str, values: Mapping[str, str]) -> None:
        """Report every section whose value, in `values` by path, is an earlier one's, too."""
        seen: dict[str, str] = {}
        for path in sections:
            value = values.get(path)
            if value in seen:
                where = f"{path}.{key}"
                self._report(where, f"expected one of its own, {self._got(where)}, which {seen[value]} has already")
            elif value is not None:
                seen[value] = path

    def _model(self, values: Mapping[str, Any]) -> None:
        if "path" in values and "name" in values:
            self._report("model", "expected a path or a name, got both")
        elif "path" not in values and "name" not in values and not self._meant("model", ("path", "name")):
            self._report("model", f"expected the name of a model that ships, such as {DEFAULT}, or a path")
        if "://" in values.get("path", ""):
            self._report("model.path", f"expected the path of a file, {self._got('model.path')}; nothing is downloaded")
        classes: tuple[str, ...] = values.get("classes") or ()
        for index, name in enumerate(classes):
            if name in classes[:index]:
                where = f"model.classes[{index}]"
                self._report(where, f"expected each class once, {self._got(where)} again")
        self._gpu(values, self.converted.given.get("model.gpu", {}))

    def _gpu(self, model: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        devices: tuple[int, ...] = values.get("devices") or ()
        for index, number in enumerate(devices):
            if number in devices[:index]:
                where = f"model.gpu.devices[{index}]"
                self._report(where, f"expected each GPU once, {self._got(where)} again")
        backend = model.get("backend", "auto")
        if values and backend in ("openvino", "onnxruntime"):
            self._report("model.gpu", f"expected none with backend: {backend}, which runs on CPUs")

    def _http(self, values: Mapping[str, Any]) -> None:
        if "listen" not in values:
            return
        address = host_and_port(values["listen"])
        if address is None:
            self._report("http.listen", f"expected host:port such as 127.0.0.1:8080, {self._got('http.listen')}")
        elif not (
            loopback(address[0]) or values.get("token") or values.get("open") or self._meant("http", ("token", "open"))
        ):
            self._report(
                "http.listen",
                f"expected a loopback address, or a token, or open: true if everybody may read it, "
                f"{self._got('http.listen')}",
            )


def _is_host(host: str) -> bool:
    """Whether it can be looked up: an address, or labels of 1 to 63 letters (RFC 1035, section 2.3.4)."""
    labels = [] if ":" in host else host.removesuffix(".").split(".")
    return not re.search(r"[\s\"<>\\^`{|}]", host) and all(1 <= len(label) <= 63 for label in labels)


def _authority_problem(text: str) -> str | None:
    """What is wrong with the host or port of a URL; says nothing of the password, whatever urlsplit says."""
    try:
        parts = urlsplit(text)
        if parts.hostname and _is_host(parts.hostname) and parts.port != 0:
            return None
    except ValueError:
        pass
    encoded = "" if "@" not in text else " (in a password, write @ : / ? # as %40 %3A %2F %3F %23)"
    return f"expected a host, and a port from 1 to 65535 if any{encoded}"


def _redis_problem(url: SecretUrl) -> str | None:
    if url.scheme == "unix":
        good = re.fullmatch(r"unix://(?:[^@/]*@)?/[^?]+(?:\?db=[0-9]{1,5})?", url.reveal())
        return None if good else "expected unix:///PATH or unix:///PATH?db=NUMBER"
    problem = _authority_problem(url.reveal())
    if problem is None:
        parts = urlsplit(url.reveal())
        if not re.fullmatch(r"/?|/[0-9]{1,5}", parts.path) or parts.query or parts.fragment:
            problem = f"expected {url.scheme}://HOST:PORT/NUMBER and nothing more"
    return problem


def _redis_keys(sinks: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Which keys of which Redis each sink writes: two that write the same would take each other's lease away."""
    keys = {}
    for path, values in sinks.items():
        if "url" not in values:
            continue
        scheme, _, rest = values["url"].reveal().partition("://")
        place = rest.rpartition("@")[2]
        if scheme != "unix":
            server, _, number = place.lower().partition("/")
            place = f"{server if re.search(r':[0-9]+$', server) else server + ':6379'}/{number or '0'}"
        keys[path] = f"{'unix' if scheme == 'unix' else 'tcp'} {place} {values.get('prefix', 'vedette')}"
    return keys


def _synthetic_problems(url: SecretUrl) -> Sequence[str]:
    from stages.source.synthetic.options import parse_synthetic

    try:
        parse_synthetic(url.reveal())
    except ConfigError as error:
        return error.problems
    except ValueError:  # urlsplit, on brackets
        return ("expected a URL such as synthetic://street?people=8",)
    return ()


def _ends(url: SecretUrl) -> bool:
    """Whether a synthetic camera, whose URL is right, films for a while only."""
    from stages.source.synthetic.options import parse_synthetic

    return parse_synthetic(url.reveal()).seconds is not None


def _hint(word: str, known: tuple[str, ...]) -> str:
    close = nearest(word, known)
    return f"; did you mean '{close}'?" if close else ""
