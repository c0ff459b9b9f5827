"""How many metrics a branch may have: what comes beyond is left out of its rows, and said.

A program that makes a new name in every step would otherwise fill memory and every page. The row
itself is kept, with the values of the names that there are; the run shows a loss over the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from kelt_server import facts
from kelt_server.ingest.apply import BatchEffect, RoutedBlock

_BRANCHES_MAX = 1_000
_SHOWN_MAX = 3
_SHOWN_CHARS_MAX = 60


class NameLimits:
    """Counts names by branch. Mutable state: the names of branches that were looked at.

    Args:
        names_max: of one branch.
        total: how many names the store has, of all branches.
        of_branch: the names of one branch, which costs a scan: asked once, and only where the
            store has more names than one branch may.
    """

    def __init__(
        self, *, names_max: int, total: Callable[[], int], of_branch: Callable[[str], Iterable[str]]
    ) -> None:
        self._names_max = names_max
        self._total = total
        self._of_branch = of_branch
        self._known: dict[str, set[str]] = {}

    def forget(self) -> None:
        """A commit failed: what was counted may not be there."""
        self._known.clear()

    def apply(
        self, effect: BatchEffect, *, writer_id: bytes, catalog_cursor: int, pending_names: set[str]
    ) -> BatchEffect:
        """The effect without values of too many names, and with the loss that says so.

        Args:
            effect: of one batch.
            writer_id: whose.
            catalog_cursor: what is above it is said for the first time.
            pending_names: names of this group, which grow; the store may not have them yet.
        """
        pending_names.update(c.name for b in effect.blocks for c in b.rows.columns)
        if self._total() + len(pending_names) <= self._names_max:
            return effect
        kept = [self._limited(block) for block in effect.blocks]
        dropped = sorted({name for _, names in kept for name in names})
        if not dropped:
            return effect
        touched = [block.rows.seqs for block, names in kept if names]
        first_seq, last_seq = int(touched[0][0]), int(touched[-1][-1])
        said = effect.facts
        if last_seq > catalog_cursor:
            rows = sum(len(seqs) for seqs in touched)
            reason = _reason(dropped, self._names_max)
            loss = facts.LossFact(
                writer_id, writer_id, last_seq, first_seq, last_seq, rows, reason, by_server=True
            )
            said = (*said, loss)
        return replace(effect, facts=said, blocks=tuple(block for block, _ in kept))

    def _limited(self, block: RoutedBlock) -> tuple[RoutedBlock, list[str]]:
        known = self._names(block.branch_id)
        new = [c.name for c in block.rows.columns if c.name not in known]
        room = max(0, self._names_max - len(known))
        known.update(new[:room])
        dropped = new[room:]
        if not dropped:
            return block, []
        out = set(dropped)
        columns = tuple(c for c in block.rows.columns if c.name not in out)
        return replace(block, rows=replace(block.rows, columns=columns)), dropped

    def _names(self, branch_id: str) -> set[str]:
        known = self._known.get(branch_id)
        if known is None:
            if len(self._known) >= _BRANCHES_MAX:
                self._known.clear()
            known = self._known[branch_id] = set(self._of_branch(branch_id))
        return known


def _reason(dropped: list[str], names_max: int) -> str:
    shown = ", ".join(repr(name[:_SHOWN_CHARS_MAX]) for name in dropped[:_SHOWN_MAX])
    more = f" and {len(dropped) - _SHOWN_MAX} more" if len(dropped) > _SHOWN_MAX else ""
    return (
        f"the run has {names_max} metrics, which is the most; the values of {shown}{more} were "
        "left out of these rows"
    )
