"""Runs in the exporter's Parquet files, as sources."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

from kelt.other_trackers.foreign_run import (
    Facts,
    ForeignRun,
    ForeignRunError,
    Tally,
    Target,
    branch_id,
    run_name,
    writer_id,
)
from kelt.other_trackers.point_sorting import Point, sorted_rows
from kelt.other_trackers.rows import RowPacker
from kelt.records import RunFacts
from kelt.wandb_files.row_building import BuiltRow
from kelt_proto.v1.record_pb2 import BranchPoint

TRACKER = "Neptune"
_COLUMNS = frozenset(("project_id", "run_id", "attribute_path", "attribute_type", "step"))
_BATCH_ROWS = 32_768
_FILE_NAME = re.compile(r"part_\d+\.parquet$")
_SCALE_MAX = 10**6
_CONFIG = {
    "float": "float_value", "int": "int_value", "string": "string_value", "bool": "bool_value",
    "datetime": "datetime_value", "string_set": "string_set_value",
}  # fmt: skip
_SERIES = {
    "float_series": "float_value", "string_series": "string_value",
    "histogram_series": "histogram_value",
}  # fmt: skip
_NOT_CARRIED = {
    "file": "file", "file_series": "file", "file_set": "file", "artifact": "file",
}  # fmt: skip
_COUNTS = "COUNTING"
_PARENT, _PARENT_STEP = "sys/forking/parent", "sys/forking/step"
_CREATED, _MODIFIED = "sys/creation_time", "sys/modification_time"
_NAME, _NOTES, _TAGS, _GROUP_TAGS, _FAILED = (
    "sys/name", "sys/description", "sys/tags", "sys/group_tags", "sys/failed",
)  # fmt: skip


@dataclass(frozen=True)
class ExportFolder:
    """The files of one project.

    Attributes:
        damaged: of them, those that could not be read whole so far, and why.
    """

    path: Path
    files: tuple[Path, ...]
    damaged: dict[Path, str] = field(default_factory=dict)

    def batches(self, path: Path, columns: Sequence[str]) -> Iterator[Any]:
        """Some columns of a file, up to where it is damaged."""
        parquet = _arrow()
        try:
            with parquet.ParquetFile(path) as file:
                yield from file.iter_batches(batch_size=_BATCH_ROWS, columns=columns)
        except (OSError, ValueError) as error:
            self.damaged.setdefault(path, f"{error!s:.100}")

    @cached_property
    def contents(self) -> dict[tuple[str, str], list[Path]]:
        """Project and run, and the files that they are in."""
        found: dict[tuple[str, str], list[Path]] = {}
        for path in self.files:
            seen: set[tuple[str, str]] = set()
            for batch in self.batches(path, ("project_id", "run_id")):
                seen.update(zip(*(column.to_pylist() for column in batch), strict=True))
            for key in sorted(seen):
                found.setdefault(key, []).append(path)
        return found

    @cached_property
    def scale(self) -> int:
        """What steps are multiplied by, so that all of them are whole."""
        scale = 1
        for path in self.files:
            for batch in self.batches(path, ("step",)):
                for step in batch.column(0).unique().to_pylist():
                    while step is not None and scale < _SCALE_MAX and step * scale % 1:
                        scale *= 10
        return scale


@dataclass(frozen=True, kw_only=True)
class ExportedRun:
    """One run of a folder."""

    path: Path
    folder: ExportFolder
    project_id: str
    run_id: str
    target: Target
    tracker: str = TRACKER
    is_append_only: bool = False

    def run(self, edition: int) -> ForeignRun:
        """As in `Source`."""
        own = writer_id(TRACKER, [self.project_id, self.run_id], self.target, edition)
        project = self.target.project or run_name(self.project_id.rpartition("/")[2], "neptune")
        said = self._attributes
        forked = None
        if parent := said.get(_PARENT):
            forked = BranchPoint(
                entity=self.target.entity, project=project, run_id=run_name(str(parent), "run"),
                step=int(Decimal(str(said.get(_PARENT_STEP) or 0)) * self.folder.scale),
            )  # fmt: skip
        created = said.get(_CREATED)
        return ForeignRun(
            writer_id=own,
            branch_id=branch_id(own),
            entity=self.target.entity,
            project=project,
            run_id=run_name(self.run_id, "run"),
            name=str(said.get(_NAME) or ""),
            started_at=created.timestamp() if created is not None else 0.0,
            forked=forked,
        )

    def version(self) -> dict[str, int]:
        """As in `Source`."""
        found = [path.stat() for path in self.folder.files]
        return {
            "size_bytes": sum(status.st_size for status in found),
            "mtime_ns": max(status.st_mtime_ns for status in found),
            "files": len(found),
        }

    def records(self, run: ForeignRun, tally: Tally, scratch: Path) -> Iterator[BuiltRow]:
        """As in `Source`."""
        scale = self.folder.scale
        counts: Counter[str] = Counter()
        yield from sorted_rows(
            self._points(scale, counts, run.started_at),
            scratch=scratch,
            packer=RowPacker(started_at=run.started_at),
            tally=tally,
        )
        tally.not_carried.update({_NOT_CARRIED.get(kind, kind): n for kind, n in counts.items()})
        if scale > 1:
            tally.remarks.append(f"its project's steps are taken times {scale:,}")
        self._tell_damage(tally)
        tally.facts = self._facts(tally)

    @property
    def _files(self) -> Sequence[Path]:
        return self.folder.contents[self.project_id, self.run_id]

    def _rows(self, columns: Sequence[str], types: frozenset[str]) -> Iterator[dict[str, Any]]:
        """The values of the run that are of some types."""
        wanted = ["project_id", "run_id", "attribute_path", "attribute_type", *columns]
        for path in self._files:
            for batch in self.folder.batches(path, wanted):
                for row in batch.to_pylist():
                    is_own = (row["project_id"], row["run_id"]) == (self.project_id, self.run_id)
                    if is_own and (row["attribute_type"] in types or not types):
                        yield row

    @cached_property
    def _attributes(self) -> dict[str, Any]:
        """What is no series, by its path."""
        found: dict[str, Any] = {}
        for row in self._rows(tuple(_CONFIG.values()), frozenset(_CONFIG)):
            found[row["attribute_path"]] = row[_CONFIG[row["attribute_type"]]]
        return found

    def _points(self, scale: int, counts: Counter[str], started_at: float) -> Iterator[Point]:
        columns = ("step", "timestamp", *_SERIES.values())
        for row in self._rows(columns, frozenset()):
            kind = row["attribute_type"]
            if kind not in _SERIES:
                counts[kind] += kind not in _CONFIG
                continue
            value, at = row[_SERIES[kind]], row["timestamp"]
            if value is None:
                counts["value that is missing"] += 1
                continue
            if isinstance(value, dict):
                if value["type"] != _COUNTS:
                    counts["histogram of something else than counts"] += 1
                    continue
                made = {"_type": "histogram", "values": value["values"], "bins": value["edges"]}
                value = json.dumps(made).encode()
            # Without a time, steps tell the order.
            step = int((row["step"] or 0) * scale)
            yield Point(at.timestamp() if at else started_at, step, row["attribute_path"], value)

    def _tell_damage(self, tally: Tally) -> None:
        stem = _run_stem(self._files[0])
        for path, why in self.folder.damaged.items():
            if _run_stem(path) == stem:
                tally.lost_rows += 1
                tally.damage = f"{path.name} cannot be read: {why}"

    def _facts(self, tally: Tally) -> Facts:
        said = self._attributes
        tags = [*(said.get(_TAGS) or ()), *(said.get(_GROUP_TAGS) or ())]
        config = {
            path: value.isoformat() if hasattr(value, "isoformat") else value
            for path, value in sorted(said.items())
        }
        ended = said.get(_MODIFIED)
        is_failed = bool(said.get(_FAILED))
        return Facts(
            config=config,
            info=RunFacts(
                name=str(said.get(_NAME) or "") or None,
                notes=str(said.get(_NOTES) or "") or None,
                tags=tuple(map(str, tags)),
            ),
            changed_at_ns=self.version()["mtime_ns"],
            exit_code=int(is_failed),
            reason="Neptune says that it failed" if is_failed else "",
            ended_at=max(tally.ended_at, ended.timestamp() if ended is not None else 0.0),
        )


def exported_runs(
    path: Path, files: Sequence[Path], target: Target
) -> Iterator[ExportedRun | ForeignRunError]:
    """The runs in some files of a folder, and what kept one from being read.

    Args:
        path: the folder.
        files: named as the exporter's are (`is_named_as_export`).
        target: where the runs go.
    """
    ours = [file for file in files if _is_export(file) is not False]
    if not any(map(_is_export, ours)):
        yield from (_unreadable(file, "it is no whole Parquet file") for file in ours)
        return
    folder = ExportFolder(path=path, files=tuple(ours))
    stems = {_run_stem(file) for found in folder.contents.values() for file in found}
    for file, why in folder.damaged.items():
        if _run_stem(file) not in stems:
            yield _unreadable(file, why)
    for (project_id, run_id), found in folder.contents.items():
        yield ExportedRun(
            path=found[0], folder=folder, project_id=project_id, run_id=run_id, target=target
        )


def is_named_as_export(path: Path) -> bool:
    """Whether a file is named as the exporter's are."""
    return _FILE_NAME.search(path.name) is not None


def is_part_of_same(path: Path, other: Path) -> bool:
    """Whether two files, as they are named, may hold the same runs."""
    return is_named_as_export(other) and _run_stem(path) == _run_stem(other)


def is_export(path: Path) -> bool:
    """Whether a file is the exporter's.

    Raises:
        ForeignRunError: pyarrow is not installed.
    """
    return bool(_is_export(path))


def _is_export(path: Path) -> bool | None:
    """None where it cannot be read."""
    parquet = _arrow()
    try:
        return set(parquet.read_schema(path).names) >= _COLUMNS
    except (OSError, ValueError):
        return None


def _unreadable(path: Path, why: str) -> ForeignRunError:
    return ForeignRunError(f"{path} cannot be read ({why}); export its run again.")


def _run_stem(path: Path) -> str:
    return path.name.rpartition("part_")[0]


def _arrow() -> Any:
    try:
        import pyarrow.parquet  # noqa: PLC0415 # optional, and slow to load
    except ImportError:
        raise ForeignRunError(
            "Neptune's exported Parquet files need pyarrow to be read. Run: pip install "
            "'kelt[importers]'"
        ) from None
    return pyarrow.parquet
