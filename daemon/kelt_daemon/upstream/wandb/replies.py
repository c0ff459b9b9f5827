"""What a W&B server answers, taken into a `CarriedRun`: pure.

Answers are foreign: whatever is not as it should be raises one of `UNREADABLE`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kelt_daemon.upstream.wandb.carried_run import CarriedRun
from kelt_daemon.upstream.wandb.history_lines import STEP
from kelt_daemon.upstream.wandb.run_config import values_of
from kelt_proto.v1.record_pb2 import RunInfo
from kelt_proto.v1.upstream_pb2 import DescribeRunReply, DescribeRunRequest

#: What reading an answer may raise.
UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, RecursionError)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a run stands on the server."""

    storage_id: str
    name: str
    entity: str
    line_count: int
    event_count: int
    console_count: int
    last_step: int
    runtime_s: float
    summary: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    metrics: list[dict[str, Any]] = field(default_factory=list)


def read_standing(data: Mapping[str, Any]) -> Standing | None:
    """The answer to RunResumeStatus; None where there is no such run."""
    model = data["model"]
    bucket = None if model is None else model["bucket"]
    if bucket is None:
        return None
    tail = [json.loads(line) for line in json.loads(bucket["historyTail"] or "[]")]
    last = tail[-1] if tail else {}
    config, metrics = values_of(json.loads(bucket["config"] or "{}"))
    summary = json.loads(bucket["summaryMetrics"] or "{}")
    return Standing(
        storage_id=str(bucket["id"]),
        name=str(bucket.get("displayName") or ""),
        entity=str(model["entity"]["name"]) if model.get("entity") else "",
        line_count=int(bucket["historyLineCount"] or 0),
        event_count=int(bucket.get("eventsLineCount") or 0),
        console_count=int(bucket.get("logLineCount") or 0),
        last_step=int(last.get(STEP, -1)),
        runtime_s=float(last.get("_runtime", 0.0)),
        summary={key: value for key, value in summary.items() if not key.startswith("_")},
        config=config,
        metrics=metrics,
    )


def describe(
    request: DescribeRunRequest, standing: Standing | None, default_entity: str
) -> DescribeRunReply:
    """It, as the daemon's callers ask for it."""
    if standing is None:
        return DescribeRunReply(exists=False)
    return DescribeRunReply(
        exists=True,
        entity=standing.entity or request.entity or default_entity,
        project=request.project,
        run_id=request.run_id,
        branch_id=standing.storage_id,
        last_step=standing.last_step,
        info=RunInfo(name=standing.name),
        config_json=json.dumps(standing.config),
        summary_json=json.dumps(standing.summary),
        runtime=standing.runtime_s,
    )


def take_standing(run: CarriedRun, standing: Standing, *, is_relative: bool) -> None:
    """The session goes on there."""
    run.storage_id, run.next_line = standing.storage_id, standing.line_count
    run.next_event, run.console_base = standing.event_count, standing.console_count
    run.base_step = standing.last_step + 1 if is_relative else 0
    run.config = {**standing.config, **run.config}
    run.metrics, run.inherited_summary = standing.metrics, standing.summary


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Where files go, by name; without any, `problem` says why."""

    urls: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    problem: str = ""


def read_addresses(data: Mapping[str, Any]) -> Addresses:
    """The answer to CreateRunFiles."""
    made = data["createRunFiles"]
    return Addresses(
        urls={str(file["name"]): str(file["uploadUrl"]) for file in made["files"]},
        headers=read_headers(made.get("uploadHeaders")),
    )


def read_headers(lines: Iterable[str] | None) -> dict[str, str]:
    """What is to go along with a file, of which there are lines."""
    pairs = [line.split(":", 1) for line in lines or ()]
    return {name.strip(): value.strip() for name, value in pairs}


def take_rewound(run: CarriedRun, data: Mapping[str, Any]) -> None:
    """The answer to RewindRun: so many lines are left."""
    bucket = data["rewindRun"]["rewoundRun"]
    run.next_line = int(bucket["historyLineCount"])
    run.storage_id = str(bucket.get("id") or run.storage_id)
    config, metrics = values_of(json.loads(bucket.get("config") or "{}"))
    run.config, run.metrics = {**config, **run.config}, metrics or run.metrics


def take_upserted(run: CarriedRun, data: Mapping[str, Any], *, inherits: bool) -> None:
    """The answer to UpsertBucket: how the server calls the run.

    Args:
        run: the run.
        data: the answer.
        inherits: whether it says, too, how many lines are a parent's.
    """
    bucket = data["upsertBucket"]["bucket"]
    project = bucket["project"]
    run.storage_id = str(bucket.get("id") or run.storage_id)
    run.run_id, run.project = str(bucket["name"]), str(project["name"])
    run.entity = str(project["entity"]["name"])
    if inherits:
        run.next_line = int(bucket["historyLineCount"])
    run.is_begun, run.config_due, run.facts_due = True, False, {}
