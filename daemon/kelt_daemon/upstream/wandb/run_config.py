"""A run's config as W&B has it, with what W&B's client keeps in there under `_wandb`: pure.

    {"lr": {"value": 0.1}, "_wandb": {"value": {"t": …, "m": […], "e": {…}, "branch_point": …}}}

`t` is telemetry, without which W&B takes a run for one that never began; `m` are the definitions of
metrics, in which numbers stand for words and a step metric is named by its place in the list,
counted from 1; `e` is the environment of each writer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kelt.metric_definitions import MetricDefinition
from kelt_daemon.upstream.wandb.carried_run import CarriedRun

#: The client whose words these are: what W&B's server is to expect.
SPOKEN_VERSION = "0.31.0"
INTERNAL = "_wandb"
#: What W&B has no place for, where people see it and can filter by it.
LOST_ROWS, LOST_FILES = "kelt/lost_rows", "kelt/lost_files"
LOSSES, ENDED_BY = "kelt/losses", "kelt/ended_by"
_OWN = (LOST_ROWS, LOST_FILES, LOSSES, ENDED_BY)

#: `last`, which is there anyway, only beside others.
_SUMMARIES = {"min": 1, "max": 2, "mean": 3, "best": 4, "last": 5, "none": 6, "first": 8}
_GOALS = {"minimize": 1, "maximize": 2}
_STEP_SYNC, _HIDDEN, _DEFINED = 1, 2, 3


def config_of(run: CarriedRun) -> dict[str, Any]:
    """The whole of it, as each upsert carries it."""
    values = {key: {"value": value} for key, value in run.config.items()}
    lost = {LOST_ROWS: run.lost_rows, LOST_FILES: run.lost_files}
    values |= {key: {"value": count} for key, count in lost.items() if count}
    if any(lost.values()):
        values[LOSSES] = {"value": list(run.loss_reasons)}
    if run.ended_by:
        values[ENDED_BY] = {"value": run.ended_by}
    python = str(run.environment.get("python", "")).rpartition(" ")[2]
    internal: dict[str, Any] = {
        "cli_version": SPOKEN_VERSION,
        "python_version": python,
        "t": {"4": python, "5": SPOKEN_VERSION, "12": SPOKEN_VERSION},
        "m": metrics_of(run.summary.definitions.all(), before=run.metrics),
    }
    if writer := run.environment.get("writerId"):
        internal["e"] = {writer: run.environment}
    if run.branch_point:
        internal["branch_point"] = run.branch_point
    return {**values, INTERNAL: {"value": internal}}


def metrics_of(
    definitions: Iterable[MetricDefinition], *, before: Iterable[Mapping[str, Any]] = ()
) -> list[dict[str, Any]]:
    """The list `m`. Places in it stay as they are: later definitions of a name replace it there."""
    found = [dict(item) for item in before]
    places = {item.get("1") or item.get("2"): place for place, item in enumerate(found)}

    def put(name: str, item: dict[str, Any]) -> None:
        if name in places:
            found[places[name]] = item
        else:
            places[name] = len(found)
            found.append(item)

    wanted = tuple(definitions)
    for said in wanted:
        put(said.name, _metric(said))
    for said in wanted:
        axis = said.step_metric
        if not axis:
            continue
        if axis not in places:
            put(axis, {"1": axis, "6": [], "7": []})
        found[places[said.name]]["5"] = places[axis] + 1
    return found


def _metric(said: MetricDefinition) -> dict[str, Any]:
    options = [_STEP_SYNC] if said.step_metric else []
    options += [_HIDDEN] if said.hidden else []
    options += [] if said.is_glob else [_DEFINED]
    numbers = [_SUMMARIES[kind] for kind in said.summaries if kind in _SUMMARIES]
    item: dict[str, Any] = {
        "2" if said.is_glob else "1": said.name,
        "6": options,
        "7": [] if said.summary == "last" else numbers,
    }
    if "best" in said.summaries:
        item["8"] = _GOALS[said.goal or "minimize"]
    return item


def values_of(config: object) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The user's values and the definitions in a config that W&B's server has."""
    if not isinstance(config, Mapping):
        return {}, []
    values = {
        key: item["value"]
        for key, item in config.items()
        if isinstance(item, Mapping) and "value" in item and key not in (INTERNAL, *_OWN)
    }
    internal = config.get(INTERNAL)
    inner = internal.get("value") if isinstance(internal, Mapping) else None
    metrics = inner.get("m") if isinstance(inner, Mapping) else None
    listed = metrics if isinstance(metrics, list) else []
    return values, [dict(item) for item in listed if isinstance(item, Mapping)]
