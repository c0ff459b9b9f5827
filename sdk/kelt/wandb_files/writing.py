"""A run as W&B would have written it offline: the records of its `.wandb` file. Pure.

Constraints
    The real `wandb sync` of any version from 0.16 on takes the file, so values are JSON and named
    by `key`, which all of them read. It takes the summary from summary records alone, so one behind
    the history holds all of it, key by key.

    A key of the history or the summary stays one key, dots and all. A file has one run, with its
    history as it was resolved: no branch point, as the parent may not be where it is synced to.

    A run that has not said goodbye has no `exit` record; W&B then calls it failed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kelt.version import __version__
from kelt_proto.wandb.wandb_record_pb2 import (
    Exit,
    Header,
    History,
    HistoryItem,
    HistoryStep,
    Item,
    Metric,
    MetricOptions,
    MetricSummary,
    Record,
    Run,
    Summary,
    Timestamp,
    VersionInfo,
)

_GOALS = {"minimize": 1, "maximize": 2}
_SUMMARIES = frozenset(("min", "max", "mean", "first", "last", "none"))
_GLOB_SIGNS = "*?["
_NANOS = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class WrittenRun:
    """What a file says of its run beside the history.

    Attributes:
        definitions: of metrics, each with name (or glob), step_metric, summary, goal, hidden.
        summary: with dots in the keys of nested values.
        started_at: Unix seconds.
        runtime_s: how long it ran.
        exit_code: None where it has not said goodbye.
    """

    run_id: str
    project: str
    name: str
    notes: str
    group: str
    job_type: str
    tags: tuple[str, ...]
    host: str
    started_at: float
    runtime_s: float
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    definitions: tuple[Mapping[str, Any], ...]
    exit_code: int | None


def file_records(run: WrittenRun, rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """The records of a file in their order.

    Args:
        run: whose file it is.
        rows: its history, with `_step`, `_timestamp` and `_runtime` in each.
    """
    for num, record in enumerate(_records(run, rows), start=1):
        record.num = num
        yield record.SerializeToString(deterministic=True)


def _records(run: WrittenRun, rows: Iterable[Mapping[str, Any]]) -> Iterator[Record]:
    yield Record(header=Header(version_info=VersionInfo(producer=f"kelt-{__version__}")))
    yield Record(run=_run(run))
    for definition in run.definitions:
        yield Record(metric=_metric(definition))
    for row in rows:
        yield Record(history=_history(row).SerializeToString(deterministic=True))
    # By `key`, as what was set by hand: nothing here follows from the history once more.
    summary = Summary(update=_items(run.summary))
    yield Record(summary=summary.SerializeToString(deterministic=True))
    if run.exit_code is not None:
        yield Record(exit=Exit(exit_code=run.exit_code, runtime=int(run.runtime_s)))
        yield Record(final=b"")  # up to 0.23 `wandb sync` tells the end only then


def _run(run: WrittenRun) -> Run:
    seconds = int(run.started_at)
    nanos = int((run.started_at - seconds) * _NANOS)
    message = Run(
        run_id=run.run_id,
        project=run.project,
        display_name=_text(run.name),
        notes=_text(run.notes),
        run_group=_text(run.group),
        job_type=_text(run.job_type),
        tags=map(_text, run.tags),
        host=run.host,
        start_time=Timestamp(seconds=seconds, nanos=nanos),
    )
    message.config.update.extend(_items(run.config))
    return message


def _items(values: Mapping[str, Any]) -> list[Item]:
    return [Item(key=_text(key), value_json=json.dumps(value)) for key, value in values.items()]


def _metric(definition: Mapping[str, Any]) -> Metric:
    name, step_metric = definition["name"], definition["step_metric"]
    is_glob = any(sign in name for sign in _GLOB_SIGNS)
    summary = definition["summary"]
    if summary == "best":  # which clients of today no longer know
        summary = "max" if definition["goal"] == "maximize" else "min"
    asked = {summary: True} if summary in _SUMMARIES else {}
    return Metric(
        name="" if is_glob else name,
        glob_name=name if is_glob else "",
        step_metric=step_metric,
        options=MetricOptions(
            step_sync=bool(step_metric), hidden=bool(definition["hidden"]), defined=True
        ),
        summary=MetricSummary(**asked),
        goal=_GOALS.get(definition["goal"], 0),
    )


def _history(row: Mapping[str, Any]) -> History:
    items = [
        HistoryItem(key=_text(name), value_json=json.dumps(value)) for name, value in row.items()
    ]
    return History(item=items, step=HistoryStep(num=row["_step"]))


def _text(text: str) -> str:
    """What a protobuf text can hold: no lone surrogates, which JSON values keep."""
    return text.encode("utf-8", "backslashreplace").decode()
