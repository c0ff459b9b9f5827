"""What a training process gains by kelt: import and start time, memory, background work."""

from __future__ import annotations

import statistics
import subprocess
import sys
from typing import Any

from measuring.processes import child, clean_environment, host, machine_alone, server
from measuring.section import Bench, Goal
from measuring.spread import spread, table

TITLE = "In the training process"

IMPORTS_PER_ROUND = 10
ROWS_PER_S = 1000
SECONDS = 10
SLOWEST_SHOWN = 6
_IMPORT_MS_MAX, _ADDED_MIB_MAX, _CORE_SHARE_MAX = 60, 35, 0.02


def measure(bench: Bench) -> dict[str, Any]:
    imports, seconds = (2, 1) if bench.is_quick else (IMPORTS_PER_ROUND, SECONDS)
    found: dict[str, list[dict[str, Any]]] = {
        "import": [], "memory": [], "grpc": [], "idle": [], "background": []
    }  # fmt: skip
    with server(bench.scratch) as served, host(bench.scratch, served.url) as bench_host:
        environment = bench_host.environment
        child("trainer.py", "memory", environment=environment)  # starts the daemon, compiles
        for _ in range(bench.rounds):
            with machine_alone():
                found["import"] += [import_time() for _ in range(imports)]
                for name in ("memory", "grpc"):
                    found[name].append(child("trainer.py", name, environment=environment))
                for name, rows_per_s in (("idle", 1), ("background", ROWS_PER_S)):
                    arguments = ("background", rows_per_s, seconds)
                    found[name].append(child("trainer.py", *arguments, environment=environment))
    return {**found, "slowest_imports": slowest_imports()}


def import_time() -> dict[str, float]:
    """`import kelt` in a fresh interpreter that has loaded nothing else."""
    begin = "import time; begin_s = time.perf_counter(); import kelt"
    command = [sys.executable, "-c", f"{begin}; print((time.perf_counter() - begin_s) * 1000)"]
    with machine_alone():
        said = subprocess.check_output(command, env=clean_environment(), timeout=60)
    return {"import_ms": float(said)}


def slowest_imports() -> list[tuple[str, float]]:
    """Modules by the time of their own that `import kelt` spends in them, in ms."""
    command = [sys.executable, "-X", "importtime", "-c", "import kelt"]
    with machine_alone():
        done = subprocess.run(
            command, env=clean_environment(), capture_output=True, text=True, check=True, timeout=60
        )
    found = []
    is_ours = False
    for line in done.stderr.splitlines():
        own_us, _, rest = line.removeprefix("import time:").partition("|")
        name = rest.partition("|")[2].strip()
        # `site` is the last that an interpreter loads without being asked.
        if is_ours and own_us.strip().isdigit():
            found.append((name, int(own_us) / 1000))
        is_ours = is_ours or name == "site"
    return sorted(found, key=lambda item: -item[1])[:SLOWEST_SHOWN]


def report(result: dict[str, Any]) -> str:
    memory = result["memory"]
    rows = [
        ("`import kelt`, ms", spread(r["import_ms"] for r in result["import"])),
        ("first `init`, the daemon there already, ms", spread(r["init_ms"] for r in memory)),
        ("MiB added by `import kelt`", spread(r["imported_mib"] - r["bare_mib"] for r in memory)),
        ("MiB added, connected", spread(r["connected_mib"] - r["bare_mib"] for r in memory)),
        ("MiB added, after 5,000 rows of 20 scalars", spread(_added(result))),
        (
            "- of these, pages of the spool's files",
            spread(r["sending_spool_mib"] for r in memory),
        ),
        (
            "MiB added, after 200,000 more at 40,000 a second",
            spread(r["long_mib"] - r["bare_mib"] for r in memory),
        ),
        ("- of these, pages of the spool's files", spread(r["long_spool_mib"] for r in memory)),
        (
            "MiB added by `import grpc` and one channel alone",
            spread(r["grpc_mib"] - r["bare_mib"] for r in result["grpc"]),
        ),
        (
            f"background threads behind {ROWS_PER_S:,} rows/s of 20 scalars, % of a core",
            spread((100 * r["core_share"] for r in result["background"]), 2),
        ),
        (
            "background threads behind 1 row/s, % of a core",
            spread((100 * r["core_share"] for r in result["idle"]), 2),
        ),
    ]
    slowest = ", ".join(f"`{name}` {own_ms:.1f}" for name, own_ms in result["slowest_imports"])
    return "\n".join(
        [
            "Fresh interpreters with nothing else loaded; resident memory as the kernel counts it,",
            "beside that of the bare interpreter.",
            "",
            table(("", "measured"), rows),
            "",
            f"What `import kelt` spends most in, ms of each module's own: {slowest}.",
        ]
    )


def _added(result: dict[str, Any]) -> list[float]:
    return [r["sending_mib"] - r["bare_mib"] for r in result["memory"]]


def goals(result: dict[str, Any]) -> list[Goal]:
    imports = [r["import_ms"] for r in result["import"]]
    added = _added(result)
    shares = [100 * r["core_share"] for r in result["background"]]
    return [
        Goal(
            what="`import kelt`",
            goal=f"at most {_IMPORT_MS_MAX} ms",
            measured=f"{spread(imports)} ms",
            is_reached=statistics.median(imports) <= _IMPORT_MS_MAX,
        ),
        Goal(
            what="memory added to the trainer, the sender at work",
            goal=f"at most {_ADDED_MIB_MAX} MiB",
            measured=f"{spread(added)} MiB",
            is_reached=statistics.median(added) <= _ADDED_MIB_MAX,
        ),
        Goal(
            what=f"background threads behind {ROWS_PER_S:,} rows/s of 20 scalars",
            goal="at most 2 % of a core",
            measured=f"{spread(shares, 2)} %",
            is_reached=statistics.median(shares) <= 100 * _CORE_SHARE_MAX,
        ),
    ]
