"""What clients give as arguments, taken for what it is. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphql import Undefined

from kelt_server.errors import BadRequestError

_CURSOR_CHARS_MAX = 16
_STEP_END = 2**62


def given(said: Mapping[str, Any]) -> dict[str, Any]:
    """What was said at all."""
    return {key: value for key, value in said.items() if value is not Undefined}


def input_of(said: Mapping[str, Any]) -> dict[str, Any]:
    """The input of a mutation."""
    found = said.get("input")
    return given(found) if isinstance(found, dict) else {}


def text(said: object) -> str:
    """A text, or none."""
    return said if isinstance(said, str) else ""


def json_of(said: str, what: str) -> Any:
    """What a text of JSON says.

    Raises:
        BadRequestError: it is none.
    """
    try:
        return json.loads(said)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"the {what} is not JSON: {error}") from error


def step(said: object) -> int | None:
    """A step, or none."""
    return int(said) if isinstance(said, int | float) and abs(said) < _STEP_END else None


def limit(said: object, default: int, most: int) -> int:
    """How many are wanted, as far as that is allowed."""
    if isinstance(said, bool) or not isinstance(said, int):
        return default
    return max(1, min(said, most))


def cursor(said: object) -> int:
    """How many to skip."""
    return (
        int(said)
        if isinstance(said, str) and said.isdecimal() and len(said) < _CURSOR_CHARS_MAX
        else 0
    )


def connection(
    nodes: Sequence[Any],
    *,
    start: int,
    total: int,
    edge: Callable[[Any], dict[str, Any]] = lambda node: {"node": node},
) -> dict[str, Any]:
    """A page of a list, `start` being how many were skipped."""
    edges = [{**edge(node), "cursor": str(index)} for index, node in enumerate(nodes, start + 1)]
    return {
        "totalCount": total,
        "edges": edges,
        "pageInfo": {
            "endCursor": edges[-1]["cursor"] if edges else None,
            "hasNextPage": start + len(edges) < total,
        },
    }
