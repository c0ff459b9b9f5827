"""Open runs on a host that log at an even pace until they are told to end.

paced.py RUNS ROWS_PER_S PREFIX

It says `ready` once every run has its daemon. ROWS_PER_S rows of 20 scalars go to each run.
"""

from __future__ import annotations

import sys
import threading
import time

from writers import SCALARS, opened


def main() -> None:
    runs = opened(int(sys.argv[1]), sys.argv[3])
    rows_per_s = float(sys.argv[2])
    told = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), told.set()), daemon=True).start()
    row = {f"metric_{n}": n + 0.5 for n in range(SCALARS)}
    print("ready", flush=True)
    due = time.monotonic()
    while not told.is_set():
        if rows_per_s:
            for run in runs:
                run.log(row)
            due += 1 / rows_per_s
            time.sleep(max(0.0, due - time.monotonic()))
        else:
            told.wait()
    for run in runs:
        run.finish()


if __name__ == "__main__":
    main()
