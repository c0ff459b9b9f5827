"""What people see of a run and may change: name, notes, group, job type and tags."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from kelt.errors import UsageError
from kelt.local_runs import LocalRuns
from kelt.names import display_name
from kelt.origins.origin import Origin
from kelt.records import RunFacts
from kelt.settings import Settings


class FactsOfRun:
    """The properties of a run that are told to the server on assignment."""

    _facts: RunFacts
    _facts_changed: Callable[[RunFacts], None]

    @property
    def name(self) -> str:
        """The display name."""
        return self._facts.name or ""

    @name.setter
    def name(self, value: str) -> None:
        self._change(RunFacts(name=_checked_text(value, "name")))

    @property
    def notes(self) -> str:
        """Free text."""
        return self._facts.notes or ""

    @notes.setter
    def notes(self, value: str) -> None:
        self._change(RunFacts(notes=_checked_text(value, "notes")))

    @property
    def group(self) -> str:
        """The group that the run belongs to."""
        return self._facts.group or ""

    @group.setter
    def group(self, value: str) -> None:
        self._change(RunFacts(group=_checked_text(value, "group")))

    @property
    def job_type(self) -> str:
        """What the run does in its group."""
        return self._facts.job_type or ""

    @job_type.setter
    def job_type(self, value: str) -> None:
        self._change(RunFacts(job_type=_checked_text(value, "job_type")))

    @property
    def tags(self) -> tuple[str, ...]:
        """Labels; assign a list to change them."""
        return self._facts.tags or ()

    @tags.setter
    def tags(self, value: Any) -> None:
        if isinstance(value, str) or not all(isinstance(tag, str) for tag in value):
            raise UsageError("run.tags takes a list of strings.")
        self._change(RunFacts(tags=tuple(dict.fromkeys(value))))

    def _change(self, change: RunFacts) -> None:
        self._facts_changed(change)
        self._facts = merged_facts(self._facts, change)


def merged_facts(facts: RunFacts, change: RunFacts) -> RunFacts:
    """The facts with those replaced that the change names."""
    return replace(facts, **{k: v for k, v in vars(change).items() if v is not None})


def facts_at_start(settings: Settings, origin: Origin, local: LocalRuns | None) -> RunFacts:
    """What people see of a run that is opened: as given, or inherited, or generated."""
    given = RunFacts(
        name=settings.name,
        notes=settings.notes,
        group=settings.group,
        job_type=settings.job_type,
        tags=settings.tags,
    )
    facts = merged_facts(origin.facts, given)
    if facts.name or origin.opening.kind == "resumed" or settings.shared:
        return facts  # many writers would each make up a name
    number = 1 if local is None else local.runs_count() + 1
    return replace(facts, name=display_name(number))


def _checked_text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f"run.{what} takes a string, not {type(value).__name__}.")
    return value
