"""Writes offline runs of 20 scalars a row, one after the other.

offline_runs.py RUNS ROWS
"""

from __future__ import annotations

import sys

import kelt

SCALARS = 20


def main() -> None:
    runs, rows = int(sys.argv[1]), int(sys.argv[2])
    row = {f"metric_{n}": n + 1 / 7 for n in range(SCALARS)}
    for number in range(runs):
        with kelt.init("bench", id=f"run-{number}", mode="offline") as run:
            log = run.log
            for step in range(rows):
                row["metric_0"] = step * 0.5
                log(row)
    print("{}")


if __name__ == "__main__":
    main()
