"""One process of one tracker: times each `log()`, phase after phase. Prints one line of JSON.

    log_call.py PEER FOLDER PHASES

PHASES is JSON: what `sections.log_call.Phase` holds, each. A phase `is_stopped` has kelt's daemon
stand still meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from call_timing import BusyThreads, rows_of, summary, timed_calls
from peers import BY_NAME, Tracker

WARM_UP_CALLS = 200
#: Between two phases, for what the one before left in the background.
SETTLE_S = 0.3
CPU_CALLS_MAX = 2000


@contextlib.contextmanager
def stopped_daemon() -> Iterator[None]:
    pid = int(json.loads((Path(os.environ["KELT_DIR"]) / "daemon.json").read_text())["pid"])
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def phase_of(tracker: Tracker, phase: dict[str, Any]) -> dict[str, Any]:
    rows, seconds_max = rows_of(phase["scalars"]), phase["seconds_max"]
    pace_us, calls = phase["pace_us"], phase["calls"]
    warm_up = min(WARM_UP_CALLS, max(5, calls // 5))
    timed_calls(tracker.log, rows, calls=warm_up, pace_us=pace_us, seconds_max=seconds_max / 4)
    outage = stopped_daemon() if phase["is_stopped"] else contextlib.nullcontext()
    with outage, BusyThreads(phase["busy_threads"]):
        taken = timed_calls(
            tracker.log, rows, calls=calls, pace_us=pace_us, seconds_max=seconds_max
        )
    found = summary(taken)
    if not phase["busy_threads"] and not phase["is_stopped"]:
        found |= cpu_of(tracker, rows, min(calls, CPU_CALLS_MAX), seconds_max)
    return found


def cpu_of(
    tracker: Tracker, rows: list[dict[str, float]], calls: int, seconds_max: float
) -> dict[str, float]:
    """Processor time a call of this thread, and of all threads of the process while it logs."""
    thread_s, process_s = time.thread_time(), time.process_time()
    end_s = time.monotonic() + seconds_max / 2
    done = 0
    for call in range(calls):
        tracker.log(rows[call % len(rows)])
        done += 1
        if time.monotonic() > end_s:
            break
    thread_s = time.thread_time() - thread_s
    time.sleep(SETTLE_S)
    process_s = time.process_time() - process_s
    return {"cpu_thread_us": thread_s / done * 1e6, "cpu_process_us": process_s / done * 1e6}


def main() -> None:
    peer, folder, phases = BY_NAME[sys.argv[1]], Path(sys.argv[2]), json.loads(sys.argv[3])
    said = os.fdopen(os.dup(1), "w")  # some trackers take standard output for themselves
    begin_s = time.perf_counter()
    tracker = peer.open(folder)
    result: dict[str, Any] = {"version": peer.version, "open_s": time.perf_counter() - begin_s}
    found = []
    for phase in phases:
        found.append(phase_of(tracker, phase))
        time.sleep(SETTLE_S)
    result["phases"] = found
    # What it has still to write is of no interest, and takes some trackers minutes.
    print("\n" + json.dumps(result), file=said, flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
