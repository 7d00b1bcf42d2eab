"""The one `openvino.Core` of a process."""

from __future__ import annotations

from functools import cache

import openvino


@cache
def core() -> openvino.Core:
    """OpenVINO's core, with its CPU plugin, made once and kept until the process ends.

    The plugin gives the thread that makes it a stack for signals, and takes the memory back when it goes, in whatever
    thread that is. If it is another one, the first thread's next signal meets unmapped memory: a segmentation fault in
    place of an orderly end (OpenVINO 2026.4.1: an engine freed by a thread that used it, then SIGTERM).
    """
    return openvino.Core()
