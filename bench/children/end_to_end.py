"""One process: from the first `log()` to the last row committed at the server. One line of JSON.

bench/end_to_end.py ROWS   (KELT_DIR and KELT_UPSTREAM say where)
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request

import kelt

SCALARS = 20


def committed_rows(url: str) -> int:
    with urllib.request.urlopen(url, timeout=10) as reply:
        return int(json.load(reply)["rows"])


def main() -> None:
    rows = int(sys.argv[1])
    names = [f"metric_{n}" for n in range(SCALARS)]
    row = {key: n + 0.5 for n, key in enumerate(names)}
    run = kelt.init("bench", settings={"finish_timeout_s": 120})
    log = run.log
    start = time.perf_counter()
    for step in range(rows):
        row["metric_0"] = step * 0.5
        log(row)
    logged = time.perf_counter()
    run.finish()
    finished = time.perf_counter()
    url = f"{os.environ['KELT_UPSTREAM']}/api/v1/runs/-/bench/{run.id}"
    found = committed_rows(url)
    result = {
        "rows": rows,
        "committed_rows": found,
        "log_s": logged - start,
        "finish_s": finished - logged,
        "points_per_s": rows * SCALARS / (finished - start),
    }
    print(json.dumps(result))
    sys.exit(0 if found == rows else 1)


if __name__ == "__main__":
    main()
