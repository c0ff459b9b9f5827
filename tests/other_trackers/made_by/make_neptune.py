"""Makes `neptune/` beside this file, as Neptune's exporter lays it out (README.md says from what)."""

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).parent
PROJECT = "space/digits"
BEGIN = datetime(2025, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
SCHEMA = pa.schema([
    ("project_id", pa.string()), ("run_id", pa.string()), ("attribute_path", pa.string()),
    ("attribute_type", pa.string()), ("step", pa.decimal128(18, 6)),
    ("timestamp", pa.timestamp("ms", tz="UTC")), ("int_value", pa.int64()),
    ("float_value", pa.float64()), ("string_value", pa.string()), ("bool_value", pa.bool_()),
    ("datetime_value", pa.timestamp("ms", tz="UTC")), ("string_set_value", pa.list_(pa.string())),
    ("file_value", pa.struct([("path", pa.string())])),
    ("histogram_value", pa.struct([
        ("type", pa.string()), ("edges", pa.list_(pa.float64())),
        ("values", pa.list_(pa.float64())),
    ])),
])  # fmt: skip
VALUES = {
    "float": "float_value", "int": "int_value", "string": "string_value", "bool": "bool_value",
    "datetime": "datetime_value", "string_set": "string_set_value", "float_series": "float_value",
    "string_series": "string_value", "file": "file_value", "histogram_series": "histogram_value",
}  # fmt: skip


def facts(name, **more):
    own = {
        ("sys/name", "string"): name, ("sys/creation_time", "datetime"): BEGIN,
        ("sys/modification_time", "datetime"): BEGIN + timedelta(hours=1),
        ("sys/failed", "bool"): False, ("sys/tags", "string_set"): ["a", "b"],
    }  # fmt: skip
    return own | more


def series(path, steps, value, kind="float_series"):
    return [
        (path, kind, Decimal(step), BEGIN + timedelta(seconds=10 + float(step)), value(step))
        for step in steps
    ]


def part(run_id, number, attributes, points):
    rows = [(path, kind, None, None, value) for (path, kind), value in attributes.items()]
    table = []
    for path, kind, step, at, value in [*rows, *points]:
        row = dict.fromkeys(SCHEMA.names) | {"project_id": PROJECT, "run_id": run_id}
        row |= {"attribute_path": path, "attribute_type": kind, "step": step, "timestamp": at}
        table.append(row | {VALUES[kind]: value})
    folder = HERE / "neptune" / "space_digits_3f2a"
    folder.mkdir(parents=True, exist_ok=True)
    made = pa.Table.from_pylist(table, schema=SCHEMA)
    pq.write_table(made, folder / f"{run_id}_part_{number}.parquet", compression="snappy")


def main():
    config = {
        ("params/lr", "float"): 0.1, ("params/layers", "int"): 3, ("params/net", "string"): "cnn",
        ("params/flag", "bool"): True, ("params/set", "string_set"): ["x"],
        ("sys/description", "string"): "a note", ("data/file", "file"): {"path": "data/file.bin"},
    }  # fmt: skip
    loss = series("metrics/loss", range(10), lambda step: 1 / (step + 3))
    part("base", 0, facts("baseline") | config, loss)
    part("base", 1, {}, [
        *series("metrics/acc", range(10), float),
        *series("said", [2, 5], lambda step: f"at {step}", "string_series"),
        *series("weights", [1], lambda _: {"type": "COUNTING", "edges": [0, 1], "values": [2]}, "histogram_series"),
    ])  # fmt: skip
    forking = {("sys/forking/parent", "string"): "base", ("sys/forking/step", "float"): 4.0}
    part("fork", 0, facts("forked") | forking, series("metrics/loss", range(5, 8), float))
    part("bad", 0, facts("bad") | {("sys/failed", "bool"): True}, series("x", [0], float))


if __name__ == "__main__":
    main()
