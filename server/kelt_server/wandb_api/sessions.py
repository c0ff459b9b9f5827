"""What the door knows of the session of a name, as a value that can be written down. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from typing import Any

from kelt_server import facts
from kelt_server.branch_names import Name

#: No client's id begins like this.
DISPLACED = "~"


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
    """A session of a name. Changed by replacing it.

    Attributes:
        client: the id that each writer of a shared run sends along. Ordinary clients send none:
            the latest session of a name has the empty one, those that it displaced have a mark
            (`displaced`).
        label: tells writers of a shared run apart, for people.
        writer_id: of 16 random bytes, in hex.
        branch_id: on which it writes; of a repeated one, that which has its rows.
        origin: how the branch begins (`facts.CREATED` and its like).
        parent_run_id, parent_branch_id, parent_step: where it leaves from, of forks and rewinds.
        highest_step: of any branch of the name when it was announced. Lines at or below it may be
            there already.
        lines: the index of the line of the client's file that comes next.
        last_row: step and time of the row that came last.
        signs: what the client's config says of its process, by which a later one is told apart.
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
    last_row: tuple[int, float] | None = None
    signs: tuple[str, ...] = ()
    client: str = ""
    label: str = ""
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

    @property
    def has_rows(self) -> bool:
        """Whether its writer has some."""
        return self.has_writer and self.took_lines

    @property
    def is_displaced(self) -> bool:
        """Whether another of its name has begun since."""
        return self.client.startswith(DISPLACED)

    @property
    def is_shared(self) -> bool:
        """Whether it is one of several writers of a run at the same time."""
        return bool(self.client) and not self.is_displaced

    def displaced(self) -> Session:
        """The session as it is kept once another of its name has begun."""
        return replace(self, client=DISPLACED + self.writer_id)

    def ended(self) -> Session:
        """The session after its goodbye, without what no other needs."""
        nothing: dict[str, Any] = {}
        return replace(
            self, phase=Phase.ENDED, config=nothing, defined=nothing, by_hand=nothing,
            waiting=nothing, said=nothing,
        )  # fmt: skip

    def document(self) -> str:
        """All of it as JSON (with bare NaN)."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, document: str) -> Session:
        """What `document` wrote."""
        said = json.loads(document)
        entity, project, run_id = said.pop("name")
        phase = Phase(said.pop("phase"))
        last_row, signs = said.pop("last_row", None), said.pop("signs", ())
        return cls(
            name=(entity, project, run_id),
            phase=phase,
            last_row=None if last_row is None else (int(last_row[0]), float(last_row[1])),
            signs=tuple(signs),
            **said,
        )
