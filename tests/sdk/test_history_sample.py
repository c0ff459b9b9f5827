"""The picture of each metric's course that the end of a run shows."""

from __future__ import annotations

import pytest

from kelt import history_sample
from kelt.history_sample import METRICS_MAX, HistorySample
from kelt_proto.v1.frames import Kind, encode_frame
from kelt_proto.v1.rows import INLINE_SCHEMA_ID, ColumnKind, RowHeader, Schema, encode_row

SEED = 7


def schema(number: int, *names: str, kind: int = ColumnKind.INT) -> Schema:
    return Schema(number, names, (kind,) * len(names))


def row_frame(of: Schema, step: int, *values, inline: bool = False) -> bytes:
    schema_id = INLINE_SCHEMA_ID if inline else of.schema_id
    header = RowHeader(schema_id, 0, step, 0.0, 0.0)
    return encode_frame(SEED, Kind.ROW, step + 1, encode_row(of, header, values))


def batches(of: Schema, rows: int, *, rows_each: int = 7):
    opening = encode_frame(SEED, Kind.SCHEMA, 0, of.encode())
    for first in range(0, rows, rows_each):
        steps = range(first, min(rows, first + rows_each))
        yield opening + b"".join(row_frame(of, step, *([step] * len(of.names))) for step in steps)


@pytest.mark.parametrize("rows", [1, 127, 128, 129, 1000, 4096, 30_000])
def test_a_course_is_evenly_spaced_from_the_first_row_to_nearly_the_last(rows) -> None:
    sample = HistorySample()
    for batch in batches(schema(1, "loss"), rows):
        sample.add(batch)
    kept = [int(value) for value in sample.values()["loss"]]
    stride = kept[1] - kept[0] if len(kept) > 1 else 1
    assert kept == list(range(0, rows, stride))
    assert min(rows, 64) <= len(kept) <= 128


def test_what_is_decoded_grows_far_slower_than_what_is_logged(monkeypatch) -> None:
    decoded = []
    decode_row = history_sample.decode_row
    monkeypatch.setattr(
        history_sample, "decode_row", lambda *a: decoded.append(1) or decode_row(*a)
    )
    sample = HistorySample()
    for batch in batches(schema(1, "loss"), 30_000):
        sample.add(batch)
    assert len(decoded) < 800


def test_a_metric_of_few_rows_is_there_however_many_others_are_logged() -> None:
    often, seldom = schema(1, "loss"), schema(2, "val")
    sample = HistorySample()
    for epoch in range(20):
        for batch in batches(often, 500):
            sample.add(batch)
        opening = encode_frame(SEED, Kind.SCHEMA, 0, seldom.encode())
        sample.add(opening + row_frame(seldom, epoch, epoch))
    assert sample.values()["val"] == list(range(20))


def test_rows_that_carry_their_schema_and_records_that_are_no_rows_are_taken_as_they_come() -> None:
    sample = HistorySample()
    other = encode_frame(SEED, Kind.CONFIG, 1, b"{}")
    sample.add(other + row_frame(schema(0, "rare"), 1, 5, inline=True) + other)
    assert sample.values() == {"rare": [5.0]}


def test_texts_have_no_course_and_no_more_metrics_are_kept_than_can_be_shown() -> None:
    sample = HistorySample()
    text = schema(1, "word", kind=ColumnKind.TEXT)
    many = schema(2, *(f"m{n}" for n in range(METRICS_MAX + 10)))
    opening = encode_frame(SEED, Kind.SCHEMA, 0, text.encode())
    sample.add(opening + row_frame(text, 0, "seven"))
    for batch in batches(many, 10):
        sample.add(batch)
    assert sorted(sample.values()) == sorted(f"m{n}" for n in range(METRICS_MAX))


def test_a_row_whose_schema_is_missing_spoils_nothing() -> None:
    sample = HistorySample()
    sample.add(row_frame(schema(1, "lost"), 0, 1))
    for batch in batches(schema(2, "loss"), 3):
        sample.add(batch)
    assert sample.values() == {"loss": [0.0, 1.0, 2.0]}
