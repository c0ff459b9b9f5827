"""Rows into tables, and what is said where a library is missing."""

import csv
import math
import sys

import pytest

from kelt.exporting.columns import ColumnType, ColumnTypes
from kelt.exporting.parquet import check_parquet
from kelt.exporting.placing import ExportError
from kelt.exporting.tables import read_jsonl, write_csv, write_jsonl

ROWS = [
    {"_step": 0, "x": math.nan, "t": 'a "text",\nof two lines', "l": [1, None], "b": True},
    {"_step": 1, "x": -math.inf, "t": "", "n": None},
    {"_step": 2, "big": 2**70, "odd": "\ud800"},
]


def test_json_lines_are_read_as_they_were_written(tmp_path):
    types = ColumnTypes()
    count = write_jsonl(tmp_path / "rows", ROWS, types)
    assert count == 3
    assert repr(list(read_jsonl(tmp_path / "rows"))) == repr(ROWS)
    assert types.settled()["x"] is ColumnType.FLOAT


def test_csv_tells_an_empty_text_from_what_is_missing_and_nan_from_both(tmp_path):
    names = ("_step", "x", "t", "l", "b", "n", "big", "odd")
    write_csv(tmp_path / "x.csv", ROWS, dict.fromkeys(names, ColumnType.JSON))
    raw = (tmp_path / "x.csv").read_text()
    assert '\n1,-Infinity,"",,,,,\n' in raw
    with (tmp_path / "x.csv").open(newline="") as lines:
        head, first, _, third = csv.reader(lines)
    assert head == list(names)
    assert first == ["0", "NaN", 'a "text",\nof two lines', "[1, null]", "true", "", "", ""]
    assert third[6:] == [str(2**70), "\\ud800"]


def test_without_pyarrow_the_remedy_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ExportError, match=r"pip install 'kelt\[parquet\]'"):
        check_parquet()
