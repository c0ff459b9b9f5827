"""The column-wise reader against the plain one, and what damage costs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from server.streams import Stream, sealed, writer_id

from kelt_proto.v1 import frames, record_pb2, rows
from kelt_server.ingest.blocks import ControlRecord, LostRange, RowBlock
from kelt_server.ingest.columns import decode_batch
from kelt_server.values import cell_parts_value

VALUES = st.one_of(
    st.floats(),
    st.integers(-(2**70), 2**70),
    st.booleans(),
    st.none(),
    st.text(st.characters()),
    st.lists(st.one_of(st.floats(), st.text(max_size=3)), max_size=3),
)
ROWS = st.lists(
    st.tuples(
        st.integers(-(2**61), 2**61),
        st.dictionaries(st.text(st.characters(), max_size=4), VALUES, max_size=4),
        st.integers(0, 7),
        st.booleans(),
    ),
    max_size=12,
)


def plain_rows(frames_bytes: bytes) -> list[tuple[int, rows.Row]]:
    schemas: dict[int, rows.Schema] = {}
    found = []
    for frame in frames.iter_frames(memoryview(frames_bytes)):
        if frame.kind == frames.Kind.SCHEMA:
            schema = rows.decode_schema(frame.payload)
            schemas[schema.schema_id] = schema
        elif frame.kind == frames.Kind.ROW:
            found.append((frame.seq, rows.decode_row(frame.payload, schemas)))
    return found


def rows_of(block: RowBlock) -> list[tuple[Any, ...]]:
    found = []
    for index, seq in enumerate(block.seqs.tolist()):
        values = {
            c.name: cell_parts_value(
                c.kind, float(c.values[index]), c.texts[index] if c.texts else None
            )
            for c in block.columns
        }
        found.append(
            (
                seq,
                int(block.flags[index]),
                int(block.steps[index]),
                float(block.timestamps[index]),
                float(block.runtimes[index]),
                repr(values),
            )
        )
    return found


def plain_of(seq: int, row: rows.Row) -> tuple[Any, ...]:
    header = row.header
    return seq, header.flags, header.step, header.timestamp, header.runtime, repr(row.values)


def test_every_number_is_in_one_piece_whichever_byte_is_damaged() -> None:
    stream = steady_stream(20)
    for damaged_at in range(0, len(stream.batch(1, 20).frames), 7):
        content = bytearray(stream.batch(1, 20).frames)
        content[damaged_at] ^= 0x55
        assert numbers(decoded(stream, bytes(content), 1, 20)) == list(range(1, 21))


def numbers(pieces: list[Any]) -> list[int]:
    found: list[int] = []
    for piece in pieces:
        if isinstance(piece, RowBlock):
            found += piece.seqs.tolist()
        elif isinstance(piece, LostRange):
            found += range(piece.first_seq, piece.last_seq + 1)
        else:
            found.append(piece.seq)
    return found


def steady_stream(count: int) -> Stream:
    stream = Stream(writer_id(1))
    for step in range(count):
        stream.row(step, {"a": step + 0.5, "b": -1.0})
    return stream


def decoded(stream: Stream, content: bytes, first: int, last: int, after: int = 0) -> list[Any]:
    return list(
        decode_batch(
            content, writer_id=stream.writer_id, first_seq=first, last_seq=last, after_seq=after
        )
    )


@settings(max_examples=150, deadline=None)
@given(ROWS, st.integers(0, 12))
def test_columns_hold_what_the_plain_reader_reads(logged: list[Any], after: int) -> None:
    stream = Stream(writer_id(1))
    for step, values, flags, inline in logged:
        stream.row(step, values, flags=flags, inline=inline)
    content = stream.batch(1, stream.last_seq).frames
    pieces = decoded(stream, content, 1, stream.last_seq, after)
    found = [row for piece in pieces for row in rows_of(piece)]
    assert found == [plain_of(seq, row) for seq, row in plain_rows(content) if seq > after]


def spread(stream: Stream, content: bytes, gaps: list[int]) -> tuple[bytes, list[int]]:
    """The frames of a batch with numbers between them that hold nothing, and their own numbers."""
    seqs: list[int] = []
    parts = []
    for frame in frames.iter_frames(memoryview(content)):
        passed = 0
        if frame.seq:
            passed = gaps[len(seqs) % len(gaps)]
            seqs.append((seqs[-1] if seqs else 0) + passed + 1)
        seq = seqs[-1] if frame.seq else 0
        parts.append(
            frames.encode_frame(stream.seed, frame.kind, seq, bytes(frame.payload), passed)
        )
    return b"".join(parts), seqs


@settings(max_examples=100, deadline=None)
@given(ROWS.filter(bool), st.lists(st.integers(0, 3), min_size=1, max_size=3), st.integers(0, 40))
def test_numbers_that_hold_nothing_change_no_row(
    logged: list[Any], gaps: list[int], after: int
) -> None:
    stream = Stream(writer_id(1))
    for step, values, flags, inline in logged * 4:
        stream.row(step, values, flags=flags, inline=inline)
    content = stream.batch(1, stream.last_seq).frames
    sparse, seqs = spread(stream, content, gaps)
    pieces = decoded(stream, sparse, 1, seqs[-1], after)
    found = [row for piece in pieces for row in rows_of(piece)]
    expected = zip(seqs, (row for _, row in plain_rows(content)), strict=True)
    assert found == [plain_of(seq, row) for seq, row in expected if seq > after]


def test_damage_among_numbers_that_hold_nothing_costs_no_row_but_its_own() -> None:
    stream = steady_stream(20)
    content, seqs = spread(stream, stream.batch(1, 20).frames, [2])
    ends = [frame.end_bytes for frame in frames.iter_frames(memoryview(content)) if frame.seq]
    for damaged_at in range(len(content) - ends[-1] + ends[0], len(content), 7):
        damaged = bytearray(content)
        damaged[damaged_at] ^= 0x55
        pieces = decoded(stream, bytes(damaged), 1, seqs[-1])
        rows_left = [seq for p in pieces if isinstance(p, RowBlock) for seq in p.seqs.tolist()]
        hit = next(index for index, end in enumerate(ends) if damaged_at < end)
        (lost,) = [p for p in pieces if isinstance(p, LostRange)]
        assert lost.first_seq == seqs[hit] - 2
        is_skipped = rows_left == [*seqs[:hit], *seqs[hit + 1 :]] and lost.last_seq == seqs[hit]
        # Where the damage is to what tells where the next frame begins, the rest is lost.
        assert is_skipped or (rows_left == seqs[:hit] and lost.last_seq == seqs[-1])


def test_rows_that_pass_the_same_numbers_become_one_block() -> None:
    stream = steady_stream(500)
    content, seqs = spread(stream, stream.batch(1, 500).frames, [2])
    (block,) = decoded(stream, content, 1, seqs[-1])
    assert block.seqs.tolist() == seqs
    (block,) = decoded(stream, content, 1, seqs[-1], after=seqs[9])
    assert block.seqs.tolist() == seqs[10:]


def test_a_run_of_equal_rows_becomes_one_block() -> None:
    stream = steady_stream(500)
    (block,) = decoded(stream, stream.batch(1, 500).frames, 1, 500)
    assert block.seqs.tolist() == list(range(1, 501))
    assert block.columns[0].values.tolist() == [step + 0.5 for step in range(500)]


def test_empty_configs_between_rows_part_no_block_and_others_do() -> None:
    stream = Stream(writer_id(1))
    for step in range(50):
        stream.row(step, {"a": step + 0.5})
        stream.record(frames.Kind.CONFIG, record_pb2.Config())
    (block,) = decoded(stream, stream.batch(1, 100).frames, 1, 100)
    assert block.seqs.tolist() == list(range(1, 101, 2))
    stream.config(1.0, lr=1)
    stream.row(50, {"a": 0.5})
    pieces = decoded(stream, stream.batch(1, 102).frames, 1, 102)
    assert [type(piece) for piece in pieces] == [RowBlock, ControlRecord, RowBlock]


def test_rows_that_are_all_committed_already_leave_no_empty_block() -> None:
    stream = steady_stream(5)
    stream.exit(0, at=1.0)
    pieces = decoded(stream, stream.batch(1, 6).frames, 1, 6, after=5)
    assert [type(piece) for piece in pieces] == [ControlRecord]


def test_a_flipped_bit_in_a_payload_costs_that_row_alone() -> None:
    stream = steady_stream(10)
    content = bytearray(stream.batch(1, 10).frames)
    at = content.index(bytes(stream.frames[4][0])) + frames.FRAME_HEADER_BYTES + 3
    content[at] ^= 1
    pieces = decoded(stream, bytes(content), 1, 10)
    lost = [piece for piece in pieces if isinstance(piece, LostRange)]
    assert [(piece.first_seq, piece.last_seq) for piece in lost] == [(5, 5)]
    assert "checksum" in lost[0].reason


def test_a_damaged_length_costs_the_rest_of_the_batch() -> None:
    stream = steady_stream(10)
    content = bytearray(stream.batch(1, 10).frames)
    content[content.index(bytes(stream.frames[4][0])) + 2] ^= 0xFF
    pieces = decoded(stream, bytes(content), 1, 10)
    assert isinstance(pieces[-1], LostRange)
    assert (pieces[-1].first_seq, pieces[-1].last_seq) == (5, 10)


def test_a_batch_that_ends_early_loses_what_it_promised() -> None:
    stream = steady_stream(4)
    pieces = decoded(stream, stream.batch(1, 4).frames, 1, 9)
    assert (pieces[-1].first_seq, pieces[-1].last_seq) == (5, 9)


def test_rows_of_a_schema_that_is_not_there_are_lost_and_nothing_else() -> None:
    stream = steady_stream(2)
    stream.record(frames.Kind.EXIT, b"")
    content = b"".join(frame for frame, _ in stream.frames)
    pieces = decoded(stream, content, 1, 3)
    assert [(p.first_seq, p.last_seq) for p in pieces[:2]] == [(1, 1), (2, 2)]
    assert pieces[2] == ControlRecord(3, frames.Kind.EXIT, b"")


def test_frames_of_another_writer_are_not_taken_for_ours() -> None:
    stream = steady_stream(5)
    pieces = list(
        decode_batch(stream.batch(1, 5).frames, writer_id=writer_id(2), first_seq=1, last_seq=5)
    )
    assert numbers(pieces) == [1, 2, 3, 4, 5]
    assert all(isinstance(piece, LostRange) for piece in pieces)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.integers(1, 5), st.integers(0, 5))
def test_no_bytes_at_all_raise(content: bytes, first: int, length: int) -> None:
    batch = sealed(writer_id(1), first, first + length, content)
    pieces = decoded(Stream(writer_id(1)), batch.frames, batch.first_seq, batch.last_seq)
    assert numbers(pieces) == list(range(first, first + length + 1))


@pytest.mark.parametrize("text", ['["\\ud800"]', '"x"'])
def test_json_texts_are_kept_as_written(text: str) -> None:
    stream = Stream(writer_id(1))
    stream.row(0, {"a": [json.loads(text)]})
    (block,) = decoded(stream, stream.batch(1, 1).frames, 1, 1)
    assert rows_of(block)[0][-1] == repr({"a": [json.loads(text)]})
