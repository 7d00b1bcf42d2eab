"""What INT8 costs in accuracy, by method and number of pictures, in every runtime: a measurement, run by hand.

    python -m tests.system.int8_accuracy --model FLOAT.onnx --data train.json --val val.json --json OUT.json

The float network and its INT8 file in OpenVINO, onnxruntime and torch (which computes the Q/DQ nodes in floats), AP on
the validation set; the signed file in onnxruntime, too. Prints a table in Markdown; the JSON has everything.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from engines.datasets import ClassMap, Dataset, match_classes, open_dataset
from engines.options import ModelOptions
from engines.quantize import QuantizeOptions, quantize
from engines.runtimes import open_engine
from engines.validate.average_precision import average_precision
from engines.validate.predictions import predict
from pipeline.bench.measure import machine_facts, package_versions

METHODS = ("mse", "minmax", "percentile", "entropy")
RUNTIMES = ("openvino", "onnxruntime", "torch")


def ap_of(path: Path, runtime: str, dataset: Dataset, *, threads: int) -> tuple[float, str]:
    """AP in points of 100, and what ran it."""
    precision = "auto" if "int8" in path.name else "fp32"
    options = ModelOptions(path=str(path), backend=runtime, precision=precision, threads=threads)  # type: ignore[arg-type]
    engine = open_engine(options, now_ns=time.monotonic_ns)
    try:
        mapped: ClassMap = match_classes(engine.spec.classes, dataset.classes, {})
        found = predict(engine, dataset.images, class_map=mapped)
        report = average_precision(found, mapped.apply(dataset))
        assert report.mean.ap is not None
        return 100 * report.mean.ap, engine.description
    finally:
        engine.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="pictures to calibrate with")
    parser.add_argument("--val", type=Path, required=True, help="COCO JSON to measure on")
    parser.add_argument("--images", default="100,500,1000")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    dataset = open_dataset(arguments.val)
    pictures = [image.path for image in open_dataset(arguments.data).images]
    floats = {name: ap_of(arguments.model, name, dataset, threads=arguments.threads) for name in RUNTIMES}
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for count in map(int, arguments.images.split(",")):
            for method in METHODS:
                options = QuantizeOptions(method=method, images=count)
                made = quantize(arguments.model, pictures, options, out_dir=Path(folder), cache_dir=Path(folder))
                row: dict[str, Any] = {"images": count, "method": method}
                for name in RUNTIMES:
                    row[name] = ap_of(made.unsigned, name, dataset, threads=arguments.threads)[0]
                row["signed"] = ap_of(made.signed, "onnxruntime", dataset, threads=arguments.threads)[0]
                rows.append(row)
                sys.stderr.write(json.dumps(row) + "\n")
    lines = [["pictures", "method", *RUNTIMES, "signed file, onnxruntime"], ["---"] * 6]
    lines.append(["float", "", *(f"{floats[name][0]:.2f}" for name in RUNTIMES), ""])
    for row in rows:
        cells = [f"{row[name]:.2f} ({row[name] - floats[name][0]:+.2f})" for name in RUNTIMES]
        signed = f"{row['signed']:.2f} ({row['signed'] - floats['onnxruntime'][0]:+.2f})"
        lines.append([str(row["images"]), row["method"], *cells, signed])
    sys.stdout.write("".join(f"| {' | '.join(line)} |\n" for line in lines))
    if arguments.json is not None:
        report = {
            "float": {name: floats[name][0] for name in RUNTIMES},
            "runtimes": {name: floats[name][1] for name in RUNTIMES},
            "rows": rows,
            "validation_images": len(dataset),
            "versions": package_versions(),
            "machine": machine_facts(),
            "command": "python -m tests.system.int8_accuracy " + " ".join(sys.argv[1:]),
        }
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
