"""Pages of the read API in Arrow (`kelt_server.api` describes them): as rows, and as tables.

As rows they cost a fourth of what JSON does, and the server less than half. As tables a column is
made at a time, without an object a value. The types of columns are known only once all pages are,
so pages wait on the disk as they came (`PageSpool`). pyarrow is optional, and loaded here alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

from kelt.exporting.columns import ROW_COLUMNS, ColumnType, ColumnTypes

_FLOAT, _INT, _BOOL, _NONE, _TEXT, _JSON = 1, 2, 3, 4, 5, 6
#: A value of each kind; integers have texts where they are long.
_OF_KIND = {_FLOAT: 0.0, _INT: 0, _BOOL: True, _NONE: None, _TEXT: ""}
ARROW_TYPES = {
    ColumnType.INT: pa.int64(), ColumnType.FLOAT: pa.float64(), ColumnType.BOOL: pa.bool_(),
    ColumnType.TEXT: pa.string(), ColumnType.JSON: pa.string(),
}  # fmt: skip


class BodyGetter(Protocol):
    """What this needs of a connection."""

    def body(self, route: str, arguments: list[tuple[str, str | int]], /) -> bytes:
        """The reply of a route as it came."""


@dataclass(frozen=True, slots=True)
class _Page:
    """A page, and its cells side by side. `parents` are the rows that they are in."""

    table: Any
    keys: Sequence[str]
    next: str | None
    labels: Mapping[str, str]
    offsets: Sequence[int]
    cells: Any
    parents: Any


class ArrowGetter:
    """Asks for pages in Arrow, and gives them as those in JSON are: for `read_rows`."""

    def __init__(self, connection: BodyGetter) -> None:
        self._connection = connection

    def get(self, route: str, arguments: list[tuple[str, str | int]] | None = None) -> Any:
        """As of a connection, of a history alone."""
        body = self._connection.body(route, [*(arguments or []), ("format", "arrow")])
        page = _read(pa.ipc.open_stream(body))
        return {"rows": _items(page), "next": page.next}

    def bodies(self, route: str, arguments: list[tuple[str, str | int]]) -> Iterator[bytes]:
        """All pages of a history, as they came."""
        after: list[tuple[str, str | int]] = []
        while True:
            body = self._connection.body(route, [*arguments, *after, ("format", "arrow")])
            yield body
            token = _about(pa.ipc.open_stream(body).schema)["next"]
            if token is None:
                return
            after = [("after", token)]


class PageSpool:
    """Pages on the disk, one Arrow stream behind the other, and the columns that they have.

    Args:
        path: a new file.
        wanted: only these metrics, and the rows that have any of them; None for all.
    """

    def __init__(self, path: Path, *, wanted: Sequence[str] | None) -> None:
        self.types = ColumnTypes()
        self._path = path
        self._wanted = None if wanted is None else set(wanted)

    def fill(self, bodies: Iterator[bytes]) -> None:
        """Takes all pages."""
        with self._path.open("xb") as out:
            for body in bodies:
                self._learn(_read(pa.ipc.open_stream(body)))
                out.write(body)

    def _learn(self, page: _Page) -> None:
        key, kind, text = (page.cells.field(name) for name in ("key", "kind", "text"))
        both = pc.add(pc.multiply(key.cast(pa.int32()), 8), kind.cast(pa.int32()))
        for number in pc.unique(both).to_pylist():
            self.types.take({page.keys[number // 8]: _OF_KIND.get(number % 8, [])})
        is_long = pc.and_(pc.equal(kind, _INT), pc.is_valid(text))
        long = page.cells.filter(is_long)
        for number, digits in zip(
            long.field("key").to_pylist(), long.field("text").to_pylist(), strict=True
        ):
            self.types.take({page.keys[number]: int(digits)})

    def tables(self, columns: Mapping[str, ColumnType]) -> Iterator[Any]:
        """The pages as tables of these columns: those of `types`, settled, or some of them."""
        size_bytes = self._path.stat().st_size
        with pa.OSFile(str(self._path)) as source:
            while source.tell() < size_bytes:
                yield _table(_read(pa.ipc.open_stream(source)), columns, self._wanted)


def _read(stream: Any) -> _Page:
    table = stream.read_all()
    about = _about(table.schema)
    # One array, whose offsets begin at 0.
    cells = pa.concat_arrays(table["cells"].chunks or [pa.array([], table.schema.field(6).type)])
    return _Page(
        table=table,
        keys=about["keys"],
        next=about["next"],
        labels=about["labels"],
        offsets=cells.offsets.to_pylist(),
        cells=cells.flatten(),
        parents=pc.list_parent_indices(cells),
    )


def _about(schema: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(schema.metadata[b"kelt"])
    return found


def _items(page: _Page) -> list[dict[str, Any]]:
    names = [page.keys[number] for number in page.cells.field("key").to_pylist()]
    values = _values(page.cells)
    fields = ("step", "timestamp", "runtime", "immutable_id", "writer_id")
    facts = zip(*(page.table[name].to_pylist() for name in fields), strict=True)
    return [
        {
            "step": step, "timestamp": timestamp, "runtime": runtime, "immutable_id": branch,
            "label": page.labels.get(writer, ""),
            "values": dict(zip(names[begin:end], values[begin:end], strict=True)),
        }
        for (step, timestamp, runtime, branch, writer), (begin, end) in zip(
            facts, pairwise(page.offsets), strict=True
        )
    ]  # fmt: skip


def _values(cells: Any) -> list[Any]:
    numbers: list[Any] = cells.field("value").to_pylist()
    if pc.unique(cells.field("kind")).to_pylist() == [_FLOAT]:
        return numbers
    kinds, texts = (cells.field(name).to_pylist() for name in ("kind", "text"))
    return list(map(_value, kinds, numbers, texts))


def _value(kind: int, number: float, text: str | None) -> Any:
    if kind == _FLOAT:
        return number
    if kind == _INT:
        return int(number) if text is None else int(text)
    if kind == _BOOL:
        return number != 0
    if kind == _TEXT:
        return text
    return None if kind == _NONE or text is None else json.loads(text)


def _table(page: _Page, columns: Mapping[str, ColumnType], wanted: set[str] | None) -> Any:
    """The page's rows, a column a metric."""
    numbers = page.cells.field("key")
    counts = {pair["values"]: pair["counts"] for pair in pc.value_counts(numbers).to_pylist()}
    order = pc.sort_indices(numbers)  # keeps the order of rows
    ends = list(accumulate(counts[number] for number in sorted(counts)))
    slices = {
        page.keys[number]: order.slice(end - counts[number], counts[number])
        for number, end in zip(sorted(counts), ends, strict=True)
    }
    all_rows = pa.array(range(len(page.table)), page.parents.type)
    arrays = []
    for name, column in columns.items():
        if name in ROW_COLUMNS:
            arrays.append(page.table[name[1:]].combine_chunks())
            continue
        places = slices.get(name)
        if places is None:
            arrays.append(pa.nulls(len(all_rows), ARROW_TYPES[column]))
            continue
        made = _column(page.cells.take(places), column)
        if len(made) < len(all_rows):
            found = pc.index_in(all_rows, value_set=page.parents.take(places))
            made = made.take(found)
        arrays.append(made)
    table = pa.Table.from_arrays(arrays, names=list(columns))
    if wanted is None:
        return table
    kept = [page.parents.take(slices[name]) for name in wanted & slices.keys()]
    is_kept = pc.is_in(all_rows, value_set=pc.unique(pa.concat_arrays(kept or [all_rows[:0]])))
    return table.filter(is_kept)


def _column(cells: Any, column: ColumnType) -> Any:
    """The values of one metric; they are of kinds that the column can hold."""
    kind, value, text = (cells.field(name) for name in ("kind", "value", "text"))
    if column is ColumnType.JSON:
        return pa.array(
            [
                said if number >= _JSON else json.dumps(_value(number, found, said))
                for number, found, said in zip(
                    kind.to_pylist(), value.to_pylist(), text.to_pylist(), strict=True
                )
            ],
            pa.string(),
        )
    if column is ColumnType.TEXT:
        found = text
    elif column is ColumnType.BOOL:
        found = pc.not_equal(value, 0.0)
    elif column is ColumnType.INT:
        short = pc.if_else(pc.is_valid(text), 0.0, value).cast(pa.int64())
        found = pc.coalesce(text.cast(pa.int64()), short) if text.null_count < len(text) else short
    else:
        found = value
    nothing = pa.scalar(None, found.type)
    return pc.if_else(pc.equal(kind, _NONE), nothing, found)
