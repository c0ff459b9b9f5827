"""wandb, offline: from the first `log()` to the end of `finish()`. One line of JSON.

wandb_offline.py ROWS [FOLDER]      the run is left in FOLDER
"""

from __future__ import annotations

import json
import sys
import tempfile
import time

import wandb

SCALARS = 20


def main() -> None:
    rows = int(sys.argv[1])
    row = {f"metric_{n}": n + 0.5 for n in range(SCALARS)}
    settings = wandb.Settings(silent=True)
    folder = sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp()
    run = wandb.init(project="bench", mode="offline", dir=folder, settings=settings)
    started = time.perf_counter()
    for step in range(rows):
        row["metric_0"] = step * 0.5
        run.log(row)
    run.finish()
    print(
        json.dumps({"rows": rows, "points_per_s": rows * SCALARS / (time.perf_counter() - started)})
    )


if __name__ == "__main__":
    main()
