"""Which ports a running process has open: none that anybody could reach from outside, unless it was told to."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import psutil
import pytest
import yaml

from pipeline.clock import SystemClock
from pipeline.config import HttpOptions
from pipeline.config_checks import host_and_port, loopback
from pipeline.embedded_redis import EmbeddedRedis
from tests.support.process import VedetteProcess
from tests.support.redis_server import RedisServer, free_port
from tests.support.system import ROOT, SEED_MODEL, redis_sink, write_config

pytestmark = pytest.mark.system

CAMERA = {"id": "gate", "url": "synthetic://street?people=1&fps=2&size=320x240"}


def _open_ports(pid: int) -> list[tuple[str, int]]:
    """Addresses at which the process or a child of it can be spoken to: TCP that listens, UDP that is bound."""
    process = psutil.Process(pid)
    found = [each for one in (process, *process.children(recursive=True)) for each in one.net_connections("inet")]
    return [
        (each.laddr.ip, each.laddr.port)
        for each in found
        if each.status == "LISTEN" or (each.type == 2 and not each.raddr)
    ]


def test_without_http_in_the_configuration_no_port_is_open(tmp_path: Path, redis_server: RedisServer) -> None:
    config = write_config(tmp_path, model=SEED_MODEL, streams=[CAMERA], sinks=[redis_sink(redis_server, tmp_path)])
    with VedetteProcess(config) as vedette:
        vedette.wait_log("gate", "streaming")
        assert _open_ports(vedette.pid) == []


def test_with_http_only_loopback_can_reach_it(tmp_path: Path) -> None:
    port = free_port()
    sinks = [{"kind": "jsonl", "path": str(tmp_path / "out.jsonl")}]
    http = {"listen": f"127.0.0.1:{port}"}
    config = write_config(tmp_path, model=SEED_MODEL, streams=[CAMERA], sinks=sinks, http=http)
    with VedetteProcess(config) as vedette:
        vedette.wait_log("gate", "streaming")
        assert _open_ports(vedette.pid) == [("127.0.0.1", port)]


def test_the_default_and_every_configuration_that_ships_listen_on_loopback() -> None:
    listens = [HttpOptions().listen]
    for path in sorted((ROOT / "configs").glob("*.yaml")):
        listens += [(yaml.safe_load(path.read_text()).get("http") or {}).get("listen", HttpOptions().listen)]
    for listen in listens:
        address = host_and_port(listen)
        assert address is not None
        assert loopback(address[0]), listen


def test_the_demos_redis_can_be_reached_from_this_machine_alone() -> None:
    with EmbeddedRedis(SystemClock()) as server:
        children = psutil.Process().children()
        (pid,) = [child.pid for child in children if str(server.port) in " ".join(child.cmdline())]
        assert [ipaddress.ip_address(host).is_loopback for host, _ in _open_ports(pid)] == [True]
