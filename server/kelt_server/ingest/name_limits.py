"""How many metrics a branch may have: what comes beyond is left out of its rows, and said.

A program that makes a new name in every step would otherwise fill memory and every page. The row
itself is kept, with the values of the names that there are; the run shows a loss over the rows.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from kelt_server import facts
from kelt_server.ingest.apply import BatchEffect, RoutedBlock

#: Names that are remembered, of all branches together: some 50 MiB.
_REMEMBERED_MAX = 500_000
_SHOWN_MAX = 3
_SHOWN_CHARS_MAX = 60


@dataclass(slots=True)
class GroupNames:
    """The names of one group of pushes, which the store does not have before it is committed."""

    all: set[str] = field(default_factory=set)
    of_branch: dict[str, set[str]] = field(default_factory=dict)

    def add(self, branch_id: str, names: Sequence[str]) -> None:
        """Rows of a branch are to be committed with these."""
        self.all.update(names)
        self.of_branch.setdefault(branch_id, set()).update(names)


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
        self._known: OrderedDict[str, set[str]] = OrderedDict()
        self._known_total = 0

    def forget(self, group: GroupNames) -> None:
        """Its commit failed: what was counted may not be there."""
        for branch_id in group.of_branch:
            self._known_total -= len(self._known.pop(branch_id, ()))

    def forget_branches(self, branch_ids: Iterable[str]) -> None:
        """They were deleted: their ids may be those of others."""
        for branch_id in branch_ids:
            self._known_total -= len(self._known.pop(branch_id, ()))

    def apply(
        self, effect: BatchEffect, *, writer_id: bytes, catalog_cursor: int, group: GroupNames
    ) -> BatchEffect:
        """The effect without values of too many names, and with the loss that says so.

        Args:
            effect: of one batch.
            writer_id: whose.
            catalog_cursor: what is above it is said for the first time.
            group: that the batch is one of; its names grow.
        """
        new = {c.name for b in effect.blocks for c in b.rows.columns} - group.all
        if self._total() + len(group.all) + len(new) <= self._names_max:
            for block in effect.blocks:
                self._take(block.branch_id, [c.name for c in block.rows.columns], group)
            return effect
        kept = [self._limited(block, group) for block in effect.blocks]
        dropped = sorted({name for _, names in kept for name in names})
        if not dropped:
            return effect
        said = effect.facts
        touched = [block.rows.seqs for block, names in kept if names]
        seqs = [int(seq) for of_block in touched for seq in of_block if seq > catalog_cursor]
        if seqs:
            reason = _reason(dropped, self._names_max)
            loss = facts.LossFact(
                writer_id, writer_id, seqs[-1], seqs[0], seqs[-1], len(seqs), reason, by_server=True
            )
            said = (*said, loss)
        return replace(effect, facts=said, blocks=tuple(block for block, _ in kept))

    def _limited(self, block: RoutedBlock, group: GroupNames) -> tuple[RoutedBlock, list[str]]:
        known = self._names(block.branch_id, group)
        new = [c.name for c in block.rows.columns if c.name not in known]
        room = max(0, self._names_max - len(known))
        self._take(block.branch_id, new[:room], group)
        dropped = new[room:]
        if not dropped:
            return block, []
        out = set(dropped)
        columns = tuple(c for c in block.rows.columns if c.name not in out)
        return replace(block, rows=replace(block.rows, columns=columns)), dropped

    def _take(self, branch_id: str, names: Sequence[str], group: GroupNames) -> None:
        group.add(branch_id, names)
        if (known := self._known.get(branch_id)) is not None:
            self._known_total -= len(known)
            known.update(names)
            self._known_total += len(known)

    def _names(self, branch_id: str, group: GroupNames) -> set[str]:
        known = self._known.get(branch_id)
        if known is None:
            known = group.of_branch.get(branch_id, set()).union(self._of_branch(branch_id))
            self._known[branch_id] = known
            self._known_total += len(known)
            while self._known_total > _REMEMBERED_MAX and len(self._known) > 1:
                _, oldest = self._known.popitem(last=False)
                self._known_total -= len(oldest)
        self._known.move_to_end(branch_id)
        return known


def _reason(dropped: list[str], names_max: int) -> str:
    shown = ", ".join(repr(name[:_SHOWN_CHARS_MAX]) for name in dropped[:_SHOWN_MAX])
    more = f" and {len(dropped) - _SHOWN_MAX} more" if len(dropped) > _SHOWN_MAX else ""
    return (
        f"the run has {names_max} metrics, which is the most; the values of {shown}{more} were "
        "left out of these rows"
    )
