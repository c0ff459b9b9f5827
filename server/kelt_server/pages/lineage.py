"""A run's lineage as a page shows it: what it came from, what a rewind left, what left it.

Each branch is a line with a bar over the steps that are its own. What it inherits lies before the
bar, so that one sees where it begins on the one above.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kelt_server import facts
from kelt_server.pages.html import Child, Markup, escaped, tag
from kelt_server.pages.layout import Part, table
from kelt_server.pages.run_list import Run, href_of, last_step, parent_link, state
from kelt_server.relatives import Around, Forks

#: Branches above, and archived ones.
AROUND_MAX = 20
_WIDTH, _HEIGHT = 1000, 12


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of the table; `run` is None of a branch that is not here."""

    run: Run | None
    name: Child
    how: str
    begin: int
    depth: int
    is_own: bool = False


def lineage(run: Run, around: Around, forks: Forks, part: Part) -> Markup:
    """Nothing of a run that stands alone.

    Args:
        run: as the read API has it.
        around: the same run, with the branches around it.
        forks: some of what was forked from it.
        part: which of them.
    """
    archived = [view.as_json() for view in around.archived]
    if not run["lineage"] and not archived and not forks.total:
        return Markup("")
    known = {view.line.branch.branch_id: view.as_json() for view in around.ancestors}
    rows = [
        *_line_of_descent(run, known),
        *(_archived(branch) for branch in archived if branch["immutable_id"] not in known),
        *_forks(run, [view.as_json() for view in forks.views]),
    ]
    return escaped(
        [
            tag("h2", "Lineage", id="lineage"),
            *_notes(run, archived),
            _drawn(rows),
            part.links(forks.total, "forks"),
        ]
    )


def _line_of_descent(run: Run, known: Mapping[str, Run]) -> Iterator[_Row]:
    """The oldest first, the run itself last."""
    shown = run["lineage"][:AROUND_MAX]
    for number in range(len(shown) - 1, -1, -1):
        parent = shown[number]
        found = known.get(parent["immutable_id"])
        above = run["lineage"][number + 1 :]
        name = parent_link(parent) if found is None else _name(found)
        yield _Row(found, name, _how(above), _begin(above), 0)
    own = tag("strong", run["name"])
    yield _Row(run, [own, _id(run)], _how(run["lineage"]), _begin(run["lineage"]), 0, is_own=True)


def _archived(branch: Run) -> _Row:
    return _Row(branch, _name(branch), _how(branch["lineage"]), _begin(branch["lineage"]), 0)


def _forks(run: Run, forks: Iterable[Run]) -> list[_Row]:
    rows = []
    for fork in forks:
        step = _left_at(fork, run)
        rewound = fork["lineage"][0]["kind"] == facts.REWOUND
        since = f", rewound to {fork['lineage'][0]['fork_step']:,} since" if rewound else ""
        how = f"forked at step {step:,}{since}"
        rows.append((step, _Row(fork, _name(fork), how, step, 1)))
    return [row for _, row in sorted(rows, key=lambda item: item[0])]


def _left_at(fork: Run, run: Run) -> int:
    """The last step that a fork has of a run."""
    name = (run["entity"], run["project"], run["run_id"])
    return next(
        (
            parent["fork_step"]
            for parent in fork["lineage"]
            if parent["kind"] == facts.FORKED
            and (parent["entity"], parent["project"], parent["run_id"]) == name
        ),
        0,
    )


def _how(lineage: Sequence[Mapping[str, Any]]) -> str:
    """How a branch with this line of descent began."""
    if not lineage:
        return ""
    parent = lineage[0]
    if parent["fork_step"] is None:
        return "goes on with the one above"
    if parent["kind"] == facts.REWOUND:
        return f"rewound to step {parent['fork_step']:,}"
    return f"{parent['kind']} at step {parent['fork_step']:,}"


def _begin(lineage: Sequence[Mapping[str, Any]]) -> int:
    """The step at which the branch's own rows begin; of a continuation, those it goes on with."""
    for parent in lineage:
        if parent["fork_step"] is not None:
            return int(parent["fork_step"])
    return 0


def _name(found: Run) -> Child:
    archived = tag("span", " archived", class_="quiet") if found["is_archived"] else ""
    return [tag("a", found["name"], href=href_of(found)), _id(found), archived]


def _id(run: Run) -> Child:
    """What the name does not tell."""
    shown = run["immutable_id"] if run["is_archived"] else run["run_id"]
    return [" ", tag("code", shown)] if shown != run["name"] else ""


def _notes(run: Run, archived: Collection[Run]) -> list[Child]:
    older, gone = len(run["lineage"]) - AROUND_MAX, len(run["archived"]) - len(archived)
    notes: list[Child] = []
    if older > 0:
        notes.append(tag("p", f"{older:,} older branches are not shown.", class_="quiet"))
    if gone > 0 and not run["is_archived"]:
        notes.append(tag("p", f"{gone:,} more archived branches are not shown.", class_="quiet"))
    return notes


def _drawn(rows: Sequence[_Row]) -> Markup:
    highest = max((row.run["last_step"] for row in rows if row.run is not None), default=0)
    body = [
        tag(
            "tr",
            tag("td", row.name, class_="name indented" if row.depth else "name"),
            tag("td", row.how, class_="quiet"),
            tag("td", _bar(row, max(1, highest)), class_="bar"),
            tag("td", last_step(row.run) if row.run else "", class_="number"),
            tag("td", state(row.run) if row.run else ""),
            class_="own" if row.is_own else "",
        )
        for row in rows
    ]
    return table(("Run", "How it began", "Its own steps", "Last step", "State"), body)


def _bar(row: _Row, highest: int) -> Child:
    if row.run is None or not row.run["rows"]:
        return ""
    begin = min(row.begin, highest) / highest * _WIDTH
    end = max(begin + 6, row.run["last_step"] / highest * _WIDTH)
    inherited = tag(
        "rect", x="0", y=f"{_HEIGHT / 2 - 0.5:.1f}", width=f"{begin:.0f}", height="1",
        fill="currentColor", opacity="0.4",
    )  # fmt: skip
    own = tag(
        "rect", x=f"{min(begin, _WIDTH - 6):.0f}", y="2", width=f"{end - begin:.0f}",
        height=f"{_HEIGHT - 4}", rx="2", fill="currentColor",
    )  # fmt: skip
    return tag(
        "svg", inherited, own, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", preserveAspectRatio="none",
        role="img", aria_label=f"steps {row.begin:,} to {row.run['last_step']:,}",
    )  # fmt: skip
