"""On what was measured, and with what."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PARTS = ("kelt", "grpcio", "protobuf", "duckdb", "pyarrow", "numpy")


def facts() -> dict[str, str]:
    """The machine, the interpreter and the versions of what kelt stands on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "machine": f"{os.cpu_count()} cores of {model}, {memory_gib:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{part: _version(part) for part in _PARTS},
    }


def _version(part: str) -> str:
    try:
        return version(part)
    except PackageNotFoundError:
        return "-"
