"""The least that could be done: packs the same values into a memory map and does nothing else."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from peers import Tracker

_MAP_BYTES = 64 * 2**20


def open_run(folder: Path, _variant: str) -> Tracker:
    path = folder / "floor"
    path.write_bytes(bytes(_MAP_BYTES))
    with path.open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 0)
    packers: dict[int, struct.Struct] = {}
    position = 0

    def log(row: dict[str, float]) -> None:
        nonlocal position
        packer = packers.get(len(row))
        if packer is None:
            packer = packers[len(row)] = struct.Struct(f"<{len(row)}d")
        if position + packer.size > _MAP_BYTES:
            position = 0
        packer.pack_into(mapped, position, *row.values())
        position += packer.size

    return Tracker(log, lambda: None)
