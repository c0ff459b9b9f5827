"""The types of a table's columns, as W&B's client finds them and writes them. Pure.

A type is its document: `{"wb_type": "number"}`, with `params` where it has some. A column's begins
as "nothing known, or None" and grows with each cell; cells that no type has room for together (a
number and a text) make it `any`, where that client refuses the row.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

Document = dict[str, Any]

NONE: Final[Document] = {"wb_type": "none"}
UNKNOWN: Final[Document] = {"wb_type": "unknown"}
ANY: Final[Document] = {"wb_type": "any"}
NUMBER: Final[Document] = {"wb_type": "number"}
_INVALID: Final[Document] = {"wb_type": "invalid"}
_BY_CLASS: Final[Mapping[type, Document]] = {
    type(None): NONE,
    str: {"wb_type": "string"},
    int: NUMBER,
    float: NUMBER,
    bool: {"wb_type": "boolean"},
    dt.datetime: {"wb_type": "timestamp"},
    dt.date: {"wb_type": "timestamp"},
}
#: Of NumPy's scalars, by `dtype.kind`.
_BY_KIND: Final[Mapping[str, Document]] = {
    "b": _BY_CLASS[bool],
    "i": NUMBER,
    "u": NUMBER,
    "f": NUMBER,
    "c": NUMBER,
    "M": _BY_CLASS[dt.date],
}
#: Another cell of these Python types changes nothing in a column that has one.
_PLAIN: Final = (str, int, bool)
_LISTS: Final = (list, tuple, set, frozenset)

#: Says the type of an object that is no plain value; None of what it does not know.
TypeOfObject = Callable[[Any], Document | None]


def column_type(
    cells: Iterable[Any], of_object: TypeOfObject, *, is_optional: bool = True
) -> Document:
    """The type of a column that has these cells.

    Args:
        cells: from the first row on.
        of_object: knows media.
        is_optional: whether a cell may be None.
    """
    known = optional(UNKNOWN) if is_optional else UNKNOWN
    seen: set[type] = set()
    for cell in cells:
        kind = type(cell)
        if kind in seen:
            continue
        found = grown(known, cell, of_object)
        if found is None:
            return optional(ANY) if is_optional else ANY
        known = found
        if kind in _PLAIN:
            seen.add(kind)
    return known


def optional(found: Document) -> Document:
    """The type, or None."""
    return _union([found, NONE])


def grown(known: Document, value: Any, of_object: TypeOfObject) -> Document | None:
    """A type that has room for one value more; None where no type has."""
    if (inside := _GROWN.get(known["wb_type"])) is not None:
        return inside(known, value, of_object)
    found = type_of(value, of_object)
    match known["wb_type"], found["wb_type"]:
        case "unknown", kind:
            return None if kind == "none" else found
        case "any", kind:
            return None if kind == "none" else known
        case "image-file", "image-file":
            return _merged_images(known, found)
        case _:
            return known if found == known else None


def type_of(value: Any, of_object: TypeOfObject) -> Document:
    """The type of one value."""
    kind = type(value)
    if kind is float and math.isnan(value):
        return NONE
    if kind in _LISTS:
        return _type_of_list(list(value), of_object)
    if kind is dict:
        return _typed_dict({key: type_of(item, of_object) for key, item in value.items()})
    return (
        _BY_CLASS.get(kind)
        or of_object(value)
        or (_type_of_numpy(value) if kind.__module__ == "numpy" else None)
        or {"wb_type": "pythonObject", "params": {"class_name": kind.__name__}}
    )


def _type_of_numpy(value: Any) -> Document | None:
    return ndarray(value.shape) if value.shape else _BY_KIND.get(value.dtype.kind)


def ndarray(shape: Iterable[int], path: Mapping[str, str] | None = None) -> Document:
    """The type of arrays of one shape; with the file that holds them, once they are written."""
    return {
        "wb_type": "ndarray",
        "params": {"shape": list(shape), "serialization_path": path and dict(path)},
    }


def list_of(element: Document, length: int | None) -> Document:
    """The type of lists."""
    return {"wb_type": "list", "params": {"element_type": element, "length": length}}


def constant(value: Any, *, is_set: bool = False) -> Document:
    """The type of one value alone."""
    return {"wb_type": "const", "params": {"val": value, "is_set": is_set}}


def in_order(keys: Iterable[Any]) -> list[Any]:
    """Keys in an order, also of numbers and texts."""
    return sorted(keys, key=lambda key: (isinstance(key, str), key))


def array_type(known: Document) -> Document | None:
    """The type of arrays that a column's type is, or has beside None."""
    inner = known["params"]["allowed_types"] if known["wb_type"] == "union" else [known]
    return next((found for found in inner if found["wb_type"] == "ndarray"), None)


def has_type(known: Document, name: str) -> bool:
    """Whether a column's type is of this name, or has one beside None."""
    inner = known["params"]["allowed_types"] if known["wb_type"] == "union" else [known]
    return any(found["wb_type"] == name for found in inner)


def replaced(known: Document, name: str, new: Document) -> Document:
    """A column's type in which the one of this name is another."""
    if known["wb_type"] != "union":
        return new if known["wb_type"] == name else known
    return _union(
        [new if found["wb_type"] == name else found for found in known["params"]["allowed_types"]]
    )


def typed_columns(types: Mapping[Any, Document]) -> Document:
    """What a table says of its columns."""
    return _typed_dict(types)


def _typed_dict(types: Mapping[Any, Document]) -> Document:
    return {"wb_type": "typedDict", "params": {"type_map": dict(types)}}


def _union(types: Iterable[Document]) -> Document:
    flat = [
        inner
        for found in types
        for inner in (found["params"]["allowed_types"] if found["wb_type"] == "union" else [found])
    ]
    return {"wb_type": "union", "params": {"allowed_types": sorted(flat, key=_shown)}}


def _shown(found: Document) -> str:
    """By which the members of a union are ordered: of more than None, the beginning suffices."""
    match found["wb_type"]:
        case "union":
            return " or ".join(map(_shown, found["params"]["allowed_types"]))
        case "list":
            return f"{_shown(found['params']['element_type'])}[]"
        case "typedDict":
            return "{"
        case name:
            return str(name).capitalize()


def _grown_union(known: Document, value: Any, of_object: TypeOfObject) -> Document | None:
    members: list[Document] = known["params"]["allowed_types"]
    for at, member in enumerate(members):
        if member["wb_type"] == "unknown":
            continue  # what is known comes first
        if (found := grown(member, value, of_object)) is not None:
            return _union([*members[:at], found, *members[at + 1 :]])
    for at, member in enumerate(members):
        if member["wb_type"] == "unknown":
            found = grown(member, value, of_object)
            return found and _union([*members[:at], *members[at + 1 :], found])
    return None


def _type_of_list(items: list[Any], of_object: TypeOfObject) -> Document:
    element = optional(UNKNOWN) if any(item is None for item in items) else UNKNOWN
    for item in items:
        element = grown(element, item, of_object) or _INVALID
    return list_of(element, len(items))


def _grown_list(known: Document, value: Any, of_object: TypeOfObject) -> Document | None:
    if not hasattr(value, "__iter__"):
        return None
    items = list(value)
    element: Document | None = known["params"]["element_type"]
    for item in items:
        element = element and grown(element, item, of_object)
    return element and list_of(element, len(items))


def _grown_dict(known: Document, value: Any, of_object: TypeOfObject) -> Document | None:
    types: Mapping[Any, Document] = known["params"]["type_map"]
    if not isinstance(value, dict) or not set(value) <= set(types):
        return None
    found = {key: grown(of, value.get(key), of_object) for key, of in types.items()}
    return _typed_dict(found) if all(found.values()) else None  # type: ignore[arg-type] # as said


def _merged_images(one: Document, other: Document) -> Document:
    """Of pictures in one column: all layers, scores and classes that one of them has."""
    first, second = one["params"], other["params"]
    merged: Document = {}
    for name in first:
        mine, others = first[name]["params"]["val"], second[name]["params"]["val"]
        if name == "box_score_keys":
            merged[name] = constant(in_order({*mine, *others}), is_set=True)
        elif name == "class_map":
            merged[name] = constant({**others, **mine})
        else:
            keys = in_order({*mine, *others})
            merged[name] = constant({key: _both(mine.get(key), others.get(key)) for key in keys})
    return {"wb_type": "image-file", "params": merged}


def _both(mine: Any, others: Any) -> Any:
    if isinstance(mine or others, list):
        return in_order({*(mine or ()), *(others or ())})
    return {**(others or {}), **(mine or {})}


_GROWN: Final[Mapping[str, Callable[[Document, Any, TypeOfObject], Document | None]]] = {
    "union": _grown_union,
    "list": _grown_list,
    "typedDict": _grown_dict,
}
