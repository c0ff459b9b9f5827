"""What W&B has of a run folder, and what must be known to go on: a value that is kept as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from kelt.metric_definitions import MetricDefinition
from kelt.run_summary import MetricSummary, SummaryState

_FORMAT = 1
#: So many reasons of losses are kept; the rows are counted on.
LOSS_REASONS_MAX = 20


@dataclass(kw_only=True)
class LastLine:
    """The newest line of the history: later parts of its row still go into it.

    Attributes:
        index: where it lies.
        step: of its row.
        values: without step and times.
        first_seq: the first record that is in it and not at W&B.
        is_posted: whether W&B has all of it.
        is_partial: whether its last part was logged with `commit=False`.
    """

    index: int
    step: int
    timestamp: float
    runtime: float
    values: dict[str, Any]
    first_seq: int
    is_posted: bool = False
    is_partial: bool = False


@dataclass(kw_only=True)
class CarriedFile:
    """A version of a file, of which pieces have come.

    Attributes:
        name: a path with slashes.
        version: SHA-256 of all of it.
        size_bytes: of all of it.
        received_bytes: so many of them lie on the disk.
        writer_id: of the pieces.
        tries: how often it was refused.
        is_made: whether it only tells again what W&B was told.
    """

    name: str
    version: str
    size_bytes: int
    received_bytes: int
    writer_id: str
    tries: int = 0
    is_made: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether it can go."""
        return self.received_bytes == self.size_bytes


@dataclass(kw_only=True)
class CarriedRun:
    """The run of one folder on its way to W&B.

    Attributes:
        writer_id: the trainer's.
        folded: by writer, up to where records are in here.
        entity: as the server spelled it, once the session has begun.
        branches: immutable ids of those that the session wrote, the one it writes last.
        storage_id: by which the server knows the run.
        is_begun: whether the server was told of the session.
        is_rewinding: whether it was asked to go back, and what it did is not known.
        label: of a shared run's writer; `is_shared` and `is_primary` likewise.
        facts: what people see of the run, by W&B's names.
        facts_due: those that the server was not told yet.
        environment: of the session, for W&B's `e`.
        config: the user's values.
        metrics: definitions that the run had before this session, in W&B's form.
        config_due: whether the server lacks something of config and definitions.
        branch_point: where the run leaves another, or itself.
        base_step: what is added to steps that count from the end of a run that was resumed.
        next_line: the index of the next new line.
        next_event: of the next system sample.
        console_base: the index of console line 0, behind what a resumed run had.
        inherited_summary: what a resumed run had.
        summary_due: whether the server lacks something of the summary.
        exit_code: once the session has ended.
        is_completed: whether the server has acknowledged that.
        files: those that came and are not at W&B, by their key.
        recorded_names: those of recorded files that would be made otherwise.
        has_made_files: whether those were made, that is, the end of the run is being told.
        has_output_file: whether there is one of all that was on the console: later lines make none.
        skipped: records of kinds that are not carried.
    """

    writer_id: bytes
    folded: dict[bytes, int] = field(default_factory=dict)
    entity: str = ""
    project: str = ""
    run_id: str = ""
    branches: list[str] = field(default_factory=list)
    storage_id: str = ""
    is_begun: bool = False
    is_rewinding: bool = False
    is_shared: bool = False
    is_primary: bool = True
    label: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    facts_due: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    config_due: bool = False
    branch_point: dict[str, Any] | None = None
    base_step: int = 0
    next_line: int = 0
    next_event: int = 0
    console_base: int = 0
    last_line: LastLine | None = None
    last_step: int = -1
    row_facts: dict[str, Any] = field(default_factory=dict)
    inherited_summary: dict[str, Any] = field(default_factory=dict)
    summary: SummaryState = field(default_factory=SummaryState)
    summary_due: bool = False
    lost_rows: int = 0
    lost_files: int = 0
    loss_reasons: list[str] = field(default_factory=list)
    ended_by: str = ""
    exit_code: int | None = None
    is_completed: bool = False
    files: dict[str, CarriedFile] = field(default_factory=dict)
    recorded_names: list[str] = field(default_factory=list)
    has_made_files: bool = False
    has_output_file: bool = False
    skipped: int = 0

    def committed(self, writer_id: bytes) -> int:
        """Up to where the server has a writer's records.

        What lies in an open line is held back, and so is everything behind it. While a file waits,
        or the word of the end, the newest record of its writer is: no more, so that no row waits.
        """
        through = self.folded.get(writer_id, 0)
        waiting = {file.writer_id for file in self.files.values() if file.is_whole}
        if self.is_begun and self.tells_end and not self.is_completed:
            waiting.add(self.writer_id.hex())
        if writer_id.hex() in waiting:
            through = max(0, through - 1)
        line = self.last_line
        if writer_id == self.writer_id and line is not None and not line.is_posted:
            return min(through, line.first_seq - 1)
        return through

    @property
    def may_end(self) -> bool:
        """Whether its end is the run's: of a shared run its primary's is."""
        return self.is_primary or not self.is_shared

    @property
    def tells_end(self) -> bool:
        """Whether the run has ended with it."""
        return self.exit_code is not None and self.may_end

    def lose(self, rows: int, reason: str, *, files: int = 0) -> None:
        """Counts rows, or files, that W&B will not get."""
        self.lost_rows += rows
        self.lost_files += files
        self.config_due = True
        if reason not in self.loss_reasons and len(self.loss_reasons) < LOSS_REASONS_MAX:
            self.loss_reasons.append(reason)


_PLAIN = tuple(
    f.name
    for f in fields(CarriedRun)
    if f.name not in {"writer_id", "folded", "last_line", "summary", "files"}
)


def encode_run(run: CarriedRun) -> dict[str, Any]:
    """As JSON holds it."""
    return {
        "format": _FORMAT,
        "writer_id": run.writer_id.hex(),
        "folded": {writer.hex(): seq for writer, seq in run.folded.items()},
        "last_line": None if run.last_line is None else asdict(run.last_line),
        "files": {key: asdict(file) for key, file in run.files.items()},
        "summary": {
            "definitions": [asdict(definition) for definition in run.summary.definitions.all()],
            "metrics": {name: asdict(metric) for name, metric in run.summary.metrics.items()},
            "by_hand": run.summary.by_hand,
            "removed": sorted(run.summary.removed),
        },
        **{name: getattr(run, name) for name in _PLAIN},
    }


def decode_run(data: Mapping[str, Any]) -> CarriedRun:
    """What was encoded.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is not that, or of another format.
    """
    if data["format"] != _FORMAT:
        raise ValueError(f"of format {data['format']}")
    line, said = data["last_line"], data["summary"]
    summary = SummaryState(
        metrics={name: MetricSummary(**metric) for name, metric in said["metrics"].items()},
        by_hand=dict(said["by_hand"]),
        removed=set(said["removed"]),
    )
    for definition in said["definitions"]:
        summary.definitions.add(MetricDefinition(**definition))
    return CarriedRun(
        writer_id=bytes.fromhex(data["writer_id"]),
        folded={bytes.fromhex(writer): int(seq) for writer, seq in data["folded"].items()},
        last_line=None if line is None else LastLine(**line),
        summary=summary,
        files={key: CarriedFile(**file) for key, file in data.get("files", {}).items()},
        **{name: data[name] for name in _PLAIN if name in data},
    )
