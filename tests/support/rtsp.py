"""Real RTSP servers for tests: the product's own (`pipeline/bench/faults/rtsp_server.py`), which `vedette bench faults`
uses, with painted clips, certificates and fixtures. Missing parts are an error with the packages to install, never a
skip.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.bench.faults.rtsp_server import PACKAGES, Certificate, RtspServer, units_of
from tests.support.media import make_clip

__all__ = ["PACKAGES", "Certificate", "RtspServer", "painted_units", "self_signed", "units_of"]


def painted_units(folder: Path, name: str, **clip: Any) -> Path:
    """Access units of a painted clip (`tests.support.media.make_clip`), made in `folder`."""
    return units_of(make_clip(folder / f"{name}.mkv", **clip), folder / f"{name}.units")


def self_signed(folder: Path) -> Certificate:
    """Make a certificate in `folder`."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    begin = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=36500))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    made = Certificate(both=folder / "server.pem", ca=folder / "ca.pem")
    made.both.write_bytes(private + pem)
    made.ca.write_bytes(pem)
    return made


@pytest.fixture
def rtsp_servers() -> Iterator[Callable[..., RtspServer]]:
    """Starts RTSP servers: `rtsp_servers(user=…, password=…)`; all are killed after the test."""
    servers: list[RtspServer] = []

    def start(**options: Any) -> RtspServer:
        server = RtspServer(**options)
        servers.append(server)
        return server.start()

    yield start
    for server in servers:
        server.kill()


@pytest.fixture
def rtsp_server(rtsp_servers: Callable[..., RtspServer]) -> RtspServer:
    """One open RTSP server without mounts."""
    return rtsp_servers()


@pytest.fixture(scope="session")
def painted_h264(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Units of 50 painted frames, 320x240, H.264, a key frame every 10."""
    return painted_units(tmp_path_factory.mktemp("rtsp"), "h264", frames=50, size_wh=(320, 240), gop=10)
