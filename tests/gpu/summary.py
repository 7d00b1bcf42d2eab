"""`python -m tests.gpu.summary`: what a run of run.sh came to, as results.md, results.json and a table.

In:  steps.tsv, engines.json, parity-*.json of --work; tests.xml and bench.json of --out; each only if it was made.
Out: exit status 0 if every step ended well, all tests passed and everything wanted is held.
"""

from __future__ import annotations

import argparse
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pipeline.bench.gpu.report import GpuReport, table
from pipeline.bench.measure import package_versions
from tests.gpu.open_engines import Opened


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table; `held` None: left out, or nothing is wanted."""

    what: str
    figure: str
    wanted: str = ""
    held: bool | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        return {True: "held", False: "NOT HELD", None: "" if self.figure else "left out"}[self.held]


def rows_of(work: Path, out: Path) -> list[Row]:
    """What was built, checked and measured, in that order."""
    rows = _steps(work / "steps.tsv")
    rows += _engines(work / "engines.json")
    rows += _tests(out / "tests.xml")
    rows += _bench(out / "bench.json")
    return rows


def _steps(path: Path) -> list[Row]:
    """What did not end well or was left out; a step that did is shown by what it found."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        name, status, seconds, note = line.split("\t")
        if status == "left out":
            rows.append(Row(what=name, figure="", held=False if "time" in note else None, note=note))
        elif status == "failed":
            rows.append(Row(what=name, figure="failed", wanted="ok", held=False, note=f"{note}; see run.log"))
        elif name.startswith("parity"):
            rows.append(Row(what=name, figure="ok", wanted="ok", held=True, note=f"{seconds} s"))
    return rows


def _engines(path: Path) -> list[Row]:
    if not path.exists():
        return []
    opened = msgspec.json.decode(path.read_bytes(), type=dict[str, Opened])
    return [
        Row(what=f"engine in {name}", figure=f"{one.seconds:.0f} s", held=True, wanted="opens", note=one.engine)
        if one.engine
        else Row(what=f"engine in {name}", figure="", note=one.why)
        for name, one in opened.items()
    ]


def _tests(path: Path) -> list[Row]:
    if not path.exists():
        return [Row(what="tests/gpu", figure="none", wanted="all pass", held=False, note="see run.log")]
    suites = list(ElementTree.parse(path).getroot().iter("testsuite"))
    total, bad, skipped = (
        sum(int(suite.get(name, "0")) for suite in suites for name in names)
        for names in (("tests",), ("failures", "errors"), ("skipped",))
    )
    why = {(case.get("message") or "").removeprefix("Skipped: ") for suite in suites for case in suite.iter("skipped")}
    failed = [
        case.get("name", "") for suite in suites for case in suite.iter("testcase") if case.find("failure") is not None
    ]
    passed = total - bad - skipped
    rows = [
        Row(
            what="tests/gpu",
            figure=f"{passed} of {total}",
            wanted="all pass",
            held=bad == 0 and passed > 0,
            note="; ".join(failed[:3]) + (" …" if len(failed) > 3 else ""),
        )
    ]
    rows += [Row(what=f"{skipped} tests", figure="", note="; ".join(sorted(why)))] if skipped else []
    return rows


def _bench(path: Path) -> list[Row]:
    if not path.exists():
        return [Row(what="bench", figure="none", wanted="a report", held=False, note="see run.log")]
    report = msgspec.json.decode(path.read_bytes(), type=GpuReport)
    rows = [
        Row(what="network alone, frames/s", figure=f"{report.network.fps:.0f}"),
        Row(what="surfaces, frames/s", figure=f"{report.surfaces.fps:.0f}"),
        Row(
            what="NVDEC, frames/s",
            figure=f"{report.nvdec.fps:.0f}",
            note=", ".join(sorted(set(report.nvdec.decoders.values()))),
        ),
        Row(what="copy on the device, GB/s", figure=f"{report.bandwidth.copy_gb_s:.0f}"),
    ]
    for one in report.verdicts:
        figure = "" if one.value is None else f"{one.value:.3f}"
        rows.append(Row(what=one.what, figure=figure, wanted=one.wanted, held=one.held, note=one.note))
    return rows


def plain(rows: Sequence[Row]) -> list[str]:
    """The table for a terminal."""
    cells = [
        ("what", "figure", "wanted", "", ""),
        *((r.what, r.figure or "-", r.wanted, r.verdict, r.note) for r in rows),
    ]
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    return ["  ".join([*(row[i].ljust(widths[i]) for i in range(4)), row[4]]).rstrip() for row in cells]


def markdown(rows: Sequence[Row], report: GpuReport | None, command: str, seconds: int) -> str:
    """A page as docs/results has them."""
    lines = ["# On a GPU", "", f"    {command}", "", f"{seconds} s in all. {_where(report)}", ""]
    lines += ["| what | figure | wanted | | |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        cells = (row.what, row.figure or "-", row.wanted, row.verdict, row.note)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    if report is not None:
        lines += ["", "`vedette bench pipeline configs/gpu.yaml --gpu`, all of it in bench.json:", ""]
        lines += [f"    {line}".rstrip() for line in table(report)]
    return "\n".join(lines) + "\n"


def _where(report: GpuReport | None) -> str:
    versions = ", ".join(
        f"{name} {version}" for name, version in (report.versions if report else package_versions()).items()
    )
    if report is None:
        return f"With {versions}."
    gpu = report.gpu
    return f"{gpu.name} ({gpu.capability}), driver {gpu.driver or 'unknown'}, CUDA {gpu.cuda or 'unknown'}; {versions}."


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--command", required=True)
    parser.add_argument("--seconds", type=int, required=True)
    given = parser.parse_args(words)
    rows = rows_of(given.work, given.out)
    bench = given.out / "bench.json"
    report = msgspec.json.decode(bench.read_bytes(), type=GpuReport) if bench.exists() else None
    rows.append(Row(what="all of it, s", figure=str(given.seconds), wanted="< 600", held=given.seconds < 600))
    (given.out / "results.json").write_bytes(msgspec.json.format(msgspec.json.encode(rows), indent=2) + b"\n")
    (given.out / "results.md").write_text(markdown(rows, report, given.command, given.seconds))
    sys.stdout.write("\n".join(["", *plain(rows), ""]))
    return 0 if all(row.held is not False for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
