"""Whether somebody may say what a batch says. Pure, given how names are looked up.

A key opens entities. So a caller's writers write there, make branches there, leave only branches
that are there, and say something only of writers that are. A branch that is not known yet is
nobody's: its immutable id is random, except a shared run's, which follows from its name.
"""

from __future__ import annotations

from collections.abc import Callable

from kelt_server import facts
from kelt_server.access.callers import Caller
from kelt_server.branch_names import Name
from kelt_server.errors import ForbiddenError
from kelt_server.ingest.apply import BatchEffect

#: What is said of writers, others too.
_OF_WRITERS = (facts.AssertionFact, facts.LossFact, facts.FilePieceFact)


def check_effect(
    effect: BatchEffect,
    caller: Caller,
    *,
    writer_id: bytes,
    of_branch: Callable[[str], Name | None],
    of_writer: Callable[[bytes], Name | None],
) -> None:
    """Checks all that a batch changes.

    Args:
        effect: of the batch.
        caller: who sent it.
        writer_id: whose it is.
        of_branch: the name of a branch, None where it is not known.
        of_writer: the name of the run of another writer, likewise.

    Raises:
        ForbiddenError: a part of it is not open to the caller; the sentence names it.
    """
    if effect.state.name is not None:
        caller.check(effect.state.name[0])
    for fact in effect.facts:
        if isinstance(fact, facts.BranchFact):
            _check_branch(fact, caller, of_branch)
        elif isinstance(fact, _OF_WRITERS) and fact.writer_id != writer_id:
            name = of_writer(fact.writer_id)
            if name is not None:
                caller.check(name[0])


def _check_branch(
    fact: facts.BranchFact, caller: Caller, of_branch: Callable[[str], Name | None]
) -> None:
    caller.check(fact.entity)
    known = of_branch(fact.branch_id)
    if known is not None and not caller.may(known[0]):
        raise ForbiddenError(
            f"a run with the immutable id of {fact.run_id} belongs to another entity; where both "
            "are shared runs of one project and id, name yours with KELT_ENTITY"
        )
    if fact.parent_entity:
        caller.check(fact.parent_entity)
    parent = of_branch(fact.parent_branch_id) if fact.parent_branch_id else None
    if parent is not None and not caller.may(parent[0]):
        raise ForbiddenError(
            f"{fact.run_id} was {fact.kind} from a run that is not open to {caller.user}"
        )
