"""One trainer process that holds many runs: logs to all of them in turns, waits for the commits.

    writers.py RUNS ROWS PREFIX

It says `ready` once every run has its daemon, logs ROWS rows of 20 scalars to each as fast as it
can after a line `go`, and answers with one line of JSON when the last row is committed. Another
line lets it finish its runs. Times are those of the machine's monotonic clock, which processes
share.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import kelt

SCALARS = 20
START_TIMEOUT_S = 45
COMMIT_TIMEOUT_S = 60
POLL_S = 0.002


def sender_of(run: Any) -> Any:
    """Its background thread, which knows what is committed: there is no public way to ask."""
    return run._session.sender  # noqa: SLF001


def records_of(run: Any) -> int:
    """How many records it has made."""
    return int(run._session.spool.seq)  # noqa: SLF001


def opened(runs: int, prefix: str) -> list[Any]:
    """The runs, each with its stream to the daemon."""
    found: list[Any] = [
        kelt.init(
            "bench", id=f"{prefix}-{n}", reinit="create_new", settings={"finish_timeout_s": 120}
        )
        for n in range(runs)
    ]
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not all(sender_of(run).state.is_connected for run in found):
        if time.monotonic() > deadline_s:
            sys.exit("not every run found its daemon")
        time.sleep(POLL_S)
    return found


def committed_at(runs: list[Any]) -> dict[int, float]:
    """When the last row of each run was known to be committed."""
    found: dict[int, float] = {}
    deadline_s = time.monotonic() + COMMIT_TIMEOUT_S
    while len(found) < len(runs):
        for number, run in enumerate(runs):
            if number not in found and sender_of(run).state.committed_through >= records_of(run):
                found[number] = time.monotonic()
        if time.monotonic() > deadline_s:
            sys.exit(f"{len(runs) - len(found)} runs were not committed in time")
        time.sleep(POLL_S)
    return found


def main() -> None:
    count, rows, prefix = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    row = {f"metric_{n}": n + 0.5 for n in range(SCALARS)}
    runs = opened(count, prefix)
    logs = [run.log for run in runs]
    print("ready", flush=True)
    sys.stdin.readline()
    first_log_at, cpu_s = time.monotonic(), time.process_time()
    for step in range(rows - 1):
        row["metric_0"] = step * 0.5
        for log in logs:
            log(row)
    last_log_at = []
    for log in logs:
        log(row)
        last_log_at.append(time.monotonic())
    committed = committed_at(runs)
    result = {
        "first_log_at": first_log_at,
        "last_log_at": max(last_log_at),
        "committed_at": max(committed.values()),
        "lags_s": [committed[n] - last_log_at[n] for n in range(count)],
        "cpu_s": time.process_time() - cpu_s,
    }
    print(json.dumps(result), flush=True)
    sys.stdin.readline()
    for run in runs:
        run.finish()


if __name__ == "__main__":
    main()
