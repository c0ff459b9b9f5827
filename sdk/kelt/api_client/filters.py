"""Filters as the read API takes them: MongoDB's manner, with times as Unix seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from kelt.api_client.errors import QueryError
from kelt.api_client.json_values import encode_json

_TIMES = frozenset({"created_at", "started_at", "heartbeat_at"})


def encode_filters(filters: Mapping[str, Any]) -> str:
    """The `filters` argument of a route.

    Times may be given as people write them: `datetime` objects or ISO 8601 texts (UTC where they
    name no zone).

    Raises:
        QueryError: these are no filters, or a time cannot be read; the message names it.
    """
    if not isinstance(filters, Mapping):
        raise QueryError(
            f'filters is {filters!r}; give a dict of conditions, such as {{"state": "failed"}}.'
        )
    return encode_json({key: _condition(key, value) for key, value in filters.items()})


def unix_seconds(value: str | datetime) -> float:
    """A time as Unix seconds.

    Raises:
        QueryError: the text is not an ISO 8601 time.
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError:
            raise QueryError(
                f"{value!r} is not a time. Write it as 2026-01-31 or 2026-01-31T12:00:00."
            ) from None
    if value.tzinfo is None:
        value = value.replace(tzinfo=timezone.utc)
    return value.timestamp()


def iso_time(seconds: float | None) -> str | None:
    """Unix seconds as an ISO 8601 text in UTC, or None where there is no time."""
    if seconds is None or not math.isfinite(seconds):
        return None
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _condition(key: str, value: Any) -> Any:
    if key in {"$and", "$or", "$nor"} and isinstance(value, list | tuple):
        return [
            {k: _condition(k, v) for k, v in part.items()} if isinstance(part, Mapping) else part
            for part in value
        ]
    return _time_operand(value) if key in _TIMES else value


def _time_operand(value: Any) -> Any:
    if isinstance(value, str | datetime):
        return unix_seconds(value)
    if isinstance(value, Mapping):
        return {operator: _time_operand(operand) for operator, operand in value.items()}
    if isinstance(value, list | tuple):
        return [_time_operand(item) for item in value]
    return value
