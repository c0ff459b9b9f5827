"""What `define_metric` says, and which definition holds for a metric.

An exact name beats a glob; among several of a kind the later one holds. A metric without a
definition has its last value as summary and `_step` as its axis. One with several summaries
(`"min,max"`) has its last value under its own name, and each of them behind a dot: `loss.min`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from kelt.errors import UsageError
from kelt.values import checked_key

#: In the order in which several of them are kept.
SUMMARY_KINDS = ("min", "max", "mean", "best", "last", "first", "none")
GOALS = ("minimize", "maximize")
_GLOB_CHARS = "*?["


@dataclass(frozen=True, kw_only=True)
class MetricDefinition:
    """One definition, for a name or a glob."""

    name: str
    step_metric: str = ""
    summary: str = "last"
    goal: str = "minimize"
    hidden: bool = False
    #: The highest step at the time: a fork or rewind below it does not inherit the definition.
    step: int = -1

    @property
    def summaries(self) -> tuple[str, ...]:
        """The summaries that it asks for."""
        return tuple(self.summary.split(","))

    @property
    def is_glob(self) -> bool:
        """Whether the name stands for several metrics."""
        return any(c in self.name for c in _GLOB_CHARS)


#: What holds for a metric without a definition.
UNDEFINED = MetricDefinition(name="*")


def checked_definition(
    *,
    name: object,
    step_metric: object,
    summary: object,
    goal: object,
    hidden: object,
    step: int,
) -> MetricDefinition:
    """A definition made of a caller's arguments.

    Raises:
        UsageError: one of them cannot be.
    """
    caller = "kelt.define_metric"
    key = checked_key(name, caller)
    axis = getattr(step_metric, "name", step_metric)
    if axis is not None and not isinstance(axis, str):
        raise UsageError(f"{caller}: step_metric of {key!r} must be the name of a metric.")
    if axis and any(c in axis for c in _GLOB_CHARS):
        raise UsageError(f"{caller}: step_metric of {key!r} must be one metric, not a glob.")
    if goal is not None and goal not in GOALS:
        raise UsageError(
            f"{caller}: goal of {key!r} cannot be {goal!r}; it is {' or '.join(GOALS)}."
        )
    return MetricDefinition(
        name=key,
        step_metric=axis or "",
        summary=_checked_summary(summary, key, caller),
        goal=str(goal or "minimize"),
        hidden=bool(hidden),
        step=step,
    )


def _checked_summary(summary: object, key: str, caller: str) -> str:
    """In one order, and without the others where a metric is to have none."""
    asked = {part.strip() for part in str(summary or "last").split(",")}
    if not asked <= set(SUMMARY_KINDS):
        raise UsageError(
            f"{caller}: summary of {key!r} cannot be {summary!r}; it is one of "
            f"{', '.join(SUMMARY_KINDS)}, or several with commas between them."
        )
    return "none" if "none" in asked else ",".join(k for k in SUMMARY_KINDS if k in asked)


@dataclass
class DefinitionTable:
    """The definitions of a run, and for each metric the one that holds."""

    _exact: dict[str, MetricDefinition] = field(default_factory=dict)
    _globs: dict[str, MetricDefinition] = field(default_factory=dict)
    _found: dict[str, MetricDefinition | None] = field(default_factory=dict)

    def add(self, definition: MetricDefinition) -> None:
        """Adds a definition; one of the same name is replaced."""
        table = self._globs if definition.is_glob else self._exact
        table.pop(definition.name, None)
        table[definition.name] = definition
        self._found = {}

    def of(self, metric: str) -> MetricDefinition | None:
        """The definition that holds for a metric."""
        try:
            return self._found[metric]
        except KeyError:
            found = self._exact.get(metric)
            if found is None:
                matching = (g for g in self._globs.values() if fnmatchcase(metric, g.name))
                found = max(matching, key=list(self._globs.values()).index, default=None)
            self._found[metric] = found
            return found

    def all(self) -> Iterable[MetricDefinition]:
        """Every definition."""
        return (*self._exact.values(), *self._globs.values())

    @property
    def needs_every_row(self) -> bool:
        """Whether some summary is more than a metric's last value."""
        return any(d.summary not in {"last", "none"} for d in self.all())

    def up_to(self, step: int) -> DefinitionTable:
        """The definitions that a branch inherits which leaves at `step`."""
        kept = DefinitionTable()
        for definition in self.all():
            if definition.step <= step:
                kept.add(definition)
        return kept

    @classmethod
    def of_all(cls, definitions: Mapping[str, MetricDefinition]) -> DefinitionTable:
        """A table of definitions by name, in order."""
        table = cls()
        for definition in definitions.values():
            table.add(definition)
        return table
