"""Blocks → the Arrow tables of one commit, metric by metric. Pure, given the numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kelt_proto.v1.rows import FLAG_RELATIVE_STEP, FLAG_STEP_WENT_DOWN, ColumnKind
from kelt_server.ingest.apply import RoutedBlock
from kelt_server.ingest.blocks import KIND_ESCAPED_TEXT, Column, RowBlock

#: Steps are kept so far from the ends of an int64 that a base can be added without overflow.
STEP_BOUND = 2**61

StreamKey = tuple[int, int, int]
_Ints = npt.NDArray[np.int64]


@dataclass(slots=True)
class StreamState:
    """What the `streams` table says of one stream."""

    parts: int = 0
    step_min: int = STEP_BOUND
    step_max: int = -STEP_BOUND
    has_repeats: bool = False
    rows_step_went_down: int = 0

    def add(self, steps: _Ints, flags: _Ints) -> None:
        """Counts new rows. Steps that do not rise may repeat one, so reading must merge."""
        rises = bool(steps[0] > self.step_max) and bool((np.diff(steps) > 0).all())
        self.has_repeats = self.has_repeats or not rises
        self.parts += len(steps)
        self.step_min = min(self.step_min, int(steps.min()))
        self.step_max = max(self.step_max, int(steps.max()))
        self.rows_step_went_down += int(((flags & FLAG_STEP_WENT_DOWN) != 0).sum())


@dataclass(slots=True)
class _MetricParts:
    """Pieces of one metric's columns, to be joined. Identities are one number a piece."""

    writers: list[int] = field(default_factory=list)
    relatives: list[int] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    steps: list[_Ints] = field(default_factory=list)
    seqs: list[_Ints] = field(default_factory=list)
    values: list[npt.NDArray[np.float64]] = field(default_factory=list)
    texts: list[list[str] | None] = field(default_factory=list)


@dataclass(slots=True)
class CommitTables:
    """Gathers the blocks of one commit."""

    branch_number: Callable[[str], int]
    writer_number: Callable[[bytes], int]
    metric_number: Callable[[str], int]
    stream_state: Callable[[StreamKey], StreamState]
    changed: set[StreamKey] = field(default_factory=set)
    _rows: list[tuple[StreamKey, RowBlock]] = field(default_factory=list)
    _metrics: dict[tuple[int, int], _MetricParts] = field(default_factory=dict)

    def add(self, routed: RoutedBlock) -> None:
        """Takes one block, split where absolute and relative rows meet."""
        branch = self.branch_number(routed.branch_id)
        writer = self.writer_number(routed.writer_id)
        for relative, block in _lanes(routed.rows):
            key = (branch, writer, relative)
            self.stream_state(key).add(block.steps, block.flags)
            self.changed.add(key)
            self._rows.append((key, block))
            for column in block.columns:
                metric = self.metric_number(column.name)
                parts = self._metrics.setdefault((branch, metric), _MetricParts())
                self._add_column(parts, key, block, column)

    @staticmethod
    def _add_column(parts: _MetricParts, key: StreamKey, block: RowBlock, column: Column) -> None:
        kind, texts = column.kind, _stored_texts(column)
        parts.writers.append(key[1])
        parts.relatives.append(key[2])
        parts.steps.append(block.steps)
        parts.seqs.append(block.seqs)
        parts.values.append(column.values)
        if texts is not None and not _is_utf8(texts):
            if kind == ColumnKind.TEXT:
                kind, texts = KIND_ESCAPED_TEXT, [json.dumps(text) for text in texts]
            else:
                texts = [json.dumps(json.loads(text)) for text in texts]
        parts.kinds.append(kind)
        parts.texts.append(texts)

    def rows_table(self) -> pa.Table:
        """Columns of the `rows` table."""
        lengths = [len(block.seqs) for _, block in self._rows]

        def spread(index: int) -> _Ints:
            return np.repeat(np.array([key[index] for key, _ in self._rows], np.int64), lengths)

        def joined(arrays: Iterable[npt.NDArray[Any]]) -> npt.NDArray[Any]:
            return np.concatenate(list(arrays))

        return pa.table(
            {
                "branch": spread(0).astype(np.int32),
                "writer": spread(1).astype(np.int32),
                "relative": spread(2).astype(np.int8),
                "step": joined(block.steps for _, block in self._rows),
                "seq": joined(block.seqs for _, block in self._rows),
                "timestamp": joined(block.timestamps for _, block in self._rows),
                "runtime": joined(block.runtimes for _, block in self._rows),
                "flags": joined(block.flags for _, block in self._rows),
            }
        )

    def points_table(self) -> pa.Table | None:
        """Columns of the `points` table, sorted by branch and metric."""
        if not self._metrics:
            return None
        keys = sorted(self._metrics)
        parts = [self._metrics[key] for key in keys]
        lengths = [len(array) for part in parts for array in part.steps]
        pieces = [len(part.steps) for part in parts]

        def spread(numbers: Sequence[int], counts: Sequence[int], width: Any) -> Any:
            return np.repeat(np.array(numbers, width), counts)

        def by_key(index: int) -> Any:
            totals = [sum(len(array) for array in part.steps) for part in parts]
            return spread([key[index] for key in keys], totals, np.int32)

        def by_piece(name: str, width: Any) -> Any:
            return spread([n for part in parts for n in getattr(part, name)], lengths, width)

        def joined(name: str) -> Any:
            return np.concatenate([array for part in parts for array in getattr(part, name)])

        texts = [text for part in parts for text in part.texts]
        assert sum(pieces) == len(texts)  # noqa: S101 # one text list, or None, a piece
        return pa.table(
            {
                "branch": by_key(0),
                "metric": by_key(1),
                "writer": by_piece("writers", np.int32),
                "relative": by_piece("relatives", np.int8),
                "step": joined("steps"),
                "seq": joined("seqs"),
                "kind": by_piece("kinds", np.int8),
                "value": joined("values"),
                "text": _text_array(texts, lengths),
            }
        )


def _text_array(texts: list[list[str] | None], lengths: list[int]) -> Any:
    """Mostly nothing: whole pieces of empty strings cost no Python object each."""
    chunks = []
    empty = 0
    for piece, length in zip(texts, lengths, strict=True):
        if piece is None:
            empty += length
            continue
        if empty:
            chunks.append(_empty_texts(empty))
            empty = 0
        chunks.append(pa.array(piece, pa.string()))
    if empty:
        chunks.append(_empty_texts(empty))
    return pa.chunked_array(chunks, pa.string())


def _empty_texts(count: int) -> Any:
    offsets = pa.py_buffer(np.zeros(count + 1, np.int32))
    return pa.StringArray.from_buffers(count, offsets, pa.py_buffer(b""))


def _lanes(block: RowBlock) -> Iterable[tuple[int, RowBlock]]:
    steps = np.clip(block.steps, -STEP_BOUND, STEP_BOUND)
    relative = (block.flags & FLAG_RELATIVE_STEP) != 0
    if not relative.any() or relative.all():
        yield int(relative[0]), replace(block, steps=steps)
        return
    for lane in (0, 1):
        yield lane, replace(block, steps=steps).picked(np.flatnonzero(relative == bool(lane)))


def _stored_texts(column: Column) -> list[str] | None:
    if column.texts is None:
        return None
    return [text or "" for text in column.texts]


def _is_utf8(texts: list[str]) -> bool:
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return False
    return True
