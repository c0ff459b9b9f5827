"""A run in another tracker's store, as the importers hand it on."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from kelt.errors import KeltError
from kelt.import_files import FoundFiles
from kelt.names import shared_branch_id
from kelt.records import RunFacts
from kelt.setting_values import FORBIDDEN_IN_NAMES, NAME_CHARS_MAX
from kelt.wandb_files.row_building import BuiltRow
from kelt.wandb_files.translation import Control
from kelt_proto.v1.record_pb2 import BranchPoint

_WRITER_ID_BYTES = 16
#: What stands before the words that say more of it.
_NOUN = re.compile(r"^.*?(?= of | that |$)")


class ForeignRunError(KeltError, ValueError):
    """A source that cannot be taken over; the message names it, the reason and the remedy."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where the runs of a source go.

    Attributes:
        entity: empty: the server's default.
        project: instead of the one that the source names; empty: that one.
    """

    entity: str = ""
    project: str = ""


@dataclass(frozen=True, kw_only=True)
class ForeignRun:
    """Whose rows a source has, under the ids of one edition.

    Attributes:
        branch_id: of the branch that its rows lie on.
        is_going_on: an earlier source of the same branch was there before.
        forked: where the branch leaves another run.
        rewound: where the branch leaves an earlier one of the same run.
    """

    writer_id: bytes
    branch_id: str
    entity: str
    project: str
    run_id: str
    name: str
    group: str = ""
    host: str = ""
    started_at: float
    is_going_on: bool = False
    forked: BranchPoint | None = None
    rewound: BranchPoint | None = None


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a run beside its rows, in one version.

    Attributes:
        changed_at_ns: when the source was changed last.
        exit_code: None where the run has not ended, as far as the source says.
        ended_at: Unix seconds.
    """

    config: Mapping[str, Any]
    info: RunFacts
    changed_at_ns: int
    exit_code: int | None
    reason: str = ""
    ended_at: float = 0.0


@dataclass(kw_only=True)
class Tally:
    """What was found while the records of a source were read.

    Attributes:
        lost_rows: about how many rows damage has taken.
        told_in_place: of those, how many a Loss among the records tells of.
        damage: what was wrong, for people.
        not_carried: what was left out, by what people call it.
        remarks: what else there is to say.
        ended_at: when something was logged last, Unix seconds.
        is_going_on: somebody still writes the source.
        is_failed: the source says that the run failed.
        facts: None where the rows' writer says all.
        files: that belong to it.
    """

    rows: int = 0
    lost_rows: int = 0
    told_in_place: int = 0
    damage: str = ""
    not_carried: Counter[str] = field(default_factory=Counter)
    remarks: list[str] = field(default_factory=list)
    ended_at: float = 0.0
    is_going_on: bool = False
    is_failed: bool = False
    facts: Facts | None = None
    files: FoundFiles = field(default_factory=FoundFiles)

    @property
    def state(self) -> str:
        """How the run stands."""
        if self.facts is not None and self.facts.exit_code is not None:
            return "failed" if self.facts.exit_code else "finished"
        if self.is_failed:
            return "failed"
        return "running" if self.is_going_on else "finished"

    @property
    def note(self) -> str:
        """Sentences for people."""
        counts = [
            f"{number:,} {kind if number == 1 else _plural(kind)}"
            for kind, number in sorted(self.not_carried.items())
            if number
        ]
        left_out = [f"not carried over: {', '.join(counts)}"] if counts else []
        return "; ".join([*left_out, *self.remarks])


class Source(Protocol):
    """One run in a store."""

    @property
    def tracker(self) -> str:
        """Whose it is."""

    @property
    def path(self) -> Path:
        """The file or folder that it lies in."""

    @property
    def is_append_only(self) -> bool:
        """Whether the store is only ever appended to, so that what was read once is never other."""

    def run(self, edition: int) -> ForeignRun:
        """The run, from the store's beginning alone.

        Raises:
            ForeignRunError: it cannot be taken over.
            OSError: it cannot be read.
        """

    def version(self) -> dict[str, int]:
        """Changes whenever there may be something new.

        Raises:
            OSError: as `run`.
        """

    def records(
        self, run: ForeignRun, tally: Tally, scratch: Path, /
    ) -> Iterator[Control | BuiltRow]:
        """The records that follow RunOpened, in their order.

        Args:
            run: of some edition.
            tally: to count in.
            scratch: an empty folder to sort in.

        Raises:
            ForeignRunError: as `run`.
            OSError: as `run`.
        """


def _plural(kind: str) -> str:
    """`values of …` for `value of …`."""
    return _NOUN.sub(r"\g<0>s", kind, count=1)


def writer_id(tracker: str, identity: list[str], target: Target, edition: int) -> bytes:
    """The id of the writer that a source's rows come from."""
    said = json.dumps([tracker, identity, target.entity, target.project, edition])
    return hashlib.sha256(b"kelt other tracker\n" + said.encode()).digest()[:_WRITER_ID_BYTES]


def branch_id(first_writer_id: bytes) -> str:
    """The id of the branch that a writer begins."""
    return shared_branch_id("", "other tracker", first_writer_id.hex())


def run_name(text: str, default: str) -> str:
    """A text of another tracker as a run id, or a project's name, that kelt takes."""
    kept = "".join(
        c if c.isprintable() and c not in FORBIDDEN_IN_NAMES else "." if c in "/\\" else "_"
        for c in text.strip("/ ")
    )
    if len(kept) > NAME_CHARS_MAX:  # others may begin likewise
        digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:8]
        kept = f"{kept[: NAME_CHARS_MAX - len(digest) - 1]}-{digest}"
    kept = kept.strip()
    return default if kept in {"", ".", ".."} else kept
