"""Which values of a client's summary are kept by hand: what the rows do not come to. Pure.

The client sends its whole summary again and again. Most of it are last values, which kelt works out
of the rows itself. A value of a metric that has rows is compared when the session ends, for until
then it may be ahead of the rows that came with it; others are kept at once, unless the summary
tells of a row that has not come.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from kelt_server.wandb_api.history_lines import INTERNAL_KEYS, ROW_KEYS, Stamp, flatten, name_fault


def digest(value: object) -> str:
    """By what a value is known again."""
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=8).hexdigest()


def values_of(summary: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The user's values, flattened, and why some cannot be kept."""
    said = {k: v for k, v in summary.items() if k not in INTERNAL_KEYS and k not in ROW_KEYS}
    found, faults = {}, []
    for name, value in flatten(said):
        fault = name_fault(name)
        if fault:
            faults.append(fault)
        else:
            found[name] = value
    return found, faults


def is_ahead(summary: Mapping[str, Any], last_row: Stamp | None) -> bool:
    """Whether a summary has in it what a row will bring that has not come: it tells its time."""
    at = summary.get("_timestamp")
    return isinstance(at, int | float) and (last_row is None or at > last_row[1])


def differing(said: Mapping[str, Any], resolved: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a run's summary does not have."""
    return {
        key: value
        for key, value in said.items()
        if key not in resolved or not is_same(value, resolved[key])
    }


def is_same(one: object, other: object) -> bool:
    """Whether two values out of JSON are one. 1 is 1.0; NaN is NaN, which some write as null."""
    if one is None and isinstance(other, float):
        return math.isnan(other)
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    if isinstance(one, dict | list) or isinstance(other, dict | list):
        return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    return one == other


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """As wandb's clients have it: what was joined with dots is nested again where it was by hand.

    Keys with dots are only nested where wandb itself does: minimum, maximum, mean and their like
    of a metric.
    """
    found: dict[str, Any] = {k: v for k, v in flat.items() if not _parent(k, flat)}
    for key, value in flat.items():
        parent = _parent(key, flat)
        if parent:
            of_metric = found.get(parent)
            inner = of_metric if isinstance(of_metric, dict) else {}
            found[parent] = {**inner, key[len(parent) + 1 :]: value}
    return found


_WORDS = ("min", "max", "mean", "best", "last", "first")


def _parent(key: str, flat: Mapping[str, Any]) -> str:
    parent, _, word = key.rpartition(".")
    return parent if parent and word in _WORDS and parent in flat else ""
