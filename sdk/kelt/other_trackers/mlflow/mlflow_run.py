"""A run of an MLflow store as a source."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from kelt.other_trackers.foreign_run import (
    Facts,
    ForeignRun,
    Tally,
    Target,
    branch_id,
    run_name,
    writer_id,
)
from kelt.other_trackers.mlflow.besides import Besides
from kelt.other_trackers.point_sorting import Point, sorted_rows
from kelt.other_trackers.rows import RowPacker
from kelt.records import RunFacts
from kelt.wandb_files.row_building import BuiltRow

TRACKER = "MLflow"
_SETTLING_S = 60.0
_OWN_TAGS = "mlflow."
_NOTE, _PARENT, _NAME = "mlflow.note.content", "mlflow.parentRunId", "mlflow.runName"
_WORDS: Mapping[str, Any] = {"True": True, "False": False, "None": None}
_EXIT_CODES = {"FINISHED": 0, "FAILED": 1, "KILLED": 1}


@dataclass(frozen=True, kw_only=True)
class MlflowRun:
    """What a store says of a run beside its metrics.

    Attributes:
        status: RUNNING, SCHEDULED, FINISHED, FAILED or KILLED.
        started_at: Unix seconds.
        ended_at: as `started_at`; 0 where it has not ended.
        changed_at_ns: when the store was changed last.
    """

    experiment: str
    run_id: str
    name: str
    status: str
    started_at: float
    ended_at: float
    params: Mapping[str, str]
    tags: Mapping[str, str]
    changed_at_ns: int


class MlflowStore(Protocol):
    """Where runs are read from. Implementations raise OSError and ForeignRunError."""

    def read_run(self, run_id: str, /) -> MlflowRun:
        """What is known of a run."""

    def read_points(self, run_id: str, tally: Tally, /) -> Iterator[Point]:
        """Its metrics, in any order; what cannot be read is counted."""

    def besides(self, run_id: str, /) -> Besides:
        """What the store has of it beside."""

    def version(self, run_id: str, /) -> dict[str, int]:
        """Changes whenever the run may have."""


@dataclass(frozen=True, kw_only=True)
class MlflowSource:
    """One run of a store."""

    path: Path
    store: MlflowStore
    run_id: str
    target: Target
    tracker: str = TRACKER
    is_append_only: bool = False

    def run(self, edition: int) -> ForeignRun:
        """As in `Source`."""
        said = self.store.read_run(self.run_id)
        own = writer_id(TRACKER, [self.run_id], self.target, edition)
        return ForeignRun(
            writer_id=own,
            branch_id=branch_id(own),
            entity=self.target.entity,
            project=self.target.project or run_name(said.experiment, "mlflow"),
            run_id=run_name(self.run_id, "run"),
            name=said.tags.get(_NAME) or said.name,
            started_at=said.started_at,
        )

    def version(self) -> dict[str, int]:
        """As in `Source`."""
        files = self.store.besides(self.run_id).files()
        return self.store.version(self.run_id) | {"artifacts": int(files.signature[:12], 16)}

    def records(self, run: ForeignRun, tally: Tally, scratch: Path) -> Iterator[BuiltRow]:
        """As in `Source`."""
        said = self.store.read_run(self.run_id)
        exit_code = _EXIT_CODES.get(said.status)
        tally.is_going_on = exit_code is None
        yield from sorted_rows(
            self.store.read_points(self.run_id, tally),
            scratch=scratch,
            packer=RowPacker(started_at=run.started_at),
            tally=tally,
            settled_before=time.time() - _SETTLING_S if tally.is_going_on else math.inf,
        )
        tags = {key: value for key, value in said.tags.items() if not key.startswith(_OWN_TAGS)}
        config = {key: plain_value(value) for key, value in sorted(said.params.items())}
        # What MLflow itself noted: who ran what, from which commit, and such.
        config |= {
            key: value
            for key, value in sorted(said.tags.items())
            if key.startswith(_OWN_TAGS) and key not in (_NAME, _NOTE)
        }
        self.store.besides(self.run_id).tell(tally)
        parent = said.tags.get(_PARENT, "")
        tally.facts = Facts(
            config=config,
            info=RunFacts(
                name=said.tags.get(_NAME) or said.name or None,
                notes=said.tags.get(_NOTE),
                group=parent or None,
                tags=tuple(f"{key}:{value}" for key, value in sorted(tags.items())),
            ),
            changed_at_ns=said.changed_at_ns,
            exit_code=exit_code,
            reason=f"MLflow says {said.status}" if exit_code else "",
            ended_at=said.ended_at or tally.ended_at,
        )


def plain_value(text: str) -> Any:
    """A parameter, which MLflow keeps as the text that Python makes of a value."""
    if text in _WORDS:
        return _WORDS[text]
    for kind in (int, float):
        with suppress(ValueError):
            number = kind(text)
            if str(number) == text:  # else it is a text that happens to be a number: 007
                return number
    return text
