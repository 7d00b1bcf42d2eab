"""Many cameras on one small machine: a measurement, run by hand, that anyone can repeat.

    python -m tests.system.many_cameras --clips ../shared/clips/*.mp4 --model MODEL.onnx --json OUT.json

Serves the clips, re-encoded to 640x360 at 10 fps, as 32 RTSP cameras from another process, runs `vedette run` on two
cores, in the environment of deploy/vedette.service, with 2 analysed frames a second each, publishes to a real Redis,
and looks from outside: /status every second. It prints whether every stream is within 5 % of its rate, whether nothing
was superseded after the first 10 s, and how the resident memory grew over the last 90 s. Exit status 1 if one of them
does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import yaml

from pipeline.bench.measure import machine_facts, package_versions
from tests.support.redis_server import RedisServer, free_port
from tests.support.rtsp import RtspServer, units_of

SETTLE_S = 10.0
MEMORY_S = 90.0
RATE_TOLERANCE = 0.05
MEMORY_LIMIT_MIB_A_MINUTE = 1.0
UNIT = Path(__file__).parents[2] / "deploy" / "vedette.service"
_NEVER = threading.Event()


def as_camera(clip: Path, out: Path, *, fps: int, size_wh: tuple[int, int], seconds: float) -> Path:
    """Re-encode a clip as a camera's second stream: constant rate, one slice, a key frame every two seconds."""
    width, height = size_wh
    with av.open(str(clip)) as source, av.open(str(out), "w") as container:
        stream: Any = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = 2 * fps, 0
        stream.options = {"preset": "veryfast", "x264-params": "sliced-threads=0:slices=1"}
        wanted = 0
        for frame in source.decode(video=0):
            if frame.time is None or frame.time * fps < wanted:
                continue
            picture = frame.reformat(width, height, format="yuv420p")
            picture.pict_type = 0
            picture.pts, picture.time_base = wanted, Fraction(1, fps)
            container.mux(stream.encode(picture))
            wanted += 1
            if wanted >= seconds * fps:
                break
        container.mux(stream.encode(None))
    return out


def unit_environment(unit: Path) -> dict[str, str]:
    """What a unit of systemd sets with `Environment=`."""
    given = [
        line.removeprefix("Environment=") for line in unit.read_text().splitlines() if line.startswith("Environment=")
    ]
    return dict(line.split("=", 1) for line in given)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, nargs="+", required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--cameras", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--fps", type=float, default=2.0)
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument(
        "--cores", default="0,1", help="the cores that Vedette gets; the servers get the others, if any"
    )
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    cores = {int(core) for core in arguments.cores.split(",")}
    others = os.sched_getaffinity(0) - cores
    if others:
        os.sched_setaffinity(0, others)
    with tempfile.TemporaryDirectory() as name:
        report = _measure(Path(name), arguments, cores)
    text = json.dumps(report, indent=2)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(text + "\n")
    sys.stdout.write(text + "\n")
    return 0 if report["holds"] else 1


def _measure(folder: Path, arguments: argparse.Namespace, cores: set[int]) -> dict[str, Any]:
    media = [
        units_of(
            as_camera(clip, folder / f"{index}.mkv", fps=10, size_wh=(640, 360), seconds=30), folder / f"{index}.u"
        )
        for index, clip in enumerate(arguments.clips)
    ]
    rtsp = RtspServer().start()
    redis = RedisServer(directory=folder / "redis").start()
    port = free_port()
    try:
        streams = []
        for number in range(arguments.cameras):
            rtsp.mount(f"cam{number}", media[number % len(media)], fps=10)
            url = rtsp.url(f"cam{number}").reveal()
            streams.append({"id": f"cam{number}", "url": url, "fps": arguments.fps})
        config = {
            "version": 1,
            "model": {"path": str(arguments.model.resolve()), "precision": arguments.precision},
            "streams": streams,
            "sinks": [{"kind": "redis", "url": redis.url, "spool": {"path": str(folder / "spool")}}],
            "http": {"listen": f"127.0.0.1:{port}"},
        }
        path = folder / "cameras.yaml"
        path.write_text(yaml.safe_dump(config))
        return _watch(path, port, arguments, cores)
    finally:
        rtsp.kill()
        redis.stop()


def _watch(path: Path, port: int, arguments: argparse.Namespace, cores: set[int]) -> dict[str, Any]:
    process = subprocess.Popen(
        [sys.executable, "-m", "vedette", "run", str(path), "--json", "--log-level", "warning"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | unit_environment(UNIT),
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    try:
        while not _all_streaming(port):
            if process.poll() is not None:
                raise SystemExit("vedette ended before all cameras were streaming")
            _NEVER.wait(0.5)
        samples: list[tuple[float, dict[str, Any]]] = []
        start = time.monotonic()
        while (elapsed := time.monotonic() - start) < arguments.seconds:
            samples.append((elapsed, _status(port)))
            _NEVER.wait(1.0)
    finally:
        process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    return _judge(samples, json.loads(out), arguments)


def _judge(
    samples: list[tuple[float, dict[str, Any]]], summary: dict[str, Any], arguments: argparse.Namespace
) -> dict[str, Any]:
    first_s, first = next(sample for sample in samples if sample[0] >= SETTLE_S)
    last_s, last = samples[-1]
    span_s = last_s - first_s

    def grown(name: str, what: str) -> int:
        return int(last["streams"][name]["totals"][what] - first["streams"][name]["totals"][what])

    rates = {name: grown(name, "published") / span_s for name in last["streams"]}
    superseded = {name: grown(name, "superseded") for name in last["streams"]}
    memory = [(at, status["process"]["rss_bytes"] / 2**20) for at, status in samples if at >= last_s - MEMORY_S]
    slope, _ = statistics.linear_regression(*zip(*memory, strict=True))
    cpu = (last["process"]["cpu_s"] - first["process"]["cpu_s"]) / span_s
    total = [stream["latency_ms"]["total"] for stream in last["streams"].values()]
    worst = max(abs(rate / arguments.fps - 1) for rate in rates.values())
    holds = {
        f"every stream within {RATE_TOLERANCE:.0%} of {arguments.fps} fps": worst <= RATE_TOLERANCE,
        f"nothing superseded after {SETTLE_S:.0f} s": not any(superseded.values()),
        f"RSS grows by less than {MEMORY_LIMIT_MIB_A_MINUTE} MiB a minute": slope * 60 < MEMORY_LIMIT_MIB_A_MINUTE,
        "the ledger balances": not summary["ledger_problems"],
    }
    return {
        "holds": all(holds.values()),
        "checks": holds,
        "cameras": len(rates),
        "seconds": round(last_s, 1),
        "fps": {"lowest": round(min(rates.values()), 3), "highest": round(max(rates.values()), 3)},
        "superseded_after_10_s": sum(superseded.values()),
        "rss_mib": {"first": round(memory[0][1], 1), "last": round(memory[-1][1], 1)},
        "rss_mib_every_10_s": [round(mib, 1) for at, mib in _every(10.0, samples)],
        "rss_slope_mib_a_minute": round(slope * 60, 3),
        "cores_used": round(cpu, 2),
        "latency_ms": {"p50_median": round(statistics.median(t["p50"] for t in total), 1),
                       "p99_worst": round(max(t["p99"] for t in total), 1)},
        "engine": last["engine"],
        "versions": package_versions(),
        "machine": machine_facts(),
        "command": "python -m tests.system.many_cameras " + " ".join(sys.argv[1:]),
    }  # fmt: skip


def _every(seconds: float, samples: list[tuple[float, dict[str, Any]]]) -> list[tuple[float, float]]:
    """Resident memory in MiB, one sample every so many seconds."""
    picked: list[tuple[float, float]] = []
    for at, status in samples:
        if at >= len(picked) * seconds:
            picked.append((at, status["process"]["rss_bytes"] / 2**20))
    return picked


def _status(port: int) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=10) as answer:
        status: dict[str, Any] = json.load(answer)
    return status


def _all_streaming(port: int) -> bool:
    try:
        status = _status(port)
    except OSError:
        return False
    return all(stream["totals"]["published"] > 0 for stream in status["streams"].values())


if __name__ == "__main__":
    sys.exit(main())
