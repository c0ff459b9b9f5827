"""Logs large rows to runs whose upstream is away, one run after the other.

backlog.py RUNS ROWS
"""

from __future__ import annotations

import sys

import kelt

SCALARS = 1000


def main() -> None:
    runs, rows = int(sys.argv[1]), int(sys.argv[2])
    row = {f"metric_{n}": n + 1 / 7 for n in range(SCALARS)}
    for number in range(runs):
        with kelt.init("bench", id=f"backlog-{number}", settings={"finish_timeout_s": 0.1}) as run:
            for step in range(rows):
                row["metric_0"] = step * 0.5
                run.log(row)
    print("{}")


if __name__ == "__main__":
    main()
