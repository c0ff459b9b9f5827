"""The last value of every metric, stream by stream, out of DuckDB: a table's summaries.

Asked for whole projects at a time, so nothing is done value by value that NumPy can do at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import duckdb
import numpy as np

from kelt_server.metrics.duckdb_names import text_of
from kelt_server.metrics.duckdb_points import SpanRow, points_sql
from kelt_server.metrics.duckdb_schema import LAST_VALUES
from kelt_server.metrics.store import LastValues


def read_last_values(
    cursor: duckdb.DuckDBPyConnection,
    spans: Sequence[SpanRow],
    *,
    branches: Mapping[int, bytes],
    writers: Mapping[int, bytes],
    metrics: Mapping[int, bytes],
) -> list[LastValues]:
    """One entry a stream, its metrics sorted. `spans` is bound already."""
    found = cursor.execute(LAST_VALUES.format(points=points_sql(spans))).fetchnumpy()
    if not len(found["metric"]):
        return []
    keys = [found[name] for name in ("branch", "writer", "relative")]
    used, place = np.unique(found["metric"], return_inverse=True)
    names = [text_of(metrics[number]) for number in used.tolist()]
    by_name = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names), np.int64)
    rank[by_name] = np.arange(len(names))
    order = np.lexsort((rank[place], *reversed(keys)))
    keys = [key[order] for key in keys]
    is_new = np.any([np.diff(key) != 0 for key in keys], axis=0)
    starts = [0, *(np.flatnonzero(is_new) + 1).tolist(), len(order)]
    all_names = [names[index] for index in place[order].tolist()]
    kinds, values, texts = (found[name][order].tolist() for name in ("kind", "value", "text"))
    return [
        LastValues(
            text_of(branches[int(keys[0][start])]),
            writers[int(keys[1][start])],
            bool(keys[2][start]),
            all_names[start:stop],
            kinds[start:stop],
            values[start:stop],
            texts[start:stop],
        )
        for start, stop in itertools.pairwise(starts)
    ]
