"""What a W&B `run` record says of a run, in kelt's words. Pure."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

from kelt.metric_definitions import SUMMARY_KINDS
from kelt.names import BRANCH_ID_CHARS
from kelt.wandb_files.row_building import decode_value
from kelt.wandb_files.summary_changes import names_of
from kelt_proto.v1 import record_pb2
from kelt_proto.v1.rows import STEP_MAX
from kelt_proto.wandb.wandb_record_pb2 import Config, Metric, Run

_DIGITS = "abcdefghijklmnopqrstuvwxyz0123456789"
_WRITER_ID_BYTES = 16
_TIME_END_S = 2**36
_GOALS = {1: "minimize", 2: "maximize"}


@dataclass(frozen=True, kw_only=True)
class WandbRun:
    """A run, as its first `run` record says.

    Attributes:
        writer_id: follows from the record.
        branch_id: follows from the writer's id.
        may_go_on: it was opened as one that goes on, where there is one of the name.
        producer: the version of wandb that wrote it, as far as it says so.
    """

    writer_id: bytes
    branch_id: str
    entity: str
    project: str
    run_id: str
    host: str
    started_at: float
    may_go_on: bool
    producer: str
    record: Run

    @property
    def branch_point(self) -> record_pb2.BranchPoint | None:
        """Where a fork or a rewind leaves its parent."""
        if not self.record.HasField("branch_point"):
            return None
        point = self.record.branch_point
        step = int(min(max(point.value, 0.0), STEP_MAX)) if math.isfinite(point.value) else 0
        return record_pb2.BranchPoint(
            entity=self.entity, project=self.project, run_id=point.run, step=step
        )


def wandb_run(record: Run, *, raw: bytes, producer: str) -> WandbRun:
    """The run of a file.

    Args:
        record: the first `run` record.
        raw: the same as it lies in the file. Its start time has nanoseconds, so that no two
            runs, or openings of one, have the same.
        producer: the version in the header.
    """
    started_at = record.start_time.seconds + record.start_time.nanos / 1e9
    if not 0 <= started_at < _TIME_END_S:
        started_at = 0.0
    digest = hashlib.sha256(b"kelt wandb file\n" + raw).digest()
    return WandbRun(
        writer_id=digest[:_WRITER_ID_BYTES],
        branch_id=_branch_id(digest),
        entity=record.entity,
        project=record.project or "uncategorized",
        run_id=record.run_id,
        host=record.host,
        started_at=started_at,
        may_go_on=record.resume or record.resumed or record.starting_step > 0,
        producer=producer,
        record=record,
    )


def _branch_id(digest: bytes) -> str:
    number = int.from_bytes(hashlib.sha256(b"branch\n" + digest).digest(), "big")
    digits = []
    for _ in range(BRANCH_ID_CHARS):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(digits)


def opened(run: WandbRun, *, process: str) -> bytes:
    """The session's first record; `process` is W&B's id of it, where it is known."""
    message = record_pb2.RunOpened(
        entity=run.entity,
        project=run.project,
        run_id=run.run_id,
        branch_id=run.branch_id,
        started_at=run.started_at,
        info=info(run.record),
        host=record_pb2.Host(hostname=run.host),
        sdk_version=f"wandb {run.producer}".strip(),
        retold=record_pb2.Retold(process=process),
    )
    point = run.branch_point
    if point is not None and point.run_id == run.run_id:
        message.rewound.CopyFrom(point)
    elif point is not None:
        message.forked.CopyFrom(point)
    elif run.may_go_on:
        message.resumed.point_unknown = True
        message.resumed.last_step = -1
        message.resumed.mode = "allow"
    else:
        message.created.SetInParent()
    return message.SerializeToString(deterministic=True)


def info(record: Run) -> record_pb2.RunInfo:
    """What people see of the run; what W&B leaves empty stays as it was."""
    said = record_pb2.RunInfo()
    if record.display_name:
        said.name = record.display_name
    if record.notes:
        said.notes = record.notes
    if record.run_group:
        said.group = record.run_group
    if record.job_type:
        said.job_type = record.job_type
    if record.tags:
        said.tags.values.extend(record.tags)
    return said


class ConfigState:
    """The config of one file: nested changes become whole top-level values."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    def take(self, config: Config) -> tuple[dict[str, Any], list[str]] | None:
        """A change; returns the values and the removed keys of the top level, None without any."""
        changed: dict[str, None] = {}
        for path, item in zip(names_of(config.update), config.update, strict=True):
            if path[0] and path[0] != "_wandb":
                value = decode_value(item.value_json)
                changed |= {path[0]: None} if self._put(path, value) else {}
        for path in names_of(config.remove):
            if self._remove(path):
                changed[path[0]] = None
        if not changed:
            return None
        kept = {key: self._values[key] for key in changed if key in self._values}
        return kept, [key for key in changed if key not in self._values]

    def _put(self, path: tuple[str, ...], value: Any) -> bool:
        inside = self._values
        for key in path[:-1]:
            following = inside.get(key)
            if not isinstance(following, dict):
                following = inside[key] = {}
            inside = following
        is_new = path[-1] not in inside or inside[path[-1]] != value
        inside[path[-1]] = value
        return is_new

    def _remove(self, path: tuple[str, ...]) -> bool:
        inside: Any = self._values
        for key in path[:-1]:
            inside = inside.get(key) if isinstance(inside, dict) else None
        if not isinstance(inside, dict) or path[-1] not in inside:
            return False
        del inside[path[-1]]
        return True


def definition(metric: Metric, *, step: int) -> bytes | None:
    """What define_metric said; None where it says nothing that its glob does not."""
    name = (metric.glob_name or metric.name).replace("\\.", ".")
    if not name or metric.expanded_from_glob:
        return None
    asked = [kind for kind in SUMMARY_KINDS if getattr(metric.summary, kind)]
    if "none" in asked:
        asked = ["none"]
    return record_pb2.MetricDefinition(
        name=name,
        step_metric=metric.step_metric.replace("\\.", "."),
        summary=",".join(asked),
        goal=_GOALS.get(metric.goal, ""),
        hidden=metric.options.hidden,
        step=step,
    ).SerializeToString(deterministic=True)
