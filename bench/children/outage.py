"""One training process that logs at a steady rate, phase after phase, as its input says.

    outage.py

Each line of input is a phase: its name, its seconds, its rows a second; the answer is one line of
JSON. The next line, whatever it is, says that the daemon is well again; the answer tells whether it
got everything. In the phase "dead" no new daemon can be started.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from call_timing import rows_of, summary, timed_calls

import kelt

SCALARS = 20
RECOVERY_TIMEOUT_S = 120


def main() -> None:
    run = kelt.init("bench", settings={"finish_timeout_s": 0})
    session: Any = run._session  # noqa: SLF001 # what nobody else needs to know
    spool, sender, python = session.spool, session.sender, sys.executable
    rows = rows_of(SCALARS)
    while not sender.state.is_connected:
        time.sleep(0.01)
    timed_calls(run.log, rows, calls=5000, pace_us=100, seconds_max=5)
    print("ready", flush=True)
    for line in sys.stdin:
        phase, seconds, rate = line.split()
        sys.executable = "/bin/false" if phase == "dead" else python
        calls, pace_us = int(float(seconds) * float(rate)), 1e6 / float(rate)
        begin_s = time.perf_counter()
        taken = timed_calls(
            run.log,
            rows,
            calls=calls,
            pace_us=pace_us,
            seconds_max=2 * float(seconds),
            catches_up=True,
        )
        result = summary(taken) | {
            "rows_per_s": len(taken) / (time.perf_counter() - begin_s),
            "lost": spool.dropped_rows,
            "backlog": spool.seq - sender.state.durable_through,
        }
        print(json.dumps(result), flush=True)
        sys.executable = python
        sys.stdin.readline()  # the daemon is well again
        deadline_s = time.monotonic() + RECOVERY_TIMEOUT_S
        while sender.state.durable_through < spool.seq and time.monotonic() < deadline_s:
            time.sleep(0.05)
        print(json.dumps({"recovered": sender.state.durable_through >= spool.seq}), flush=True)
    run.finish()


if __name__ == "__main__":
    main()
