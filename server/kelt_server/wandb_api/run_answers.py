"""A run as wandb's clients want it told, out of RUN of the read API. Pure."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from kelt_proto.v1.rows import ColumnKind
from kelt_server.branch_names import Name
from kelt_server.errors import BadRequestError
from kelt_server.metrics.store import MetricKind
from kelt_server.wandb_api.summaries import nested

_FLOATS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
PROJECT_DEFAULT = "uncategorized"
_ROW_FIELDS = ("_step", "_timestamp", "_runtime")


def storage_id(name: Name) -> str:
    """By what a client names a run when it changes one."""
    return base64.urlsafe_b64encode(json.dumps(["run", *name]).encode()).decode()


def named_by(said: str) -> Name:
    """The name in a `storage_id`.

    Raises:
        BadRequestError: it is none of ours.
    """
    kind, *parts = _decoded(said)
    if kind != "run" or len(parts) != 3:  # noqa: PLR2004 # entity, project, run
        raise BadRequestError(f"{said!r} names no run of this server")
    entity, project, run_id = parts
    return entity, project, run_id


def file_id(name: Name, file: str) -> str:
    """By what a client names a file when it deletes one."""
    return base64.urlsafe_b64encode(json.dumps(["file", *name, file]).encode()).decode()


def file_named_by(said: str) -> tuple[Name, str]:
    """The run and the file in a `file_id`.

    Raises:
        BadRequestError: it is none of ours.
    """
    kind, *parts = _decoded(said)
    if kind != "file" or len(parts) != 4:  # noqa: PLR2004 # entity, project, run, file
        raise BadRequestError(f"{said!r} names no file of this server")
    entity, project, run_id, file = parts
    return (entity, project, run_id), file


def _decoded(said: str) -> list[str]:
    """The texts in an id; none of ours has fewer than one."""
    try:
        parts = json.loads(base64.urlsafe_b64decode(said))
    except (ValueError, TypeError, binascii.Error):
        parts = None
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        return [""]
    return parts or [""]


def bare(value: Any) -> Any:
    """The value with what the read API writes for not-a-number and infinities taken back."""
    if isinstance(value, dict):
        if value.keys() == {"$float"} and isinstance(value["$float"], str):
            return _FLOATS.get(value["$float"], value)
        return {key: bare(item) for key, item in value.items()}
    return [bare(item) for item in value] if isinstance(value, list) else value


def strict(value: Any) -> Any:
    """The value as strict JSON has it: not-a-number and infinities as texts, as wandb does."""
    if isinstance(value, dict):
        if value.keys() == {"$float"}:
            return value["$float"]
        return {key: strict(item) for key, item in value.items()}
    return [strict(item) for item in value] if isinstance(value, list) else value


def run_fields(run: Mapping[str, Any], project_id: int) -> dict[str, Any]:
    """What can be said of a run at once; what must be read is the resolvers'."""
    name = run["entity"], run["project"], run["run_id"]
    summary = bare(run["summary"])
    last = {key: summary[key] for key in _ROW_FIELDS if key in summary}
    return {
        "id": storage_id(name),
        "name": run["run_id"],
        "projectId": str(project_id),
        "displayName": run["name"],
        "description": run["notes"] or None,
        "notes": run["notes"] or None,
        "sweepName": None,
        "state": run["state"],
        "group": run["group"] or None,
        "jobType": run["job_type"] or None,
        "commit": None,
        "readOnly": False,
        "stopped": run["is_asked_to_stop"],
        "host": run["host"],
        "createdAt": iso(run["created_at"]),
        "heartbeatAt": iso(run["heartbeat_at"] or run["created_at"]),
        "updatedAt": iso(run["heartbeat_at"] or run["created_at"]),
        "tags": list(run["tags"]),
        "config": _config(run),
        "wandbConfig": json.dumps({"t": {}}),
        "summaryMetrics": json.dumps(nested(summary)),
        "historyLineCount": run["rows"],
        "historyTail": json.dumps([json.dumps(last)] if run["rows"] else []),
        "user": {"id": run["entity"], "name": run["entity"], "username": run["entity"]},
        "project": project_fields(run["entity"], run["project"]),
    }


def project_fields(entity: str, project: str) -> dict[str, Any]:
    """A project, as far as kelt knows of one."""
    return {
        "id": base64.urlsafe_b64encode(json.dumps(["project", entity, project]).encode()).decode(),
        "internalId": str(project_number(entity, project)),
        "name": project,
        "entityName": entity,
        "readOnly": False,
        "entity": {"id": entity, "name": entity},
    }


def project_number(entity: str, project: str) -> int:
    """A number for a project, which clients want; kelt's have none."""
    return zlib.crc32(json.dumps([entity, project]).encode())


def history_keys(kinds: Sequence[MetricKind], run: Mapping[str, Any]) -> dict[str, Any]:
    """What metrics a history has, and how many values of which types, in wandb's words."""
    keys: dict[str, dict[str, Any]] = {}
    for found in kinds:
        key = keys.setdefault(found.metric, {"typeCounts": [], "monotonic": False})
        of_type = _TYPES.get(found.kind, "number")
        if found.kind == ColumnKind.JSON:
            of_type = _JSON_TYPES.get(found.first_char, "number")
        counts = key["typeCounts"]
        same = next((count for count in counts if count["type"] == of_type), None)
        if same is None:
            counts.append({"type": of_type, "count": found.number})
        else:
            same["count"] += found.number
    for field in _ROW_FIELDS:
        keys[field] = {
            "typeCounts": [{"type": "number", "count": run["rows"]}],
            "monotonic": field == "_step",
        }
    return {"sets": [], "keys": keys, "lastStep": run["last_step"]}


_TYPES: Mapping[int, str] = {
    ColumnKind.FLOAT: "number", ColumnKind.INT: "number", ColumnKind.BOOL: "boolean",
    ColumnKind.NONE: "nil", ColumnKind.TEXT: "string",
}  # fmt: skip
#: By how the value is written; others are integers that take more than 64 bits.
_JSON_TYPES = {"[": "list", "{": "map"}


def iso(seconds: float) -> str:
    """A time as clients read it."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _config(run: Mapping[str, Any]) -> str:
    said = {key: {"value": value, "desc": None} for key, value in bare(run["config"]).items()}
    steps = [d for d in run["definitions"] if d["step_metric"] or d["summary"] or d["hidden"]]
    if steps:
        said["_wandb"] = {"value": {"m": _metrics(steps)}, "desc": None}
    return json.dumps(said)


_NUMBERS = {"min": 1, "max": 2, "mean": 3, "best": 4, "last": 5, "none": 6, "first": 8}


def _metrics(definitions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for said in definitions:
        key = "2" if any(sign in said["name"] for sign in "*?[") else "1"
        metric: dict[str, Any] = {key: said["name"], "6": [2] if said["hidden"] else []}
        if said["step_metric"]:
            metric["4"] = said["step_metric"]
        numbers = [_NUMBERS[word] for word in said["summary"].split(",") if word in _NUMBERS]
        if numbers:
            metric["7"] = numbers
        found.append(metric)
    return found
