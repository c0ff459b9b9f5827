"""Results as Markdown, and into docs/performance.md between its marks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from measuring.section import Goal, Section

_BEGIN, _END = "<!-- generated: begin -->", "<!-- generated: end -->"
_SAID = {True: "yes", False: "no", None: "not measured"}


def of_section(section: Section, result: Mapping[str, Any]) -> str:
    """A section's heading, where it was measured, what, and which goals were reached."""
    facts = result["facts"]
    versions = ", ".join(
        f"{name} {value}"
        for name, value in facts.items()
        if name not in {"machine", "system", "date"}
    )
    rounds = f"{result['rounds']} rounds" if result["rounds"] > 1 else "one round"
    return "\n".join(
        [
            f"### {section.TITLE}",
            "",
            f"{facts['date']}, {rounds}; {facts['machine']}; {facts['system']}; {versions}.",
            "",
            section.report(dict(result)),
            "",
        ]
    )


def of_goals(goals: list[Goal]) -> str:
    """The table of goals."""
    lines = ["| what | goal | measured | reached |", "|---|---|---|---|"]
    lines += [f"| {g.what} | {g.goal} | {g.measured} | {_SAID[g.is_reached]} |" for g in goals]
    return "\n".join(lines)


def write(path: Path, found: Mapping[str, tuple[Section, dict[str, Any]]]) -> None:
    """Replaces what lies between the marks."""
    goals = [goal for section, result in found.values() for goal in section.goals(result)]
    parts = [of_goals(goals), ""]
    parts += [of_section(section, result) for section, result in found.values()]
    _replace(path, "\n".join(parts))


def write_short(path: Path, found: Mapping[str, tuple[Section, dict[str, Any]]]) -> None:
    """Replaces what lies between the marks by what was measured for the goals alone."""
    if not found:
        return
    facts = [result["facts"] for _, result in found.values()]
    newest = max(facts, key=lambda fact: str(fact["date"]))
    lines = [
        f"{newest['date']}; {newest['machine']}; python {newest['python']}, kelt {newest['kelt']}.",
        "",
        "| what | measured: median (least-greatest) |",
        "|---|---|",
    ]
    goals = [goal for section, result in found.values() for goal in section.goals(result)]
    lines += [f"| {goal.what} | {goal.measured} |" for goal in goals]
    _replace(path, "\n".join(lines))


def _replace(path: Path, block: str) -> None:
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    path.write_text(f"{before}{_BEGIN}\n{block}\n{_END}{after}", encoding="utf-8")
