"""A run as W&B would have written it offline: the records of its `.wandb` file. Pure.

Constraints
    The real `wandb sync` of any version from 0.16 on takes the file, so values are JSON and named
    by `key`, which all of them read. It takes the summary from summary records alone, so one behind
    the history holds all of it, key by key.

    A key of the history or the summary stays one key, dots and all. A file has one run. Its history
    is what was resolved, or, with a branch point, what follows that: the server must have the rest.

    What is uploaded of the folder's `files` is what a record names. The client makes some of them
    itself (`MADE_BY_CLIENT`).

    A run that has not said goodbye has no `exit` record; W&B then calls it failed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from kelt.version import __version__
from kelt_proto.wandb.wandb_record_pb2 import (
    BranchPoint,
    Exit,
    Files,
    FilesItem,
    Header,
    History,
    HistoryItem,
    HistoryStep,
    Item,
    Metric,
    MetricOptions,
    MetricSummary,
    Output,
    Record,
    Run,
    Stats,
    StatsItem,
    Summary,
    Timestamp,
    VersionInfo,
)

_GOALS = {"minimize": 1, "maximize": 2}
_SUMMARIES = frozenset(("min", "max", "mean", "first", "last", "none"))
_GLOB_SIGNS = "*?["
_NANOS = 1_000_000_000
_NAMES_KEPT = 10_000
_STDERR, _STDOUT = 0, 1
_POLICY_NOW, _TYPE_ANY, _TYPE_MEDIA = 0, 0, 2
_MEDIA_FOLDER = "media/"
#: The client puts it before the names that are in a file.
_SYSTEM_PREFIX = "system."
#: Of the run's files those that W&B's client makes anew from the records, when it syncs a file.
MADE_BY_CLIENT = frozenset(("config.yaml", "wandb-summary.json", "output.log"))


@dataclass(frozen=True, kw_only=True)
class WrittenLine:
    """A line that was written to the console, without its end.

    Attributes:
        at: Unix seconds; 0 where nobody knows.
    """

    text: str
    is_error: bool
    at: float


@dataclass(frozen=True, kw_only=True)
class WrittenRun:
    """What a file says of its run beside the history.

    Attributes:
        parent: the run and the step where the history leaves it; None where it is all there.
        version: tells this file from others of the same run; W&B passes it over, and for kelt's
            import other versions are other writers, since their records are not each other's.
        definitions: of metrics, each with name (or glob), step_metric, summary, goal, hidden.
        summary: with dots in the keys of nested values.
        started_at: Unix seconds.
        runtime_s: how long it ran.
        exit_code: None where it has not said goodbye.
    """

    run_id: str
    project: str
    parent: tuple[str, int] | None = None
    version: str = ""
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


@dataclass(frozen=True, kw_only=True)
class WrittenParts:
    """What a file holds beside that, each in its order.

    Attributes:
        rows: with `_step`, `_timestamp` and `_runtime` in each.
        samples: of the machine, with `_timestamp` in each.
        files: paths, relative to the folder `files`.
    """

    rows: Iterable[Mapping[str, Any]] = ()
    console: Iterable[WrittenLine] = ()
    samples: Iterable[Mapping[str, Any]] = ()
    files: Iterable[str] = ()


def file_records(run: WrittenRun, parts: WrittenParts) -> Iterator[bytes]:
    """The records of a file in their order."""
    for num, record in enumerate(_records(run, parts), start=1):
        record.num = num
        yield record.SerializeToString(deterministic=True)


def _records(run: WrittenRun, parts: WrittenParts) -> Iterator[Record]:
    yield Record(header=Header(version_info=VersionInfo(producer=f"kelt-{__version__}")))
    yield Record(run=_run(run))
    for definition in run.definitions:
        yield Record(metric=_metric(definition))
    for row in parts.rows:
        yield Record(history=_history(row).SerializeToString(deterministic=True))
    for sample in parts.samples:
        yield Record(stats=_stats(sample))
    for line in parts.console:
        yield Record(output_raw=_output(line))
    for path in parts.files:
        if path not in MADE_BY_CLIENT:
            yield Record(files=_file(path).SerializeToString(deterministic=True))
    # By `key`, as what was set by hand: nothing here follows from the history once more.
    summary = Summary(update=_items(run.summary))
    yield Record(summary=summary.SerializeToString(deterministic=True))
    if run.exit_code is not None:
        yield Record(exit=Exit(exit_code=run.exit_code, runtime=int(run.runtime_s)))
        yield Record(final=b"")  # up to 0.23 `wandb sync` tells the end only then


def _run(run: WrittenRun) -> Run:
    message = Run(
        run_id=run.run_id,
        project=run.project,
        display_name=_text(run.name),
        notes=_text(run.notes),
        run_group=_text(run.group),
        job_type=_text(run.job_type),
        tags=map(_text, run.tags),
        host=run.host,
        kelt_version=run.version,
        start_time=_timestamp(run.started_at),
    )
    if run.parent is not None:
        run_id, step = run.parent
        message.branch_point.CopyFrom(BranchPoint(run=run_id, value=step, metric="_step"))
        own = {"branch_point": {"run_id": run_id, "step": step}}  # which the server is told
        message.config.update.extend(_items({"_wandb": own}))
    message.config.update.extend(_items(run.config))
    return message


def _items(values: Mapping[str, Any]) -> list[Item]:
    return [Item(key=_text(key), value_json=json.dumps(value)) for key, value in values.items()]


def _metric(definition: Mapping[str, Any]) -> Metric:
    name, step_metric = definition["name"], definition["step_metric"]
    is_glob = any(sign in name for sign in _GLOB_SIGNS)
    asked = set(definition["summary"].split(","))
    if "best" in asked:  # which clients of today no longer know
        asked.add("max" if definition["goal"] == "maximize" else "min")
    return Metric(
        name="" if is_glob else name,
        glob_name=name if is_glob else "",
        step_metric=step_metric,
        options=MetricOptions(
            step_sync=bool(step_metric), hidden=bool(definition["hidden"]), defined=True
        ),
        summary=MetricSummary(**dict.fromkeys(asked & _SUMMARIES, True)),
        goal=_GOALS.get(definition["goal"], 0),
    )


def _history(row: Mapping[str, Any]) -> History:
    items = [HistoryItem(key=_name(name), value_json=_json(value)) for name, value in row.items()]
    return History(item=items, step=HistoryStep(num=row["_step"]))


def _stats(sample: Mapping[str, Any]) -> Stats:
    items = [
        StatsItem(key=_text(name.removeprefix(_SYSTEM_PREFIX)), value_json=json.dumps(value))
        for name, value in sample.items()
        if not name.startswith("_")
    ]
    return Stats(timestamp=_timestamp(sample["_timestamp"]), item=items)


def _output(line: WrittenLine) -> Output:
    return Output(
        output_type=_STDERR if line.is_error else _STDOUT,
        timestamp=_timestamp(line.at),
        line=_text(line.text) + "\n",
    )


def _file(path: str) -> Files:
    kind = _TYPE_MEDIA if path.startswith(_MEDIA_FOLDER) else _TYPE_ANY
    return Files(files=[FilesItem(path=_text(path), policy=_POLICY_NOW, type=kind)])


def _timestamp(at: float) -> Timestamp:
    fraction, seconds = math.modf(at)
    return Timestamp(seconds=int(seconds), nanos=int(fraction * _NANOS))


def _json(value: Any) -> str:
    """As `json.dumps`, which takes longest for what there is most of."""
    if type(value) is float and math.isfinite(value):
        return repr(value)
    return json.dumps(value)


@lru_cache(maxsize=_NAMES_KEPT)
def _name(name: str) -> str:
    return _text(name)


def _text(text: str) -> str:
    """What a protobuf text can hold: no lone surrogates, which JSON values keep."""
    return text.encode("utf-8", "backslashreplace").decode()
