"""What a run's processes wrote to the console: pages of it, and its end.

A run shows the console of its branch, and of those that the branch merely goes on with; a fork and
a rewind begin with an empty one. The lines of one session follow those of the session before it;
in a session its own numbers count.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from kelt_server import shared_writers
from kelt_server.catalog.console_lines import ConsoleKept, KeptLine
from kelt_server.catalog.store import Catalog
from kelt_server.config_history import session_order
from kelt_server.errors import BadRequestError
from kelt_server.finding import Finder
from kelt_server.run_view import continued_chain
from kelt_server.scope import Scope


@dataclass(frozen=True, slots=True)
class ConsoleLine:
    """A line, and whose it is: a label is that of a writer of a shared run, or said by the line."""

    branch_id: str
    writer_id: bytes
    label: str
    line: KeptLine


@dataclass(frozen=True, slots=True)
class ConsolePage:
    """Some lines in their order; `has_more` of those that follow.

    `total` is how many are kept, `dropped` how many were and are not, `end_number` above all of
    their numbers.
    """

    lines: Sequence[ConsoleLine]
    has_more: bool
    total: int
    dropped: int
    end_number: int


@dataclass(frozen=True, slots=True)
class ConsolePlace:
    """A line in the console, to go on after it."""

    writer_id: bytes
    branch_id: str
    number: int

    def before(self) -> ConsolePlace:
        """The place after which this line is the first."""
        return replace(self, number=self.number - 1)

    def token(self) -> str:
        """As it is given to others."""
        said = json.dumps([self.writer_id.hex(), self.branch_id, self.number])
        return base64.urlsafe_b64encode(said.encode()).decode().rstrip("=")

    @classmethod
    def read(cls, token: str) -> ConsolePlace:
        """What `token` wrote.

        Raises:
            BadRequestError: it is none of ours.
        """
        try:
            said = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
            writer, branch_id, number = said
            return cls(bytes.fromhex(writer), str(branch_id), int(number))
        except (ValueError, TypeError, binascii.Error) as error:
            raise BadRequestError(
                f"after={token!r} is no place in a console; give the `next` of the page before"
            ) from error


@dataclass(frozen=True, slots=True)
class _Part:
    kept: ConsoleKept
    label: str


class Consoles:
    """Reads consoles; a run is named as for `Finder.run`."""

    def __init__(self, *, finder: Finder, catalog: Catalog) -> None:
        self._finder = finder
        self._catalog = catalog

    def page(
        self, run: tuple[str, str, str], *, limit: int, after: ConsolePlace | None, label: str = ""
    ) -> ConsolePage:
        """The lines after a place, or the first ones; of the writers with a label."""
        parts = self._parts(run, label)
        found: list[ConsoleLine] = []
        begins = 0
        number = -1
        for index, part in enumerate(parts if after is not None else ()):
            of_part = (part.kept.writer_id, part.kept.branch_id)
            if after is not None and of_part == (after.writer_id, after.branch_id):
                begins, number = index, after.number
        for part in parts[begins:]:
            wanted = limit + 1 - len(found)
            if wanted > 0:
                lines = self._catalog.lines_after(part.kept, number, wanted)
                found += (_line(part, line) for line in lines)
            number = -1
        return _page(found[:limit], len(found) > limit, parts)

    def tail(self, run: tuple[str, str, str], *, last: int, label: str = "") -> ConsolePage:
        """The last lines."""
        parts = self._parts(run, label)
        found: list[ConsoleLine] = []
        for part in reversed(parts):
            wanted = last - len(found)
            if wanted > 0:
                lines = self._catalog.last_lines(part.kept, wanted)
                found = [*(_line(part, line) for line in lines), *found]
        return _page(found, False, parts)

    def end_number(self, branch_ids: Sequence[str]) -> int:
        """Above the number of every line of some branches."""
        return max((kept.end_number for kept in self._catalog.consoles(branch_ids)), default=0)

    def _parts(self, run: tuple[str, str, str], label: str) -> list[_Part]:
        branch_id, scope = self._finder.run(*run)
        chain = continued_chain(scope.lineage.line(branch_id))
        return _parts(chain, self._catalog.consoles(chain), scope, label)


def _parts(
    chain: Sequence[str], consoles: Sequence[ConsoleKept], scope: Scope, label: str
) -> list[_Part]:
    """Consoles in the order in which they are shown: the oldest branch first, then by session."""
    sessions = scope.family.sessions
    labels = shared_writers.labels([kept.writer_id for kept in consoles], sessions)
    shown = [
        _Part(kept, labels.get(kept.writer_id, ""))
        for kept in consoles
        if not label or labels.get(kept.writer_id) == label
    ]
    depths = {branch_id: depth for depth, branch_id in enumerate(chain)}
    return sorted(
        shown,
        key=lambda part: (
            -depths[part.kept.branch_id],
            session_order(part.kept.writer_id, sessions),
        ),
    )


def _line(part: _Part, line: KeptLine) -> ConsoleLine:
    kept = part.kept
    return ConsoleLine(kept.branch_id, kept.writer_id, part.label or line.label, line)


def _page(lines: Sequence[ConsoleLine], has_more: bool, parts: Sequence[_Part]) -> ConsolePage:
    return ConsolePage(
        lines,
        has_more,
        sum(part.kept.lines for part in parts),
        sum(part.kept.lines_dropped for part in parts),
        max((part.kept.end_number for part in parts), default=0),
    )
