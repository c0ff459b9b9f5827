"""One process of one tracker: times each `log()` of 20 scalars. Prints one line of JSON.

    bench/log_call.py kelt|wandb|floor CALLS PACE_US

A call every PACE_US microseconds is what a training loop does; 0 is as fast as it goes.
"""

from __future__ import annotations

import json
import mmap
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

SCALARS = 20
WARM_UP_CALLS = 200


def floor_logger() -> tuple[Callable[[dict[str, float]], None], Callable[[], None]]:
    """Packs the same values into a memory map and does nothing else."""
    path = Path(tempfile.mkdtemp()) / "floor"
    path.write_bytes(bytes(64 * 2**20))
    with path.open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 0)
    pack_into = struct.Struct(f"<{SCALARS}d").pack_into
    position = 0

    def log(row: dict[str, float]) -> None:
        nonlocal position
        pack_into(mapped, position, *row.values())
        position = (position + 8 * SCALARS) % (63 * 2**20)

    return log, lambda: None


def kelt_logger() -> tuple[Callable[[dict[str, float]], None], Callable[[], None]]:
    import kelt  # noqa: PLC0415 # only this process's tracker

    run = kelt.init("bench")
    return run.log, run.finish


def wandb_logger() -> tuple[Callable[[dict[str, float]], None], Callable[[], None]]:
    import wandb  # noqa: PLC0415 # only this process's tracker

    run = wandb.init(project="bench", mode="offline", dir=tempfile.mkdtemp())
    return run.log, run.finish


LOGGERS = {"kelt": kelt_logger, "wandb": wandb_logger, "floor": floor_logger}


def main() -> None:
    name, calls, pace_us = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    log, finish = LOGGERS[name]()
    names = [f"metric_{n}" for n in range(SCALARS)]
    rows = [{key: float(step) + n for n, key in enumerate(names)} for step in range(1000)]
    clock = time.perf_counter_ns
    for row in rows[:WARM_UP_CALLS]:
        log(row)
    taken = []
    cpu = time.thread_time_ns()
    for call in range(calls):
        row = rows[call % 1000]
        start = clock()
        log(row)
        end = clock()
        taken.append(end - start)
        while pace_us and clock() - start < pace_us * 1000:
            pass
    cpu = time.thread_time_ns() - cpu
    finish()
    taken.sort()
    result = {
        "p50_us": taken[calls // 2] / 1000,
        "p99_us": taken[calls * 99 // 100] / 1000,
        "p999_us": taken[calls * 999 // 1000] / 1000,
        "max_us": taken[-1] / 1000,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
