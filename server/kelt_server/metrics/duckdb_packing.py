"""Packing: points out of the order of commits into that of reading, a slice at a time; removing.

Commits put points of every metric of every live run behind each other, so a chart of one metric
would read them all. `pack_slice` takes the oldest of `points`, sorts them and moves them to
`packed`, in one transaction: whoever reads sees each point once, and a crash leaves them all
where they were. It works on a cursor of its own beside the committing thread, for appends to a
table and the deletion of what it held before do not meet.

Parts of one row may come to lie in different tables or slices; reading goes by sequence number and
minds no order. When it is done is for `kelt_server.packing` to say.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from kelt_server.metrics.duckdb_points import TABLES

#: Points in one slice: seconds of work and a few hundred MiB of memory.
SLICE_POINTS_MAX = 4_000_000
_PACK = """
    INSERT INTO packed SELECT * FROM points WHERE rowid < $end
    ORDER BY branch, metric, relative, writer, step, seq
"""


def pack_slice(cursor: duckdb.DuckDBPyConnection, points_max: int) -> int:
    """Moves the oldest points; returns how many. A transaction of its own."""
    cursor.execute("BEGIN")
    try:
        ((first,),) = cursor.execute("SELECT min(rowid) FROM points").fetchall()
        if first is None:
            cursor.execute("ROLLBACK")
            return 0
        # What is committed from here on has higher numbers and is not seen by this transaction.
        arguments = {"end": first + points_max}
        cursor.execute(_PACK, arguments)
        ((moved,),) = cursor.execute("DELETE FROM points WHERE rowid < $end", arguments).fetchall()
        cursor.execute("COMMIT")
    except BaseException:
        _roll_back(cursor)
        raise
    return int(moved)


def remove_rows(cursor: duckdb.DuckDBPyConnection, branches: Sequence[int]) -> None:
    """Removes the rows and points of branches to which nothing is added. One transaction."""
    cursor.execute("BEGIN")
    try:
        for table in ("rows", *TABLES):
            sql = f"DELETE FROM {table} WHERE branch IN $branches"  # noqa: S608 # our own names
            cursor.execute(sql, {"branches": list(branches)})
        cursor.execute("COMMIT")
    except BaseException:
        _roll_back(cursor)
        raise


def _roll_back(cursor: duckdb.DuckDBPyConnection) -> None:
    try:
        cursor.execute("ROLLBACK")
    except duckdb.Error:  # it has ended with the error, or the database has
        return
