"""What a section of the benchmarks is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class Bench:
    """How to measure.

    Attributes:
        rounds: how often everything is measured; those compared take turns within a round.
        is_quick: small sizes, to see that it works; its figures mean nothing.
        scratch: an empty folder for this section.
        peers: the folder of the peers' environments, one virtual environment each.
    """

    rounds: int
    is_quick: bool
    scratch: Path
    peers: Path


@dataclass(frozen=True, kw_only=True)
class Goal:
    """One line of the table of goals.

    Attributes:
        what: is measured.
        goal: where it is to be.
        measured: where it is: the median, with the least and the greatest.
        is_reached: by the median; None where it was not measured.
    """

    what: str
    goal: str
    measured: str
    is_reached: bool | None


class Section(Protocol):
    """A module of `sections`."""

    TITLE: str

    def measure(self, bench: Bench) -> dict[str, Any]:
        """Measures; what it returns is kept as JSON."""

    def report(self, result: dict[str, Any]) -> str:
        """Markdown of what was measured."""

    def goals(self, result: dict[str, Any]) -> list[Goal]:
        """Which goals were reached."""
