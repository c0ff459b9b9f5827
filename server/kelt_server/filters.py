"""Which runs, and in what order: MongoDB's operators over RUN of the read API. Pure.

Who asks chooses the patterns of `$regex`. So they are RE2's, of pyarrow, whose time grows with the
text alone: Python's `re` takes years for some, and no other thread runs meanwhile.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute

from kelt_server.errors import BadRequestError
from kelt_server.values import plain

Run = Mapping[str, Any]
Test = Callable[[Run], bool]

FIELDS = (
    "state", "reason", "name", "display_name", "run_id", "immutable_id", "entity", "project",
    "created_at", "started_at", "heartbeat_at", "runtime", "rows", "last_step", "tags", "group",
    "job_type", "notes", "host", "lost_rows",
)  # fmt: skip
_ALIASES = {"id": "run_id", "display_name": "name", "summary_metrics": "summary",
            "createdAt": "created_at", "heartbeatAt": "heartbeat_at", "jobType": "job_type",
            "username": "entity"}  # fmt: skip
#: Nesting of $and, $or, $nor and $not.
DEPTH_MAX = 32
#: Of a filter, each part of which is tried on each run.
_CHARS_MAX = 64 * 1024
_REGEX_MAX = 1000
_REGEX_VALUE_MAX = 10_000


class _Missing:
    """There is no such value; it equals nothing and has no order."""


MISSING = _Missing()


def parse_filter(text: str) -> Test:
    """A test from the JSON of a filter.

    Raises:
        BadRequestError: it is not one.
    """
    if not text.strip():
        return lambda _run: True
    if len(text) > _CHARS_MAX:
        raise BadRequestError(f"filters has more than {_CHARS_MAX} characters; ask in parts")
    try:
        query = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"filters is not JSON ({error}); write it as {_EXAMPLE}") from error
    return _all_of(query, 0)


def parse_order(text: str) -> Callable[[Iterable[Run]], list[Run]]:
    """A sort from `-created_at`, or several of its kind joined by commas.

    Raises:
        BadRequestError: a path that runs do not have.
    """
    keys = []
    for part in (part.strip() for part in text.split(",")):
        if part:
            path = part[1:] if part[0] in "+-" else part
            keys.append((path_of(path), part[0] == "-"))

    def sort(runs: Iterable[Run]) -> list[Run]:
        ordered = list(runs)
        for path, is_descending in reversed(keys):
            found = [(look_up(run, path), run) for run in ordered]
            present = [pair for pair in found if _has_order(pair[0])]
            absent = [run for value, run in found if not _has_order(value)]
            kinds = {type(value) for value, _ in present}
            if kinds <= {int, float, bool} or kinds <= {str}:  # Python orders these by itself
                present.sort(key=_value_of, reverse=is_descending)
            else:
                present.sort(key=lambda pair: _rank(pair[0]), reverse=is_descending)
            ordered = [run for _, run in present] + absent
        return ordered

    return sort


#: What names a run, in every answer.
IDENTITY = ("entity", "project", "run_id", "immutable_id", "name")


def parse_columns(columns: Sequence[str]) -> Callable[[Run], dict[str, Any]]:
    """What is left of a run: what names it, and these paths. Without any, all of it.

    Values of config and summary stay in their objects, under the path as it was asked for.

    Raises:
        BadRequestError: a path that runs do not have.
    """
    paths = [path_of(column) for column in columns]
    if not paths:
        return dict

    def picked(run: Run) -> dict[str, Any]:
        found = {field: run[field] for field in IDENTITY}
        for path in paths:
            value = look_up(run, path)
            if len(path) == 1:
                found[path[0]] = value
                continue
            part = found.setdefault(path[0], {})
            if value is not MISSING:
                part[".".join(path[1:])] = plain(value)
        return found

    return picked


def look_up(run: Run, path: Sequence[str]) -> Any:
    """The value at a path. Keys may hold dots themselves: the longest match goes first."""
    head = run.get(path[0], MISSING)
    if len(path) == 1:
        return _number(head)
    key = path[1] if len(path) == 2 else ".".join(path[1:])  # noqa: PLR2004 # most have no dot
    if isinstance(head, dict) and key in head:  # as most are found, without a search
        return _number(head[key])
    return _search(run, path)


def _search(run: Run, path: Sequence[str]) -> Any:
    value: Any = run
    parts = list(path)
    while parts:
        if not isinstance(value, Mapping):
            return MISSING
        for length in range(len(parts), 0, -1):
            key = ".".join(parts[:length])
            if key in value:
                value, parts = value[key], parts[length:]
                break
        else:
            if parts == ["value"] and path[0] == "config":
                return value  # W&B keeps config values one level down
            return MISSING
        if parts == ["value"] and path[0] == "config" and not isinstance(value, Mapping):
            return _number(value)
    return _number(value)


_EXAMPLE = '{"config.lr": {"$gt": 0.1}, "state": "finished"}'


def _number(value: Any) -> Any:
    """A float that JSON cannot hold comes written out (`kelt_server.values`)."""
    if isinstance(value, dict) and set(value) == {"$float"}:
        return float(value["$float"])
    return value


def path_of(path: str) -> tuple[str, ...]:
    """A path, checked.

    Raises:
        BadRequestError: runs do not have it.
    """
    head, *rest = path.split(".")
    head = _ALIASES.get(head, head)
    if head in ("config", "summary"):
        if not rest:
            raise BadRequestError(f"{path!r} names no value; write it as {head}.NAME")
    elif head not in FIELDS or rest:
        known = ", ".join(FIELDS)
        raise BadRequestError(
            f"runs have no {path!r}; filter and order by config.NAME, summary.NAME or {known}"
        )
    return head, *rest


def _all_of(query: Any, depth: int) -> Test:
    if not isinstance(query, dict):
        raise BadRequestError(f"a filter is an object, not {query!r}; write it as {_EXAMPLE}")
    if depth > DEPTH_MAX:
        raise BadRequestError(f"a filter nests at most {DEPTH_MAX} deep; make it flatter")
    tests = [_clause(key, operand, depth) for key, operand in query.items()]
    return _every(tests)


def _every(tests: Sequence[Callable[[Any], bool]]) -> Callable[[Any], bool]:
    if len(tests) == 1:
        return tests[0]
    return lambda value: all(test(value) for test in tests)


def _clause(key: str, operand: Any, depth: int) -> Test:
    if key in ("$and", "$or", "$nor"):
        if not isinstance(operand, list):
            raise BadRequestError(f"{key} takes a list of filters, not {operand!r}")
        tests = [_all_of(query, depth + 1) for query in operand]
        if key == "$and":
            return lambda run: all(test(run) for test in tests)
        if key == "$or":
            return lambda run: any(test(run) for test in tests)
        return lambda run: not any(test(run) for test in tests)
    if key == "$not":
        inner = _all_of(operand, depth + 1)
        return lambda run: not inner(run)
    if key.startswith("$"):
        raise BadRequestError(f"unknown operator {key!r}; known are {_known()}")
    path = path_of(key)
    test = _value_test(operand, depth)
    return lambda run: test(look_up(run, path))


def _value_test(operand: Any, depth: int) -> Callable[[Any], bool]:
    if not isinstance(operand, dict) or not any(key.startswith("$") for key in operand):
        return lambda value: _equal(value, operand)
    if set(operand) == {"$float"}:
        return lambda value: _equal(value, _number(operand))
    tests = [_operator(name, wanted, depth) for name, wanted in operand.items()]
    return _every(tests)


def _operator(name: str, operand: Any, depth: int) -> Callable[[Any], bool]:
    if name == "$not":
        inner = _value_test(operand, depth + 1)
        return lambda value: not inner(value)
    if name in ("$in", "$nin"):
        if not isinstance(operand, list):
            raise BadRequestError(f"{name} takes a list, not {operand!r}")
        wanted = [_number(item) for item in operand]
        is_in = name == "$in"
        return lambda value: any(_equal(value, item) for item in wanted) == is_in
    if name == "$regex":
        return _regex(operand)
    operand = _number(operand)
    made = _OPERATORS.get(name)
    if made is None:
        raise BadRequestError(f"unknown operator {name!r}; known are {_known()}")
    return lambda value: made(value, operand)


def _regex(operand: Any) -> Callable[[Any], bool]:
    if not isinstance(operand, str) or len(operand) > _REGEX_MAX:
        raise BadRequestError(f"$regex takes a text of at most {_REGEX_MAX} characters")
    pattern = _storable(operand)

    def matches(value: Any) -> bool:
        values = value if isinstance(value, list) else [value]
        texts = [_storable(v[:_REGEX_VALUE_MAX]) for v in values if isinstance(v, str)]
        found = pa.compute.match_substring_regex(pa.array(texts, pa.string()), pattern)
        return any(found.to_pylist())

    try:
        matches([""])
    except pa.ArrowInvalid as error:
        raise BadRequestError(f"{operand!r} is not a regular expression of RE2: {error}") from error
    return matches


def _storable(text: str) -> str:
    """A text without halves of surrogate pairs, which are no UTF-8."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def _equal(value: Any, wanted: Any) -> bool:
    """As MongoDB: a list matches by itself or by an item; None matches what is not there."""
    if value is MISSING:
        return wanted is None
    if isinstance(value, list) and not isinstance(wanted, list):
        return any(_equal(item, wanted) for item in value)
    if isinstance(value, bool) != isinstance(wanted, bool):
        return False
    if isinstance(value, float) and isinstance(wanted, float) and math.isnan(wanted):
        return math.isnan(value)
    return bool(value == wanted)


def _compare(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compare(value: Any, operand: Any) -> bool:
        if isinstance(value, list):
            return any(compare(item, operand) for item in value)
        both_numbers = _is_number(value) and _is_number(operand)
        both_texts = isinstance(value, str) and isinstance(operand, str)
        return (both_numbers or both_texts) and test(value, operand)

    return compare


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _exists(value: Any, operand: Any) -> bool:
    return (value is not MISSING) == bool(operand)


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": _equal,
    "$ne": lambda value, operand: not _equal(value, operand),
    "$gt": _compare(lambda value, operand: value > operand),
    "$gte": _compare(lambda value, operand: value >= operand),
    "$lt": _compare(lambda value, operand: value < operand),
    "$lte": _compare(lambda value, operand: value <= operand),
    "$exists": _exists,
}


def _value_of(pair: tuple[Any, Run]) -> Any:
    return pair[0]


def _known() -> str:
    return ", ".join(["$and", "$or", "$nor", "$not", "$in", "$nin", "$regex", *_OPERATORS])


def _has_order(value: Any) -> bool:
    if isinstance(value, float) and math.isnan(value):
        return False
    return isinstance(value, bool | int | float | str | list)


def _rank(value: Any) -> tuple[int, Any]:
    """Kinds apart, since Python does not order them."""
    if isinstance(value, int | float):
        return 0, value
    return (1, value) if isinstance(value, str) else (2, json.dumps(value))
