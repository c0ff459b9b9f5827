"""What a process gains by kelt: time, memory, background work. Prints one line of JSON.

    trainer.py memory                   resident memory from a bare interpreter to a sender at work
    trainer.py grpc                     that of `import grpc` and one open channel alone
    trainer.py background ROWS SECONDS  processor time of all threads but the training's own

`background` logs 20 scalars at so many rows a second, asleep in between.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any


def rss_mib() -> float:
    status = Path("/proc/self/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def spool_mib() -> float:
    """What of it are pages of the spool's files."""
    found_kib, is_spool = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, _, rest = line.partition(" ")
        if not name.endswith(":"):
            is_spool = "/spool-" in rest
        elif name == "Rss:" and is_spool:
            found_kib += int(rest.split()[0])
    return found_kib / 1024


def opened() -> Any:
    import kelt  # noqa: PLC0415 # what is measured

    run = kelt.init("bench")
    while not run._session.sender.state.is_connected:  # noqa: SLF001 # nobody else needs to know
        time.sleep(0.01)
    return run


def memory() -> dict[str, Any]:
    found = {"bare_mib": rss_mib()}
    import kelt  # noqa: PLC0415 # what is measured

    found["imported_mib"] = rss_mib()
    begin_s = time.perf_counter()
    run = kelt.init("bench")
    found["init_ms"] = (time.perf_counter() - begin_s) * 1000
    while not run._session.sender.state.is_connected:  # type: ignore[union-attr] # noqa: SLF001
        time.sleep(0.01)
    found["connected_mib"] = rss_mib()
    row = {f"metric_{n}": n + 0.5 for n in range(20)}
    for _ in range(5000):
        run.log(row)
        time.sleep(0.0005)
    time.sleep(0.5)
    found["sending_mib"], found["sending_spool_mib"] = rss_mib(), spool_mib()
    for _ in range(100):
        for _ in range(2000):
            run.log(row)
        time.sleep(0.05)
    time.sleep(1)
    found["long_mib"], found["long_spool_mib"] = rss_mib(), spool_mib()
    run.finish()
    return found


def grpc_alone() -> dict[str, Any]:
    found = {"bare_mib": rss_mib()}
    import grpc  # noqa: PLC0415 # what is measured

    channel = grpc.insecure_channel("unix:/nonexistent")
    channel.subscribe(lambda _: None, try_to_connect=True)
    time.sleep(0.5)
    found["grpc_mib"] = rss_mib()
    return found


def background(rows_per_s: float, seconds: float) -> dict[str, Any]:
    run = opened()
    row = {f"metric_{n}": n + 0.5 for n in range(20)}
    for _ in range(200):
        run.log(row)
    time.sleep(0.5)
    process_s, thread_s, begin_s = time.process_time(), time.thread_time(), time.perf_counter()
    for call in range(int(rows_per_s * seconds)):
        run.log(row)
        pause_s = begin_s + (call + 1) / rows_per_s - time.perf_counter()
        if pause_s > 0:
            time.sleep(pause_s)
    elapsed_s = time.perf_counter() - begin_s
    others_s = (time.process_time() - process_s) - (time.thread_time() - thread_s)
    run.finish()
    return {"rows_per_s": int(rows_per_s * seconds) / elapsed_s, "core_share": others_s / elapsed_s}


def main() -> None:
    what = sys.argv[1]
    if what == "background":
        result = background(float(sys.argv[2]), float(sys.argv[3]))
    else:
        result = {"memory": memory, "grpc": grpc_alone}[what]()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
