"""What a run that is exported gives, wherever it is read from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from kelt.api_client import ConsoleLogLine, Run

Row = Mapping[str, Any]


class BranchPoint(NamedTuple):
    """Where a run leaves another of its project: the rows up to `step` are the other's."""

    run_id: str
    step: int


class SavedFile(Protocol):
    """A file of a run."""

    @property
    def path(self) -> str:
        """Relative, with slashes."""

    @property
    def size_bytes(self) -> int:
        """How large it is."""

    def download(self, root: Path, /) -> Path:
        """Writes it under its path into a folder.

        Raises:
            KeltError: it cannot be read, or not be written there.
        """


class RunSource(Protocol):
    """A run. What is read raises KeltError."""

    @property
    def run(self) -> Run:
        """What is known of it beside what it logged."""

    def rows(self, *, is_own: bool = False) -> Iterator[Row]:
        """The history, as `scan_history` gives it.

        Args:
            is_own: only what lies behind the branch point.
        """

    def arrow_pages(self) -> Iterator[bytes] | None:
        """The same rows as pages of the read API in Arrow; None where there are none such."""

    def branch_point(self) -> BranchPoint | None:
        """Where the run leaves another that has the rows up to there itself, if it does."""

    def samples(self) -> Iterator[Row]:
        """System samples, with `_timestamp` and `_runtime`."""

    def console(self) -> Iterator[ConsoleLogLine]:
        """The lines of the console."""

    def files(self) -> Sequence[SavedFile]:
        """Files, by path."""

    def artifacts(self) -> Mapping[str, Sequence[str]]:
        """The artifacts that it logged and used, by name; they are only told."""
