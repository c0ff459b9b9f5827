"""MLflow's folder of files.

<experiment id>/meta.yaml          name, lifecycle_stage
<experiment id>/<run id>/meta.yaml run_name, status, start_time, end_time (ms), lifecycle_stage
                …/params/<key>     its value
                …/tags/<key>       its value
                …/metrics/<key>    a line a point: time (ms), value, step; a key may have slashes
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kelt.other_trackers.foreign_run import ForeignRunError, Tally
from kelt.other_trackers.mlflow.besides import KINDS, TRACE, Besides, local_folder
from kelt.other_trackers.mlflow.mlflow_run import MlflowRun
from kelt.other_trackers.point_sorting import Point

_META_NAME = "meta.yaml"
_DELETED = "deleted"
_STATUSES = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
_META_BYTES_MAX = 1024 * 1024
_EXPERIMENT = re.compile(rb"^experiment_id:", re.MULTILINE)
_RUN = re.compile(rb"^run_(id|uuid):", re.MULTILINE)


def is_experiment(folder: Path) -> bool:
    """Whether a folder is an experiment of the store.

    Raises:
        OSError: it cannot be read.
    """
    raw = _meta_bytes(folder)
    return _EXPERIMENT.search(raw) is not None and _RUN.search(raw) is None


def is_run(folder: Path) -> bool:
    """Whether a folder is a run of the store.

    Raises:
        OSError: as `is_experiment`.
    """
    return _RUN.search(_meta_bytes(folder)) is not None


def _meta_bytes(folder: Path) -> bytes:
    path = folder / _META_NAME
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(_META_BYTES_MAX)


def runs_of(experiment: Path) -> list[Path]:
    """The run folders of an experiment that is not deleted."""
    if _read_meta(experiment).get("lifecycle_stage") == _DELETED:
        return []
    return [child for child in sorted(experiment.iterdir()) if is_run(child)]


@dataclass(frozen=True)
class FileStore:
    """As `MlflowStore`, of one run's folder."""

    path: Path

    @property
    def is_deleted(self) -> bool:
        """Whether the run is to be left out."""
        return _read_meta(self.path).get("lifecycle_stage") == _DELETED

    def read_run(self, run_id: str) -> MlflowRun:
        """As in `MlflowStore`."""
        meta = _read_meta(self.path)
        experiment = _read_meta(self.path.parent) if is_experiment(self.path.parent) else {}
        changed = [path.stat().st_mtime_ns for path in self._dated()]
        status = meta.get("status")
        return MlflowRun(
            experiment=str(experiment.get("name") or ""),
            run_id=run_id,
            name=str(meta.get("run_name") or ""),
            status=_STATUSES.get(status, str(status)) if isinstance(status, int) else str(status),
            started_at=_seconds(meta.get("start_time")),
            ended_at=_seconds(meta.get("end_time")),
            params=self._texts("params"),
            tags=self._texts("tags"),
            changed_at_ns=max(changed),
        )

    def read_points(self, _run_id: str, tally: Tally) -> Iterator[Point]:
        """As in `MlflowStore`."""
        folder = self.path / "metrics"
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = _key(path, folder)
            with path.open("rb") as lines:
                for number, line in enumerate(lines, start=1):
                    point = _point(name, line)
                    if point is not None:
                        yield point
                    elif line.endswith(b"\n"):  # else it is still being written
                        tally.lost_rows += 1
                        tally.damage = f"line {number} of MLflow's file {name} cannot be read"

    def besides(self, run_id: str) -> Besides:
        """As in `MlflowStore`."""
        uri = str(_read_meta(self.path).get("artifact_uri") or "")
        place = local_folder(uri, self.path, self.path.parent.parent)
        if place is not None and not place.is_dir():  # the store was moved, or never had any
            place = self.path / "artifacts"
        found = Besides(artifact_uri=uri, artifact_folder=place)
        for folder in ("inputs", "outputs"):
            for meta in (self.path / folder).glob(f"*/{_META_NAME}"):
                kind = str(_read_meta(meta.parent).get("source_type"))
                found.counts[KINDS.get(kind, "input")] += 1
        for source in self.path.parent.glob("traces/*/request_metadata/mlflow.sourceRun"):
            if source.read_text("utf-8", "replace") == run_id:
                found.counts[TRACE] += 1
        return found

    def version(self, _run_id: str) -> dict[str, int]:
        """As in `MlflowStore`."""
        metrics = [p.stat() for p in (self.path / "metrics").rglob("*") if p.is_file()]
        dated = [path.stat().st_mtime_ns for path in self._dated()]
        return {
            "size_bytes": sum(status.st_size for status in metrics),
            "mtime_ns": max([*dated, *(status.st_mtime_ns for status in metrics)]),
            "files": len(dated) + len(metrics),
        }

    def _dated(self) -> Iterator[Path]:
        """What the facts are read from."""
        yield self.path / _META_NAME
        for kind in ("params", "tags"):
            yield from (path for path in (self.path / kind).rglob("*") if path.is_file())

    def _texts(self, kind: str) -> dict[str, str]:
        folder = self.path / kind
        return {
            _key(path, folder): path.read_text("utf-8", "replace")
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }


def _key(path: Path, folder: Path) -> str:
    return os.fsencode(path.relative_to(folder).as_posix()).decode("utf-8", "replace")


def _point(name: str, line: bytes) -> Point | None:
    parts = line.split()
    try:
        at_ms, value = int(parts[0]), float(parts[1])
        step = int(parts[2]) if len(parts) > 2 else 0  # noqa: PLR2004 # none before MLflow 1.0
    except (ValueError, IndexError):
        return None
    return Point(at_ms / 1000, step, name, value)


def _seconds(milliseconds: object) -> float:
    return milliseconds / 1000 if isinstance(milliseconds, int) else 0.0


def _read_meta(folder: Path) -> Mapping[str, Any]:
    try:
        import yaml  # noqa: PLC0415 # optional
    except ImportError:
        raise ForeignRunError(
            f"{folder} is a part of MLflow's file store, which needs PyYAML to be read. Run: pip "
            "install 'kelt[importers]'"
        ) from None
    path = folder / _META_NAME
    try:
        found = yaml.safe_load(_meta_bytes(folder))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ForeignRunError(
            f"{path} is damaged ({type(error).__name__}); copy it again."
        ) from error
    if not isinstance(found, dict):
        raise ForeignRunError(f"{path} is damaged (no mapping); copy it again.")
    return found
