"""What kelt promises about histories, told again the slow way, over plain lists.

Knows nothing of kelt_server: no cursors, no spans, no SQL. `World.do` is told what a session does, in
the order of time; the answers are computed from that by walking everything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Branch:
    branch_id: str
    name: str
    made: tuple[float, str]
    kind: str
    maker: int  # session
    parent: str | None = None  # immutable id
    parent_name: str | None = None
    step: int | None = None


@dataclass
class Session:
    number: int
    started_at: float
    branch_id: str
    continued: bool = False


@dataclass
class Part:
    session: int
    seq: int
    branch_id: str
    step: int
    relative: bool
    values: dict[str, Any]


@dataclass
class Setting:
    session: int
    seq: int
    branch_id: str
    key: str
    value: Any
    at: float = 0.0
    step: int = 0


@dataclass
class World:
    branches: dict[str, Branch] = field(default_factory=dict)
    sessions: dict[int, Session] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    configs: list[Setting] = field(default_factory=list)
    by_hand: list[Setting] = field(default_factory=list)
    how: list[Setting] = field(default_factory=list)  # definitions: key = metric, value = summary

    def holder(self, name: str, before: tuple[float, str] | None = None) -> str | None:
        found = [b for b in self.branches.values() if b.name == name]
        if before is not None:
            found = [b for b in found if b.made < before]
        return max(found, key=lambda b: b.made).branch_id if found else None

    def parent(self, branch_id: str) -> str | None:
        branch = self.branches[branch_id]
        if branch.parent is not None:
            return branch.parent
        if branch.parent_name is None:
            return None
        return self.holder(branch.parent_name, branch.made)

    def chain(self, branch_id: str) -> list[tuple[str, int | None]]:
        """From the root: each branch with the last step that counts."""
        links: list[tuple[str, int | None]] = [(branch_id, None)]
        limit: int | None = None
        at: str | None = branch_id
        while at is not None and at in self.branches:
            step, up = self.branches[at].step, self.parent(at)
            if up is None:
                break
            if step is not None:
                limit = step if limit is None else min(limit, step)
            links.append((up, limit))
            at = up
        return links[::-1]

    def base(self, session: int) -> int:
        if not self.sessions[session].continued:
            return 0
        up = self.parent(self.sessions[session].branch_id)
        if up is None:
            return 0
        return max([row["step"] for row in self.history(up)], default=-1) + 1

    def history(self, branch_id: str) -> list[dict[str, Any]]:
        rows = []
        for position, (own, limit) in enumerate(self.chain(branch_id)):
            merged: dict[tuple[int, bool, int], dict[str, Any]] = {}
            for part in sorted(self.parts, key=lambda p: p.seq):
                if part.branch_id != own:
                    continue
                step = part.step + (self.base(part.session) if part.relative else 0)
                if limit is not None and step > limit:
                    continue
                session = self.sessions[part.session]
                row = merged.setdefault(
                    (part.session, part.relative, step),
                    {
                        "order": (
                            step,
                            position,
                            session.started_at,
                            session.number,
                            part.relative,
                            part.seq,
                        ),
                        "line": (position, session.started_at, session.number, part.relative),
                        "step": step,
                        "values": {},
                        "seqs": {},
                    },
                )
                row["values"].update(part.values)
                row["seqs"].update(dict.fromkeys(part.values, part.seq))
            rows += merged.values()
        return sorted(rows, key=lambda row: row["order"])

    def config(self, branch_id: str) -> dict[str, Any]:
        links = [own for own, _ in self.chain(branch_id)]
        config: dict[str, Any] = {}
        for index, own in enumerate(links):
            later = [self.branches[child] for child in links[index + 1 :]]
            limits = [child for child in later if child.kind != "continued"]
            settings = [s for s in self.configs if s.branch_id == own]
            for s in sorted(
                settings, key=lambda s: (self.sessions[s.session].started_at, s.session, s.seq)
            ):
                if all(s.at <= child.made[0] for child in limits):
                    config[s.key] = s.value
        return config

    def settings(self, settings: list[Setting], branch_id: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for own, limit in self.chain(branch_id):
            mine = [s for s in settings if s.branch_id == own]
            for s in sorted(
                mine, key=lambda s: (self.sessions[s.session].started_at, s.session, s.seq)
            ):
                if limit is None or s.step + self.base(s.session) <= limit:
                    found[s.key] = s.value
        return found

    def summary(self, branch_id: str) -> dict[str, Any]:
        how = self.settings(self.how, branch_id)
        logged: dict[str, list[tuple[Any, Any]]] = {}
        for row in self.history(branch_id):
            for key, value in row["values"].items():
                logged.setdefault(key, []).append(((row["line"], row["seqs"][key]), value))
        summary = {}
        for key, found in logged.items():
            found.sort(key=lambda entry: entry[0])
            values = [value for _, value in found]
            summary[key] = values[-1]
            numbers = [v for v in values if isinstance(v, int | float) and not math.isnan(v)]
            kind = how.get(key, "last")
            if kind == "none":
                del summary[key]
            elif kind == "first":
                summary[key] = values[0]
            elif kind in ("min", "max") and numbers:
                extreme = min(numbers) if kind == "min" else max(numbers)
                is_whole = all(type(number) is int for number in numbers)
                summary[key] = extreme if is_whole else float(extreme)
        return summary | self.settings(self.by_hand, branch_id)
