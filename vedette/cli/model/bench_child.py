"""`python -m vedette.cli.model.bench_child TASK`: a task of `vedette model bench` in its own process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from engines.bench.child import serve
from engines.bench.job import Answer, Ready, Task, Yardstick
from pipeline.clock import SystemClock
from pipeline.memory import use_one_heap


def main() -> None:
    """Measure when standard input says so, until it ends; or make what there is to make."""
    use_one_heap()  # as `vedette run` does
    # Libraries write to standard output as they like; the parent reads answers there.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def answer(what: Answer) -> None:
        answers.write(msgspec.json.encode(what) + b"\n")
        answers.flush()

    task: Task = msgspec.json.decode(sys.argv[1], type=Task)
    if isinstance(task, Yardstick):
        from engines.bench.yardstick import make_yardstick

        make_yardstick(Path(task.path), [Path(image) for image in task.images], Path(task.out))
        answer(Ready(description="made", requests=0))
    else:
        serve(task, sys.stdin, answer, SystemClock().mono_ns)


if __name__ == "__main__":
    main()
