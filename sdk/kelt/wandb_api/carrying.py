"""What scripts hand to wandb, as kelt carries it: never an error, as a training would die of it.

As wandb's client does: tensors and arrays become a number, a list (up to 32 elements) or a
histogram of 32 buckets; what JSON cannot say becomes text. Media are left out, and whoever called
is told which kind.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from kelt.values import kind_of_type
from kelt.wandb_api.media import Histogram, Media, Table, bounded_rows
from kelt_proto.v1.rows import NAME_BYTES_MAX

LISTED_MAX = 32
_DEPTH_MAX = 60
_PLAIN = frozenset((int, float, bool, str, type(None)))
_FIGURES = ("matplotlib.", "plotly.", "bokeh.", "PIL.")


_STAND_INS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (str, str.__str__),
    ((int, float), lambda number: number),
    (bytes, lambda data: data.decode("utf-8", "replace")),
    ((dt.datetime, dt.date), lambda day: day.isoformat().replace("+00:00", "Z")),
    (enum.Enum, lambda member: member.name),
    (
        slice,
        lambda cut: {
            "slice_start": cut.start,
            "slice_step": cut.step,
            "slice_stop": cut.stop,
        },
    ),
)


class _CarriedTable(dict[str, Any]):
    """A table whose cells need not be looked at again."""


class _LeftOut:
    """The place of a value that is not carried."""


LEFT_OUT: Final = _LeftOut()

#: Told what is left out: the kind of value, such as "wandb.Image".
Tell = Callable[[str], None]


def carried_row(data: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """A row, or summary values, without what kelt does not carry; a plain row as it is."""
    return data if is_plain(data) else _mapping(data, tell, 0)  # type: ignore[return-value]


def carried_table(table: Table) -> dict[str, Any]:
    """A table as it stands in a row: its beginning, and None for cells of media."""
    return _CarriedTable(_table(table, lambda _kind: None, 0))


def is_plain(data: Mapping[str, Any]) -> bool:
    """Whether a row is kelt's as it is."""
    return type(data) is dict and all(type(value) in _PLAIN for value in data.values())


def carried_config(values: Mapping[Any, Any], tell: Tell) -> dict[str, Any]:
    """Config values; as wandb does, keys lose dashes at their ends."""
    return {key.strip("-") or key: value for key, value in _mapping(values, tell, 0).items()}


def _mapping(data: Mapping[Any, Any], tell: Tell, depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in data.items():
        name = str(key)
        if not name or len(name.encode("utf-8", "surrogatepass")) > NAME_BYTES_MAX:
            tell("a value without a name, or with one that is too long,")
        elif (carried := _carried(value, tell, depth + 1)) is not LEFT_OUT:
            found[name] = carried
    return found


def _carried(value: Any, tell: Tell, depth: int) -> Any:
    if type(value) in _PLAIN or kind_of_type(type(value)) is not None:
        return value
    if depth > _DEPTH_MAX:
        return str(value)
    if isinstance(value, (Media, Histogram, Table)):
        return _of_wandb(value, tell, depth)
    if isinstance(value, Mapping):
        is_done = isinstance(value, _CarriedTable)
        return dict(value) if is_done else _mapping(value, tell, depth)
    if isinstance(value, (list, tuple, set, frozenset, range)):
        items = [_carried(item, tell, depth + 1) for item in value]
        kept = [item for item in items if item is not LEFT_OUT]
        return kept if kept or not items else LEFT_OUT
    is_array = hasattr(value, "shape") or hasattr(value, "detach")
    return (_of_library if is_array else _of_python)(value, tell, depth)


def _of_wandb(value: Media | Histogram | Table, tell: Tell, depth: int) -> Any:
    if isinstance(value, Histogram):
        return value.to_json()
    if isinstance(value, Table):
        return _table(value, tell, depth)
    return _left_out(f"wandb.{type(value).__name__}", tell)


def _left_out(kind: str, tell: Tell) -> _LeftOut:
    tell(kind)
    return LEFT_OUT


def _table(table: Table, tell: Tell, depth: int) -> dict[str, Any]:
    """A table, its cells in the row: those of media are None."""
    data = [
        [None if cell is LEFT_OUT else cell for cell in _cells(row, tell, depth)]
        for row in table.data
    ]
    kept = bounded_rows(data)
    if len(kept) < len(data):
        tell("the end of a long wandb.Table")
    columns = [str(name) for name in table.columns]
    return {"_type": "table", "columns": columns, "data": kept, "nrows": len(data)}


def _cells(row: list[Any], tell: Tell, depth: int) -> list[Any]:
    return [_carried(cell, tell, depth + 1) for cell in row]


def _of_library(value: Any, tell: Tell, depth: int) -> Any:
    """A tensor, an array or a data frame."""
    if hasattr(value, "columns"):
        return _table(Table(dataframe=value), tell, depth)
    try:
        if hasattr(value, "detach"):  # PyTorch's
            value = value.detach().cpu()
            value = value.float() if str(value.dtype) == "torch.bfloat16" else value
        if not hasattr(value, "tolist") and hasattr(value, "numpy"):  # TensorFlow's
            value = value.numpy()
        size = math.prod(value.shape)
        if size == 1:
            return value.reshape(-1)[0].item() if value.shape else value.item()
        if size <= LISTED_MAX:
            return value.tolist()
        import numpy as np  # noqa: PLC0415 # who logs arrays has it

        return Histogram(np.asarray(value).reshape(-1), num_bins=LISTED_MAX).to_json()
    except Exception:  # noqa: BLE001 # libraries fail in their own ways, trainings must not
        return _left_out(f"a {type(value).__name__} that is no histogram", tell)


def _of_python(value: Any, tell: Tell, depth: int) -> Any:
    """An object of any other kind: what stands for it, at worst its text."""
    for kinds, plain in _STAND_INS:
        if isinstance(value, kinds):
            return plain(value)
    if f"{type(value).__module__}.".startswith(_FIGURES):
        return _left_out(f"a {type(value).__name__}", tell)
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _mapping(dataclasses.asdict(value), tell, depth)
    return str(value)
