"""wandb's words for what runs are asked by, into those of the read API. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from kelt_server import filters
from kelt_server.errors import BadRequestError

#: `name` is the run id there, and what kelt calls the name is for display.
_NAMES = {"name": "run_id", "displayName": "name", "display_name": "name", "jobType": "job_type"}
_TIMES = ("created_at", "createdAt", "heartbeat_at", "heartbeatAt", "started_at")
_DEPTH_MAX = 64


def parse_filters(text: object) -> filters.Test:
    """The test in a client's filters.

    Raises:
        BadRequestError: it is none.
    """
    if not isinstance(text, str) or not text.strip():
        return filters.parse_filter("")
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"the filters are not JSON: {error}") from error
    return filters.parse_filter(json.dumps(_translated(said, 0)))


def parse_order(text: object) -> Callable[[Any], list[Any]]:
    """The sort in a client's order; the oldest first where it gives none.

    Raises:
        BadRequestError: a path that runs do not have.
    """
    if not isinstance(text, str) or not text.strip():
        text = "+created_at"
    parts = []
    for part in text.split(","):
        sign = part[0] if part[:1] in ("+", "-") else ""
        parts.append(sign + _path(part[len(sign) :].strip()))
    return filters.parse_order(",".join(parts))


def _translated(said: Any, depth: int) -> Any:
    if depth > _DEPTH_MAX:
        raise BadRequestError(f"the filters are nested more than {_DEPTH_MAX} deep")
    if isinstance(said, list):
        return [_translated(item, depth + 1) for item in said]
    if not isinstance(said, dict):
        return said
    found = {}
    for key, value in said.items():
        if key.startswith("$"):
            found[key] = _translated(value, depth + 1)
        else:
            found[_path(key)] = _times(value) if key in _TIMES else value
    return found


def _path(path: str) -> str:
    if path.startswith("config.") and path.endswith(".value"):
        path = path.removesuffix(".value")
    elif path.startswith("config.") and ".value." in path:
        path = path.replace(".value.", ".", 1)
    return _NAMES.get(path, path)


def _times(value: Any) -> Any:
    """Times as clients write them, in seconds."""
    if isinstance(value, dict):
        return {key: _times(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_times(item) for item in value]
    if not isinstance(value, str):
        return value
    try:
        at = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        return value
    return (at if at.tzinfo else at.replace(tzinfo=timezone.utc)).timestamp()
