"""What DuckDB alone takes to store what a server stored: the same tables, Arrow data and commits.

    duckdb_floor.py METRICS_FILE COMMITS NEW_FILE

Reads the tables of a stopped server's metrics file as Arrow, and times nothing but inserting them
into a new file in as many transactions as the server made. One line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import duckdb

#: These grow with every commit; the others are small.
GROWING = ("rows", "points")


def tables_of(path: str) -> tuple[list[str], dict[str, Any]]:
    """How the tables are made, and what is in them."""
    with duckdb.connect(path, read_only=True) as store:
        made = store.execute("SELECT sql, table_name FROM duckdb_tables()").fetchall()
        data = {name: store.table(name).to_arrow_table() for _, name in made}
    return [sql for sql, _ in made], data


def main() -> None:
    source, commits, target = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    statements, data = tables_of(source)
    store = duckdb.connect(target)
    for statement in statements:
        store.execute(statement)
    started, cpu = time.perf_counter(), time.process_time()
    for number in range(commits):
        store.execute("BEGIN")
        for name, table in data.items():
            start, end = (len(table) * n // commits for n in (number, number + 1))
            if name not in GROWING:
                start, end = 0, 0 if number else len(table)
            if start == end:
                continue
            store.register("incoming", table.slice(start, end - start))
            store.execute(f"INSERT INTO {name} SELECT * FROM incoming")
            store.unregister("incoming")
        store.execute("COMMIT")
    wall_s = time.perf_counter() - started
    points = len(data["points"])
    result = {
        "points": points,
        "commits": commits,
        "points_per_s": points / wall_s,
        "cpu_s_per_million": (time.process_time() - cpu) / points * 1e6,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
