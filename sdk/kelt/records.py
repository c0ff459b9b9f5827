"""Control records: the payloads that the SDK writes beside rows (`record.proto`)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from kelt.metric_definitions import MetricDefinition
from kelt.run_folder import RunManifest
from kelt.values import encode_json
from kelt.version import __version__
from kelt_proto.v1 import record_pb2
from kelt_proto.v1.rows import Value

if TYPE_CHECKING:
    from kelt.shared_mode import SharedWriter


@dataclass(frozen=True, kw_only=True)
class PointRef:
    """A point of a run's history, with the immutable id where this host knows it."""

    entity: str
    project: str
    run_id: str
    branch_id: str
    step: int

    def to_proto(self) -> record_pb2.BranchPoint:
        """As records carry it."""
        return record_pb2.BranchPoint(
            entity=self.entity,
            project=self.project,
            run_id=self.run_id,
            branch_id=self.branch_id,
            step=self.step,
        )


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What people see of a run; None stays as it was."""

    name: str | None = None
    notes: str | None = None
    group: str | None = None
    job_type: str | None = None
    tags: tuple[str, ...] | None = None

    def to_proto(self) -> record_pb2.RunInfo:
        """As records carry it."""
        info = record_pb2.RunInfo()
        for field in ("name", "notes", "group", "job_type"):
            if (value := getattr(self, field)) is not None:
                setattr(info, field, value)
        if self.tags is not None:
            info.tags.values.extend(self.tags)
            info.tags.SetInParent()
        return info


@dataclass(frozen=True, kw_only=True)
class Opening:
    """How a session begins: the origin of RunOpened.

    Attributes:
        kind: created, resumed, forked or rewound.
        point: where a forked or rewound branch leaves its parent.
        point_unknown: as in the Resumed record.
        last_step: as in the Resumed record.
        resume_mode: as in the Resumed record.
        shared: who this writer is among those of a shared run.
    """

    kind: str
    point: PointRef | None = None
    point_unknown: bool = False
    last_step: int = -1
    resume_mode: str = ""
    shared: SharedWriter | None = None


def run_opened(
    manifest: RunManifest, opening: Opening, facts: RunFacts, started_at: float
) -> bytes:
    """The first record of every writer."""
    message = record_pb2.RunOpened(
        entity=manifest.entity,
        project=manifest.project,
        run_id=manifest.run_id,
        branch_id=manifest.branch_id,
        started_at=started_at,
        info=facts.to_proto(),
        host=record_pb2.Host(
            hostname=manifest.hostname,
            machine_id=manifest.machine_id,
            boot_id=manifest.boot_id,
            pid=manifest.pid,
            pid_start_ticks=manifest.pid_start_ticks,
            program=program(),
            python=sys.version.split()[0],
        ),
        sdk_version=__version__,
    )
    if opening.kind == "resumed":
        message.resumed.point_unknown = opening.point_unknown
        message.resumed.last_step = opening.last_step
        message.resumed.mode = opening.resume_mode
    elif opening.point is None:
        message.created.SetInParent()
    elif opening.kind == "forked":
        message.forked.CopyFrom(opening.point.to_proto())
    else:
        message.rewound.CopyFrom(opening.point.to_proto())
    if opening.shared is not None:
        message.shared.label = opening.shared.label
        message.shared.is_primary = opening.shared.is_primary
    return message.SerializeToString()


def program() -> str:
    """What runs here, as `ps` would say it."""
    return os.path.basename(sys.argv[0]) if sys.argv and sys.argv[0] else "python"  # noqa: PTH119 # may be "-c"


def config(values: Mapping[str, Value], removed: Iterable[str], at: float) -> bytes:
    """A change of config."""
    return record_pb2.Config(items=_items(values, removed), at=at).SerializeToString()


def summary(values: Mapping[str, Value], removed: Iterable[str], step: int) -> bytes:
    """Summary values set by hand."""
    return record_pb2.Summary(items=_items(values, removed), step=step).SerializeToString()


def metric_definition(definition: MetricDefinition) -> bytes:
    """What define_metric said."""
    return record_pb2.MetricDefinition(
        name=definition.name,
        step_metric=definition.step_metric,
        summary=definition.summary,
        goal=definition.goal,
        hidden=definition.hidden,
        step=definition.step,
    ).SerializeToString()


def run_info(facts: RunFacts) -> bytes:
    """A change of what people see."""
    return facts.to_proto().SerializeToString()


def rewind(branch_id: str, point: PointRef, at: float) -> bytes:
    """The name moves to a new branch in mid-session."""
    return record_pb2.Rewind(branch_id=branch_id, point=point.to_proto(), at=at).SerializeToString()


def exited(*, exit_code: int, reason: str, signal: int, at: float) -> bytes:
    """Goodbye."""
    return record_pb2.Exit(
        exit_code=exit_code, reason=reason, signal=signal, at=at
    ).SerializeToString()


class PrintedLine(NamedTuple):
    """A line of the console, as it stands at a time (Unix seconds)."""

    number: int
    is_error: bool
    at: float
    text: str


def console(lines: Iterable[PrintedLine]) -> bytes:
    """Lines of the console."""
    streams = (record_pb2.ConsoleLine.STDOUT, record_pb2.ConsoleLine.STDERR)
    said = [
        record_pb2.ConsoleLine(
            number=line.number,
            stream=streams[line.is_error],
            at=line.at,
            text=_encodable(line.text),
        )
        for line in lines
    ]
    return record_pb2.Console(lines=said).SerializeToString()


def system(values: Mapping[str, float], *, at: float, runtime: float) -> bytes:
    """What was measured of the machine at a time."""
    items = _items(dict(values), ())
    sample = record_pb2.SystemSample(at=at, runtime=runtime, values=items)
    return record_pb2.System(samples=[sample]).SerializeToString()


def _encodable(text: str) -> str:
    """Without lone surrogates, which stand for bytes that were no text."""
    return text.encode("utf-8", "replace").decode()


def lost_rows(writer_id: bytes, rows: int, reason: str) -> bytes:
    """Rows that found no room and never got a number."""
    return record_pb2.Loss(writer_id=writer_id, rows=rows, reason=reason).SerializeToString()


def artifact_logged(
    *, artifact_id: str, name: str, type_name: str, digest: str, step: int
) -> bytes:
    """An artifact lies in the run folder."""
    return record_pb2.ArtifactLogged(
        id=artifact_id, name=name, type=type_name, digest=digest, step=step
    ).SerializeToString()


def _items(values: Mapping[str, Value], removed: Iterable[str]) -> Sequence[record_pb2.JsonItem]:
    kept = [record_pb2.JsonItem(key=key, json=encode_json(v)) for key, v in values.items()]
    return [*kept, *(record_pb2.JsonItem(key=key, removed=True) for key in removed)]
