"""What the server needs of a catalog: facts in, families of runs out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from kelt_server import facts
from kelt_server.branch_names import Branches, Name
from kelt_server.catalog.console_lines import ConsoleKept, KeptLine
from kelt_server.catalog.deletions import Deletions
from kelt_server.catalog.stops import Stops
from kelt_server.ingest.writer_state import WriterState


@dataclass(frozen=True)
class Family:
    """All that was said of some branches, of the branches they descend from, and of their names."""

    branches: Branches
    sessions: Mapping[bytes, facts.SessionFact] = field(default_factory=dict)
    writers_of: Mapping[str, Sequence[bytes]] = field(default_factory=dict)
    infos: Mapping[str, Sequence[facts.InfoFact]] = field(default_factory=dict)
    configs: Mapping[str, Sequence[facts.ConfigFact]] = field(default_factory=dict)
    summaries: Mapping[str, Sequence[facts.SummaryFact]] = field(default_factory=dict)
    definitions: Mapping[str, Sequence[facts.DefinitionFact]] = field(default_factory=dict)
    exits: Mapping[bytes, facts.ExitFact] = field(default_factory=dict)
    losses: Mapping[bytes, Sequence[facts.LossFact]] = field(default_factory=dict)
    assertions: Mapping[bytes, Sequence[facts.AssertionFact]] = field(default_factory=dict)
    life_signs: Mapping[bytes, facts.LifeSign] = field(default_factory=dict)
    #: Writers whose processes somebody asked to stop.
    stopped: frozenset[bytes] = frozenset()


class Catalog(Protocol):
    """A catalog. Implementations must keep facts and cursors in one transaction."""

    @property
    def server_id(self) -> str:
        """Random, made with the store."""

    @property
    def deletions(self) -> Deletions:
        """What was deleted."""

    @property
    def stops(self) -> Stops:
        """Whose processes are to stop."""

    def writer_states(self, writer_ids: Collection[bytes]) -> dict[bytes, WriterState]:
        """Where writers stand here; `metrics_cursor` is left at 0. Unknown writers stand at 0."""

    def retelling_writers(self) -> list[tuple[str, bytes]]:
        """The writers that retell, or may retell, a session, with their branches."""

    def commit(
        self,
        said: Sequence[facts.Fact],
        cursors: Mapping[bytes, int],
        signs: Iterable[facts.LifeSign],
    ) -> None:
        """Adds facts and moves cursors, both or neither, on disk when this returns.

        Raises:
            StoreError: nothing was changed.
        """

    def projects(self) -> list[tuple[str, str, int, float]]:
        """(entity, project, names, time of the latest beginning), sorted."""

    def names(self, entity: str, project: str | None) -> list[Name]:
        """The names in a project, or in all of an entity's."""

    def name_of(self, branch_id: str) -> Name | None:
        """The name that a branch was given, None where it is not known."""

    def names_of_forks(self, name: Name, branch_ids: Collection[str]) -> list[Name]:
        """The names forked from these branches of a name, the newest first; see `descent`."""

    def family(self, names: Collection[Name], branch_ids: Collection[str] = ()) -> Family:
        """Everything about the branches of these names and those that they descend from."""

    def consoles(self, branch_ids: Collection[str]) -> list[ConsoleKept]:
        """What is kept of the consoles of some branches."""

    def lines_after(self, console: ConsoleKept, number: int, limit: int) -> list[KeptLine]:
        """Lines of a console above a number, the lowest first."""

    def last_lines(self, console: ConsoleKept, limit: int) -> list[KeptLine]:
        """The last lines of a console, in their order."""

    def file_pieces(self, writer_ids: Collection[bytes]) -> list[facts.FilePieceFact]:
        """The pieces of files of some writers, those of one in order of arrival."""

    def close(self) -> None:
        """Lets go of the files."""
