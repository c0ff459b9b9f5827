"""One process: logs rows, then times its end. Prints one line of JSON.

    finish.py PEER FOLDER ROWS PAUSE_S

After PAUSE_S of silence the run ends; with 0 it ends right after the last row. For kelt the server
is asked what it has committed.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
from pathlib import Path

from call_timing import rows_of
from peers import BY_NAME, KELT

SCALARS = 20


def committed_rows(run_id: str) -> int:
    url = f"{os.environ['KELT_UPSTREAM']}/api/v1/runs/-/bench/{run_id}"
    with urllib.request.urlopen(url, timeout=10) as reply:
        return int(json.load(reply)["rows"])


def main() -> None:
    peer, folder = BY_NAME[sys.argv[1]], Path(sys.argv[2])
    rows, pause_s = int(sys.argv[3]), float(sys.argv[4])
    tracker, values = peer.open(folder), rows_of(SCALARS)
    run_id = ""
    if peer is KELT:
        import kelt  # noqa: PLC0415 # only where it is measured

        assert kelt.run is not None
        run_id = kelt.run.id
    for step in range(rows):
        tracker.log(values[step % len(values)])
    time.sleep(pause_s)
    begin_s = time.perf_counter()
    tracker.finish()
    result = {"version": peer.version, "finish_s": time.perf_counter() - begin_s}
    is_whole = peer is not KELT or committed_rows(run_id) == rows
    print("\n" + json.dumps(result))
    sys.exit(0 if is_whole else "not all rows were committed")


if __name__ == "__main__":
    main()
