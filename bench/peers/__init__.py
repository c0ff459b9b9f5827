"""The trackers that are measured: an adapter each, at its own defaults, without a network.

An adapter is a module with `open_run(folder, variant)`, which makes a run that keeps what it writes
in `folder`, and gives its two functions. It is imported only in the child process that measures it,
under the interpreter of that tracker's own virtual environment (`requirements/<environment>.txt`),
because their dependencies do not go together.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

#: Nobody is told of the runs that are measured.
NO_TELEMETRY = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PLUTO_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
}


@dataclass(frozen=True, slots=True)
class Tracker:
    """An open run.

    Attributes:
        log: takes a row of numbers by name.
        finish: ends the run.
    """

    log: Callable[[dict[str, float]], Any]
    finish: Callable[[], Any]


@dataclass(frozen=True, kw_only=True)
class Peer:
    """How a tracker is measured.

    Attributes:
        name: of the measurement.
        label: shown to people.
        module: its adapter here.
        variant: which way of using it.
        package: its distribution, whose version is told.
        environment: its virtual environment; empty for kelt's own.
        needs_stub: whether it wants a server, and gets `stub_server`.
    """

    name: str
    label: str
    module: str
    package: str
    variant: str = ""
    environment: str = ""
    needs_stub: bool = False

    @property
    def version(self) -> str:
        """In the interpreter that runs."""
        return version(self.package) if self.package else ""

    def open(self, folder: Path) -> Tracker:
        """Opens a run in this process."""
        adapter = importlib.import_module(f"peers.{self.module}")
        tracker: Tracker = adapter.open_run(folder, self.variant)
        return tracker

    @staticmethod
    def stub_environment(url: str) -> dict[str, str]:
        """Points clients at the stub server."""
        key = 40 * "0"
        pluto = {f"PLUTO_URL_{part}": url for part in ("APP", "API", "INGEST", "PY")}
        return {"WANDB_BASE_URL": url, "WANDB_API_KEY": key, "PLUTO_API_KEY": key, **pluto}

    def python(self, environments: Path, own: str) -> Path:
        """The interpreter that has it.

        Args:
            environments: the folder of the peers' virtual environments.
            own: kelt's interpreter.
        """
        if not self.environment:
            return Path(own)
        return environments / self.environment / "bin" / "python"


def _peer(name: str, label: str, package: str, *, variant: str = "", **others: Any) -> Peer:
    environment = name.partition("_")[0]
    return Peer(
        name=name, label=label, package=package, variant=variant, environment=environment,
        module=f"{environment}_run", **others,
    )  # fmt: skip


FLOOR = Peer(name="floor", label="floor: the values packed into a map", module="floor", package="")
KELT = Peer(name="kelt", label="kelt", module="kelt_run", package="kelt")
OTHERS = (
    _peer("wandb_offline", "wandb, offline", "wandb", variant="offline"),
    _peer("wandb_online", "wandb, online", "wandb", variant="online", needs_stub=True),
    _peer("trackio", "trackio", "trackio"),
    _peer("neptune", "neptune-scale, offline", "neptune-scale"),
    _peer("swanlab", "swanlab, offline", "swanlab"),
    _peer("pluto", "pluto-ml", "pluto-ml", needs_stub=True),
    _peer("mlflow_async", "mlflow, async logging", "mlflow", variant="async"),
    _peer("mlflow", "mlflow", "mlflow"),
    _peer("tensorboardx", "tensorboardX", "tensorboardX"),
)
BY_NAME = {peer.name: peer for peer in (FLOOR, KELT, *OTHERS)}
