"""Tables: rows of cells under named columns, which may be media."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from kelt.errors import UsageError
from kelt.media.cell_types import (
    ANY,
    NUMBER,
    Document,
    array_type,
    column_type,
    has_type,
    list_of,
    ndarray,
    optional,
    replaced,
    typed_columns,
)
from kelt.media.media import FileMedia, Histogram, Holder, Media, Source
from kelt.media.reading import of_document

if TYPE_CHECKING:
    from typing_extensions import Self

_COLUMNS = ("Input", "Output", "Expected")
#: Longer arrays of one dimension, and all of more, lie in a file of their own.
_LISTED_MAX = 150


class Table(Media):
    """Rows of cells under named columns.

    Args:
        columns: the names.
        data: the rows, an array of them, or a pandas DataFrame.
        rows: the same.
        dataframe: a pandas DataFrame instead.
        dtype: accepted from scripts written for wandb: the types follow from the cells.
        optional: whether cells may be None, of all columns or of each.
        allow_mixed_types: whether the columns have no types.
        log_mode: "IMMUTABLE": what a run logs of it once is not logged again; with "MUTABLE" and
            "INCREMENTAL" it is, with what was added.
    """

    log_type = "table"
    #: Of a row, and of an artifact; wandb's names, which scripts may change.
    MAX_ROWS: ClassVar[int] = 10_000
    MAX_ARTIFACT_ROWS: ClassVar[int] = 200_000

    def __init__(  # noqa: PLR0917 # wandb's order
        self,
        columns: Sequence[Any] | None = None,
        data: Any = None,
        rows: Any = None,
        dataframe: Any = None,
        dtype: Any = None,
        optional: bool | Sequence[bool] = True,
        allow_mixed_types: bool = False,
        log_mode: str | None = "IMMUTABLE",
        **_more: Any,
    ) -> None:
        del dtype
        super().__init__()
        if dataframe is not None or hasattr(data, "columns"):
            frame = data if dataframe is None else dataframe
            columns, data = list(frame.columns), _rows_of_frame(frame)
        found = rows if data is None else data
        self.data: list[list[Any]] = [list(row) for row in (() if found is None else found)]
        self.columns: list[Any] = list(_COLUMNS if columns is None else columns)
        self.log_mode = log_mode
        allowed = [optional] * len(self.columns) if isinstance(optional, bool) else list(optional)
        #: Columns that have no None.
        self._required = {name for name, may in zip(self.columns, allowed, strict=False) if not may}
        self._has_types = not allow_mixed_types

    # -- rows and columns -------------------------------------------------------------------------

    def add_data(self, *cells: Any) -> None:
        """One row more.

        Raises:
            UsageError: there are more or fewer cells than columns.
        """
        if len(cells) != len(self.columns):
            raise UsageError(f"Table.add_data: {len(cells)} cells for the columns {self.columns}.")
        self.data.append(list(cells))

    def add_row(self, *cells: Any) -> None:
        """The same."""
        self.add_data(*cells)

    def add_column(self, name: str, data: Iterable[Any], optional: bool = False) -> None:
        """One column more.

        Raises:
            UsageError: there are more or fewer cells than rows.
        """
        cells = list(data)
        if self.data and len(cells) != len(self.data):
            raise UsageError(
                f"Table.add_column: {len(cells)} cells of {name!r} for {len(self.data)} rows."
            )
        self.data = [
            [*row, cell] for row, cell in zip(self.data or [[]] * len(cells), cells, strict=True)
        ]
        self.columns.append(name)
        if not optional:
            self._required.add(name)

    def add_computed_columns(self, fn: Callable[[int, dict[Any, Any]], Mapping[str, Any]]) -> None:
        """Columns whose cells follow from the others, row by row."""
        made: dict[str, list[Any]] = {}
        for number, row in self.iterrows():
            for name, cell in fn(number, dict(zip(self.columns, row, strict=True))).items():
                made.setdefault(name, []).append(cell)
        for name, cells in made.items():
            self.add_column(name, cells)

    def iterrows(self) -> Iterator[tuple[int, list[Any]]]:
        """The rows, with their numbers."""
        yield from enumerate(self.data)

    def get_column(self, name: Any, convert_to: str | None = None) -> Any:
        """The cells of a column; a NumPy array with `convert_to="numpy"`."""
        at = self.columns.index(name)
        cells = [row[at] for row in self.data]
        if convert_to is None:
            return cells
        import numpy as np  # noqa: PLC0415 # whoever asks for it has it

        return np.array(cells)

    def get_dataframe(self) -> Any:
        """As a pandas DataFrame."""
        import pandas as pd  # noqa: PLC0415 # whoever calls this has it

        return pd.DataFrame.from_records(self.data, columns=self.columns)

    # -- in an artifact ---------------------------------------------------------------------------

    def document(self, holder: Holder) -> dict[str, Any]:
        """As `Media` has it."""
        rows = self.data[: self.MAX_ARTIFACT_ROWS]
        types = {name: self._type_of(at, name) for at, name in enumerate(self.columns)}
        elsewhere: set[int] = set()
        for at, name in enumerate(self.columns):
            if (arrays := array_type(types[name])) is None:
                continue
            shape = arrays["params"]["shape"]
            if len(shape) == 1 and shape[0] <= _LISTED_MAX:
                types[name] = list_of(NUMBER, shape[0])
            else:
                path = _hold_arrays(holder, str(name), self.get_column(name))
                types[name] = replaced(types[name], "ndarray", ndarray(shape, path))
                elsewhere.add(at)
        return {
            "_type": self.log_type,
            "columns": self.columns,
            "data": [
                [None if at in elsewhere else _cell(cell, holder) for at, cell in enumerate(row)]
                for row in rows
            ],
            "ncols": len(self.columns),
            "nrows": len(rows),
            "column_types": typed_columns(types),
            "log_mode": "IMMUTABLE" if self.log_mode == "IMMUTABLE" else "MUTABLE",
        }

    def _type_of(self, at: int, name: Any) -> Document:
        is_optional = name not in self._required
        if not self._has_types:
            return optional(ANY) if is_optional else ANY
        return column_type((row[at] for row in self.data), _type_of_object, is_optional=is_optional)

    @classmethod
    def of_document(cls, document: Mapping[str, Any], source: Source) -> Self:
        """As `Media` has it."""
        said = (document.get("column_types") or {}).get("params", {}).get("type_map", {})
        columns = list(document["columns"])
        readers = [_reader(said.get(str(name)), source) for name in columns]
        data = [
            [read(number, cell) for read, cell in zip(readers, row, strict=True)]
            for number, row in enumerate(document["data"])
        ]
        return cls(columns, data, log_mode=document.get("log_mode", "IMMUTABLE"))


def _type_of_object(value: Any) -> Document | None:
    """What a column's type says of media."""
    if isinstance(value, Table):
        return {"wb_type": "table"}
    if hasattr(value, "type_document"):
        found: Document = value.type_document()
        return found
    if isinstance(value, FileMedia) and value.has_type:
        return {"wb_type": value.log_type}
    return None


def _rows_of_frame(frame: Any) -> list[list[Any]]:
    """Column by column: a frame's rows as a whole would make its whole numbers fractions."""
    cells = [frame[name].to_numpy() for name in frame.columns]
    return [[column[at] for column in cells] for at in range(len(frame))]


def _hold_arrays(holder: Holder, name: str, cells: list[Any]) -> dict[str, str]:
    """Puts a column of arrays into a file; returns where it is."""
    import numpy as np  # noqa: PLC0415 # whoever has arrays has it

    made = io.BytesIO()
    arrays: dict[str, Any] = {name: np.array(cells)}
    np.savez_compressed(made, **arrays)
    path = holder.hold_bytes(made.getvalue(), "media/serialized_data", ".npz")
    return {"path": path, "key": name}


def _cell(value: Any, holder: Holder) -> Any:
    """What stands for a cell in a document."""
    if isinstance(value, Media):
        return value.document(holder)
    if isinstance(value, Histogram):
        return value.to_json()
    if type(value) is dict:
        return {key: _cell(item, holder) for key, item in value.items()}
    if hasattr(value, "tolist"):
        plain = value.tolist()
        if type(value).__name__ == "datetime64" and isinstance(plain, int):  # in nanoseconds
            plain /= int(1e6)
        return _cell(plain, holder)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_cell(item, holder) for item in value]
    return _plain_cell(value)


def _plain_cell(value: Any) -> Any:
    """What JSON has for a value: dates as milliseconds, and text for what it cannot say."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if value is None or isinstance(value, (str, int, float)):
        return value
    for kinds, plain in _PLAIN_CELLS:
        if isinstance(value, kinds):
            return plain(value)
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return str(value)


def _milliseconds(day: dt.date) -> int:
    """Of what has no zone in UTC."""
    moment = day if isinstance(day, dt.datetime) else dt.datetime.combine(day, dt.time())
    aware = moment if moment.tzinfo else moment.replace(tzinfo=dt.timezone.utc)
    return int(aware.timestamp() * 1000)


_PLAIN_CELLS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (dt.date, _milliseconds),
    (decimal.Decimal, float),
    (bytes, lambda data: data.decode("utf-8", "replace")),
    (enum.Enum, lambda member: member.name),
)


def _reader(said: Document | None, source: Source) -> Callable[[int, Any], Any]:
    """How the cells of a column are read, by the row's number and what stands there."""
    arrays = None if said is None else array_type(said)
    path = None if arrays is None else arrays["params"].get("serialization_path")
    if path:
        import numpy as np  # noqa: PLC0415 # whoever reads arrays has it

        with np.load(source.fetched(path["path"])) as stored:
            cells = stored[path["key"]]
        return lambda number, _cell: cells[number]
    if said is not None and has_type(said, "timestamp"):
        return lambda _number, cell: _moment(cell)
    return lambda _number, cell: of_document(cell, source)


def _moment(cell: Any) -> Any:
    if isinstance(cell, (int, float)):
        return dt.datetime.fromtimestamp(cell / 1000, tz=dt.timezone.utc)
    return cell
