"""`vedette model COMMAND …`: make models, look at them, measure them. One module a command."""

from __future__ import annotations

import argparse
import importlib

# In the order in which a model is made. Each module has `register(commands)`, as those of `vedette.cli` have.
COMMANDS = ("describe", "train", "export", "quantize", "build", "bench", "predict", "validate", "parity")


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    summary = "make models, look at them, measure them"
    parser = subparsers.add_parser("model", help=summary, description=f"{summary.capitalize()}.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        importlib.import_module(f"vedette.cli.model.{name}").register(commands)
