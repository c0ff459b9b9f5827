"""Cases that random worlds reach seldom."""

from __future__ import annotations

from collections.abc import Sequence

from kelt_server.branch_names import Branches
from kelt_server.facts import BranchFact, SessionFact
from kelt_server.lineage import Lineage
from kelt_server.metrics.store import Span, Stream


def branch(branch_id: str, made_at: float, kind: str = "created", **more: object) -> BranchFact:
    run_id = str(more.pop("run_id", "run"))
    return BranchFact(branch_id, branch_id.encode(), 1, "e", "p", run_id, kind, made_at, **more)  # type: ignore[arg-type]


def lineage(*said: BranchFact, streams: Sequence[Stream] = ()) -> Lineage:
    def asked(spans: Sequence[Span]) -> int:
        raise AssertionError(spans)

    sessions = {
        fact.writer_id: SessionFact(
            fact.writer_id, 1, fact.branch_id, fact.made_at, fact.kind == "continued"
        )
        for fact in said
    }
    by_branch: dict[str, list[Stream]] = {}
    for stream in streams:
        by_branch.setdefault(stream.branch_id, []).append(stream)
    return Lineage(Branches(said), sessions=sessions, streams=by_branch, highest_step=asked)


def stream(branch_id: str, step_max: int, *, relative: bool = False) -> Stream:
    return Stream(branch_id, branch_id.encode(), relative, step_max + 1, 0, step_max, False, 0)


def test_a_circle_of_parents_ends_and_is_told() -> None:
    found = lineage(
        branch("a", 1.0, "forked", parent_branch_id="b", parent_step=5),
        branch("b", 2.0, "forked", parent_branch_id="a", parent_step=5),
    )
    line = found.line("a")
    assert [ancestor.branch_id for ancestor in line.ancestors] == ["b"]
    assert "comes back to itself" in line.problems[0]


def test_continuations_stand_one_upon_the_other() -> None:
    said = [branch("c0", 0.0)] + [
        branch(
            f"c{n}",
            float(n),
            "continued",
            parent_entity="e",
            parent_project="p",
            parent_run_id="run",
        )
        for n in range(1, 1500)
    ]
    streams = [stream("c0", 9)] + [stream(f"c{n}", 1, relative=True) for n in range(1, 1500)]
    found = lineage(*said, streams=streams)
    assert found.base(b"c1499") == 10 + 2 * 1498
    assert found.end("c1499") == 9 + 2 * 1499


def test_a_continuation_of_nothing_starts_at_0() -> None:
    only = branch("c", 1.0, "continued", parent_entity="e", parent_project="p", parent_run_id="run")
    found = lineage(only, streams=[stream("c", 3, relative=True)])
    assert (found.base(b"c"), found.end("c")) == (0, 3)


def test_a_name_known_by_a_resumed_session_alone_is_told() -> None:
    found = lineage(branch("a", 5.0, "resumed"))
    assert "has not arrived" in found.line("a").problems[0]


def test_what_a_record_of_its_beginning_says_goes_before_a_resumed_session() -> None:
    early_resume, beginning = branch("a", 1.0, "resumed"), branch("a", 3.0)
    for said in ([early_resume, beginning], [beginning, early_resume]):
        assert Branches(said).by_id["a"].kind == "created"


def test_the_later_of_two_that_made_a_name_holds_it() -> None:
    one, two = branch("a", 1.0), branch("b", 2.0)
    for said in ([one, two], [two, one]):
        branches = Branches(said)
        assert branches.holder(("e", "p", "run")) == "b"
        assert branches.archived(("e", "p", "run"), ()) == ["a"]


def test_a_fork_before_its_parent_leaves_the_first_that_held_the_name_afterwards() -> None:
    named = {"parent_entity": "e", "parent_project": "p", "parent_run_id": "run", "parent_step": 3}
    fork = branch("f", 1.0, "forked", run_id="child", **named)
    first = branch("a", 2.0)
    rewound = branch("b", 3.0, "rewound", **(named | {"parent_branch_id": "a", "parent_step": 1}))
    for said in ([fork, first], [fork, first, rewound], [rewound, fork, first]):
        assert [one.branch_id for one in lineage(*said).line("f").ancestors] == ["a"]
