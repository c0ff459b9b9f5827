"""Query parameters, checked: each fault is one sentence that names the parameter."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from starlette.datastructures import QueryParams

from kelt_server.errors import BadRequestError

_STEP_BOUND = 2**61
_FRACTIONS_MAX = 20


def known(params: QueryParams, names: Collection[str]) -> None:
    """Refuses parameters that nobody reads: a typing mistake would pass for an answer."""
    for name in params:
        if name not in names:
            raise BadRequestError(
                f"there is no parameter {name!r} here; known are {', '.join(sorted(names))}"
            )


def whole(params: Mapping[str, str], name: str, default: int, *, lowest: int, highest: int) -> int:
    """A whole number within bounds."""
    found = optional_step(params, name)
    if found is None:
        return default
    if not lowest <= found <= highest:
        raise BadRequestError(f"{name}={found} is not from {lowest} to {highest}")
    return found


def optional_step(params: Mapping[str, str], name: str) -> int | None:
    """A whole number, or None where it is not given."""
    text = params.get(name, "")
    if not text:
        return None
    try:
        found = int(text)
    except ValueError:
        raise BadRequestError(f"{name}={text!r} is not a whole number") from None
    return max(-_STEP_BOUND, min(found, _STEP_BOUND))


def keys(params: QueryParams) -> list[str]:
    """The keys asked for: `keys=a,b` or `keys=a&keys=b`, and `key=a`, which may hold commas."""
    return several(params, one="key", joined="keys")


def several(params: QueryParams, *, one: str, joined: str) -> list[str]:
    """Texts given one by one, or as lists joined by commas."""
    found = [text for given in params.getlist(joined) for text in given.split(",")]
    found += params.getlist(one)
    return [text for text in dict.fromkeys(found) if text]


def fractions(params: QueryParams, name: str, default: Sequence[float]) -> tuple[float, ...]:
    """Numbers from 0 to 1, joined by commas."""
    text = params.get(name, "")
    try:
        found = tuple(float(part) for part in text.split(",")) if text else tuple(default)
    except ValueError:
        found = (math.nan,)
    if len(found) > _FRACTIONS_MAX or not all(0 <= fraction <= 1 for fraction in found):
        raise BadRequestError(
            f"{name}={text!r} is no list of at most {_FRACTIONS_MAX} numbers from 0 to 1"
        )
    return found


def is_arrow(params: Mapping[str, str]) -> bool:
    """Whether Arrow is asked for."""
    wanted = params.get("format", "json")
    if wanted not in ("json", "arrow"):
        raise BadRequestError(f"format={wanted!r} is not known; ask for json or arrow")
    return wanted == "arrow"


def is_system(params: Mapping[str, str]) -> bool:
    """Whether system samples are asked for, not rows of the history."""
    wanted = params.get("stream", "default")
    if wanted not in ("default", "system"):
        raise BadRequestError(f"stream={wanted!r} is not known; ask for default or system")
    return wanted == "system"
