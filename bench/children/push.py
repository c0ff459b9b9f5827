"""Pushes the rows of offline runs straight at a server, as the daemon does. One line of JSON.

push.py RUNS_FOLDER URL

Batches are cut before the clock starts. Pushes have the daemon's size, and as many are under way.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from kelt.journal.batches import CutBatch, cut_spool
from kelt.run_folder import read_manifest
from kelt_daemon.batch import Outgoing
from kelt_daemon.config import DaemonConfig
from kelt_daemon.upstream import Access
from kelt_daemon.upstream.kelt_server import KeltServer

CONFIG = DaemonConfig()


def pushes_of(folder: Path) -> list[list[Outgoing]]:
    """All of a run folder, in pushes."""
    writer_id = bytes.fromhex(read_manifest(folder).writer_id)
    found: list[list[Outgoing]] = [[]]
    size_bytes = 0
    for batch in cut_spool(folder):
        if not isinstance(batch, CutBatch):
            sys.exit(f"{folder} is damaged")
        if found[-1] and size_bytes + len(batch.frames) > CONFIG.push_bytes_max:
            found.append([])
            size_bytes = 0
        size_bytes += len(batch.frames)
        found[-1].append(Outgoing(writer_id, batch.first_seq, batch.last_seq, batch.frames))
    return found


async def push_all(url: str, runs: list[list[list[Outgoing]]]) -> float:
    """Seconds from the first push to the last acknowledgement."""
    server = KeltServer(url=url, config=CONFIG)
    await server.connect(Access())
    everywhere = asyncio.Semaphore(CONFIG.pushes_per_upstream_max)

    async def push(pushes: list[list[Outgoing]]) -> None:
        here = asyncio.Semaphore(CONFIG.pushes_per_folder_max)

        async def one(batches: list[Outgoing]) -> None:
            try:
                async with everywhere:
                    await server.push(batches)
            finally:
                here.release()

        under_way = []
        for batches in pushes:
            await here.acquire()
            under_way.append(asyncio.create_task(one(batches)))
        await asyncio.gather(*under_way)

    started_s = time.perf_counter()
    await asyncio.gather(*map(push, runs))
    taken_s = time.perf_counter() - started_s
    await server.aclose()
    return taken_s


def main() -> None:
    folder, url = Path(sys.argv[1]), sys.argv[2]
    runs = [pushes_of(run) for run in sorted(folder.iterdir())]
    cpu_s = time.process_time()
    wall_s = asyncio.run(push_all(url, runs))
    result = {
        "pushes": sum(map(len, runs)),
        "wall_s": wall_s,
        "client_cpu_s": time.process_time() - cpu_s,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
