"""What a commit changed, as keys: what was remembered of these is to be read again. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kelt_server import facts
from kelt_server.branch_names import Name
from kelt_server.ingest.apply import RoutedBlock

#: A branch by immutable id, a writer by id, or a name: three types that never meet.
Key = str | bytes | Name
#: Told after every commit, also after one that failed half way.
Noticed = Callable[[set[Key]], None]


def keys_of(
    said: Iterable[facts.Fact], signs: Iterable[facts.LifeSign], blocks: Iterable[RoutedBlock]
) -> set[Key]:
    """Every branch, writer and name that facts, signs of life or rows are about."""
    keys: set[Key] = {block.branch_id for block in blocks}
    keys.update(sign.writer_id for sign in signs)
    for fact in said:
        if isinstance(fact, facts.ConsoleFact | facts.FilePieceFact):
            continue  # nothing that is remembered rests on them
        if not isinstance(fact, facts.ExitFact | facts.LossFact | facts.AssertionFact):
            keys.add(fact.branch_id)
        if isinstance(fact, facts.BranchFact):
            keys.add(fact.name)
        keys.add(fact.writer_id)
    return keys
