"""What this host knows of branches and names, so that forks, rewinds and resumes need no network.

`branches/<immutable id>.json` says where a branch comes from and which run folders hold its rows;
`names/<sha>.json` says which branch a run id points at. Files are written whole, by rename, under
one lock. A file that cannot be read is passed over: what it knew is then unknown on this host.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kelt.file_locks import file_lock
from kelt.metric_definitions import DefinitionTable, MetricDefinition
from kelt.private_files import replace_private
from kelt.records import PointRef
from kelt.state_dir import StateDir

#: A lineage is followed no further; a deeper one is damage.
LINEAGE_MAX = 10_000
_LOCK_TIMEOUT_S = 5.0


@dataclass(frozen=True, kw_only=True)
class SessionRef:
    """A run folder that holds rows of a branch.

    Attributes:
        folder: its name in the state folder's `runs`.
        last_step: the highest step that it holds of the branch (-1: none), once it holds no more.
        runtime: `_runtime` of its last row, likewise.
    """

    folder: str
    last_step: int | None = None
    runtime: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ElsewhereState:
    """What the upstream said of a branch whose earlier rows lie on another host."""

    last_step: int
    runtime: float
    config: dict[str, Any]
    summary: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class BranchRecord:
    """A branch as this host knows it.

    Attributes:
        name: the run's display name.
        parent: where it leaves another branch; None for a first one.
        created_at: Unix seconds.
        is_relative: a continuation of a run that this host did not know; steps count from there.
        sessions: in the order in which they began.
        elsewhere: what lies on other hosts, as far as it was asked for.
        definitions: what define_metric said on this branch.
    """

    branch_id: str
    entity: str
    project: str
    run_id: str
    name: str
    created_at: float
    parent: PointRef | None = None
    is_relative: bool = False
    sessions: tuple[SessionRef, ...] = ()
    elsewhere: ElsewhereState | None = None
    definitions: tuple[MetricDefinition, ...] = ()

    def point(self, step: int) -> PointRef:
        """A step of it."""
        return PointRef(
            entity=self.entity,
            project=self.project,
            run_id=self.run_id,
            branch_id=self.branch_id,
            step=step,
        )


class LocalRuns:
    """The registry in a state folder.

    Args:
        state_dir: the folder, already made.
    """

    def __init__(self, *, state_dir: StateDir) -> None:
        self._state_dir = state_dir

    def folder(self, session: SessionRef) -> Path:
        """Where a session's files lie."""
        return self._state_dir.runs / session.folder

    def branch(self, branch_id: str) -> BranchRecord | None:
        """A branch by its immutable id."""
        if not branch_id or "/" in branch_id:
            return None
        return _decode_branch(_read(self._branch_path(branch_id)))

    def named(self, entity: str, project: str, run_id: str) -> BranchRecord | None:
        """The branch that a run id points at."""
        data = _read(self._name_path(entity, project, run_id))
        branch_id = data.get("branch_id") if data else None
        return self.branch(branch_id) if isinstance(branch_id, str) else None

    def find(self, entity: str, project: str, reference: str) -> BranchRecord | None:
        """A branch by run id or immutable id."""
        return self.named(entity, project, reference) or self.branch(reference)

    def runs_count(self) -> int:
        """How many names this host knows."""
        return sum(1 for _ in self._state_dir.names.glob("*.json"))

    def add_branch(self, record: BranchRecord) -> None:
        """Adds a branch and points its run id at it.

        Several writers of a shared run may: what others said of it stays.
        """
        with self._locked():
            if (known := self.branch(record.branch_id)) is not None:
                record = replace(
                    record,
                    name=record.name or known.name,
                    created_at=min(known.created_at, record.created_at),
                    parent=record.parent or known.parent,
                    sessions=known.sessions,
                    definitions=known.definitions or record.definitions,
                    elsewhere=record.elsewhere or known.elsewhere,
                )
            _write(self._branch_path(record.branch_id), asdict(record))
            name = {
                "entity": record.entity,
                "project": record.project,
                "run_id": record.run_id,
                "branch_id": record.branch_id,
            }
            _write(self._name_path(record.entity, record.project, record.run_id), name)

    def set_session(self, branch_id: str, session: SessionRef) -> None:
        """Adds a session to a branch, or says how far it came."""
        with self._locked():
            if (record := self.branch(branch_id)) is None:
                return
            others = [s for s in record.sessions if s.folder != session.folder]
            changed = replace(record, sessions=(*others, session))
            _write(self._branch_path(branch_id), asdict(changed))

    def add_definition(self, branch_id: str, definition: MetricDefinition) -> None:
        """Adds what define_metric said."""
        with self._locked():
            if (record := self.branch(branch_id)) is None:
                return
            others = [d for d in record.definitions if d.name != definition.name]
            changed = replace(record, definitions=(*others, definition))
            _write(self._branch_path(branch_id), asdict(changed))

    def definitions(self, branch: BranchRecord, step: int) -> DefinitionTable:
        """The definitions that hold on a branch up to a step, its parents' included."""
        chain = [(branch, step)]
        while (parent := chain[-1][0].parent) is not None and len(chain) < LINEAGE_MAX:
            if (known := self.find_point(parent)) is None:
                break
            chain.append((known, min(chain[-1][1], parent.step)))
        table = DefinitionTable()
        for record, limit in reversed(chain):
            for definition in record.definitions:
                if definition.step <= limit:
                    table.add(definition)
        return table

    def find_point(self, point: PointRef) -> BranchRecord | None:
        """The branch of a point."""
        if point.branch_id:
            return self.branch(point.branch_id)
        return self.named(point.entity, point.project, point.run_id)

    # -- resume="auto" ---------------------------------------------------------------------------

    def unfinished(self, entity: str, project: str, place: Path) -> str | None:
        """The run id that was last started here with resume="auto" and did not finish."""
        data = _read(self._unfinished_path(entity, project, place))
        run_id = data.get("run_id") if data else None
        return run_id if isinstance(run_id, str) else None

    def remember_unfinished(self, entity: str, project: str, place: Path, run_id: str) -> None:
        """Notes a run that resume="auto" shall find, should it not finish."""
        path = self._unfinished_path(entity, project, place)
        with self._locked():
            _write(path, {"run_id": run_id, "project": project, "place": str(place)})

    def forget_unfinished(self, entity: str, project: str, place: Path, run_id: str) -> None:
        """It finished."""
        with self._locked():
            if self.unfinished(entity, project, place) == run_id:
                self._unfinished_path(entity, project, place).unlink(missing_ok=True)

    # -- files -----------------------------------------------------------------------------------

    def _branch_path(self, branch_id: str) -> Path:
        return self._state_dir.branches / f"{branch_id}.json"

    def _name_path(self, entity: str, project: str, run_id: str) -> Path:
        return self._state_dir.names / f"{_sha(entity, project, run_id)}.json"

    def _unfinished_path(self, entity: str, project: str, place: Path) -> Path:
        return self._state_dir.names / f"{_sha(entity, project, str(place))}.unfinished"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with file_lock(self._state_dir.branches / ".lock", timeout_s=_LOCK_TIMEOUT_S):
            yield


def _sha(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _write(path: Path, data: dict[str, Any]) -> None:
    replace_private(path, json.dumps(data, indent=1).encode() + b"\n")


def _decode_branch(data: dict[str, Any]) -> BranchRecord | None:
    try:
        parent = PointRef(**data["parent"]) if data["parent"] else None
        return BranchRecord(
            **{
                **data,
                "parent": parent,
                "sessions": tuple(SessionRef(**session) for session in data["sessions"]),
                "elsewhere": ElsewhereState(**data["elsewhere"]) if data["elsewhere"] else None,
                "definitions": tuple(MetricDefinition(**d) for d in data["definitions"]),
            }
        )
    except (KeyError, TypeError):
        return None
