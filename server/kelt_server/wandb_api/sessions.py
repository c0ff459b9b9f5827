"""What the door knows of the session of a name, as a value that can be written down. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from kelt_server import facts
from kelt_server.branch_names import Name


class Phase(str, Enum):
    """How far a session has come."""

    #: A client said that it begins. Nothing of it is in the catalog yet.
    ANNOUNCED = "announced"
    #: As announced, and what came so far was there already: a file that is synced again.
    REPEATING = "repeating"
    #: It has a writer.
    OPEN = "open"
    #: It said goodbye. What comes after that belongs to another session.
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The latest session of a name. Changed by replacing it.

    Attributes:
        writer_id: of 16 random bytes, in hex.
        branch_id: on which it writes; of a repeated one, that which has its rows.
        origin: how the branch begins (`facts.CREATED` and its like).
        parent_run_id, parent_branch_id, parent_step: where it leaves from, of forks and rewinds.
        highest_step: of any branch of the name when it was announced. Lines at or below it may be
            there already.
        lines: the index of the line of the client's file that comes next.
        last_seq, last_step: of its records.
        config: digests of the values that it has said, likewise `defined` and `by_hand`.
        waiting: summary values of metrics that have rows, compared when the session ends.
        said: what was said while it was announced: `config`, `definitions`, `texts`, `tags`.
        console_lines: above the numbers of its console lines.
        samples: the index of the system sample that comes next.
        console_there: console lines below it are there already, of a session that is repeated.
        samples_until: up to when system samples may be there already, likewise.
        held: console lines and system samples that came while it was announced.
    """

    name: Name
    writer_id: str
    phase: Phase
    started_at: float
    branch_id: str = ""
    origin: str = facts.CREATED
    parent_run_id: str = ""
    parent_branch_id: str = ""
    parent_step: int = -1
    last_step_before: int = -1
    highest_step: int = -1
    lines: int = 0
    took_lines: bool = False
    last_seq: int = 0
    last_step: int = -1
    host: str = ""
    program: str = ""
    config: dict[str, str] = field(default_factory=dict)
    defined: dict[str, str] = field(default_factory=dict)
    by_hand: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, Any] = field(default_factory=dict)
    said: dict[str, Any] = field(default_factory=dict)
    console_lines: int = 0
    samples: int = 0
    console_there: int = 0
    samples_until: float = 0.0
    held: dict[str, Any] = field(default_factory=dict)

    @property
    def has_writer(self) -> bool:
        """Whether records of it are committed, or about to be."""
        return self.last_seq > 0

    def document(self) -> str:
        """All of it as JSON (with bare NaN)."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, document: str) -> Session:
        """What `document` wrote."""
        said = json.loads(document)
        entity, project, run_id = said.pop("name")
        phase = Phase(said.pop("phase"))
        return cls(name=(entity, project, run_id), phase=phase, **said)
