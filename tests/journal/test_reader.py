"""Damage anywhere costs only the damaged range."""

import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.spools import WRITER, read_rows
from kelt.journal.batches import BatchCutter
from kelt.journal.entries import encode_entry
from kelt.journal.reader import Damage, read_journal, read_journal_segment, read_spool
from kelt.journal.sealing import Sealer
from kelt.journal.segments import (
    JOURNAL_HEADER_BYTES,
    JournalHeader,
    decode_journal_header,
    encode_journal_header,
    segment_path,
)
from kelt.journal.spool import InternedSchema, SpoolWriter
from kelt_proto.v1.rows import ColumnKind, Schema

ROWS = 40


@pytest.fixture(scope="module")
def sealed_spool(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sealed")
    spool = SpoolWriter(folder=folder, writer_id=WRITER, quota_bytes=2**26)
    schema = InternedSchema(Schema(0, ("a", "b"), (ColumnKind.FLOAT, ColumnKind.INT)))
    for step in range(ROWS):
        spool.append_row(schema, 0, step, 1.0, 2.0, (step / 2, step))
    list(Sealer(spool=spool, cutter=BatchCutter()).batches())
    spool.close()
    return folder


@given(st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_flipped_bytes_in_a_spool_cost_only_the_frames_they_hit(sealed_spool, tmp_path, data):
    folder = tmp_path / "spool"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sealed_spool, folder)
    path = segment_path(folder, "spool", 1)
    raw = bytearray(path.read_bytes())
    start = 256 + 40  # behind the header and the schema, without which no row can be read
    first = data.draw(st.integers(start, len(raw) - 9))
    flips = data.draw(st.binary(min_size=1, max_size=100))[: len(raw) - 8 - first]
    hit = [first + n for n, flip in enumerate(flips) if flip]
    for offset, flip in enumerate(flips, first):
        raw[offset] ^= flip
    path.write_bytes(raw)

    read = {seq: (step, values) for seq, step, values in read_rows(folder)}

    frame_bytes = 24 + 48
    touched = {(offset - start) // frame_bytes + 1 for offset in hit}
    expected = {n + 1 for n in range(ROWS)} - touched
    assert expected <= set(read)
    assert all(read[seq] == (seq - 1, {"a": (seq - 1) / 2, "b": seq - 1}) for seq in read)


def test_a_damaged_header_of_a_spool_is_reported_and_raises_nothing(sealed_spool, tmp_path):
    shutil.copytree(sealed_spool, tmp_path / "spool")
    path = segment_path(tmp_path / "spool", "spool", 1)
    raw = bytearray(path.read_bytes())
    raw[20] ^= 1
    path.write_bytes(raw)
    (damage,) = read_spool(tmp_path / "spool")
    assert isinstance(damage, Damage)
    assert "checksum" in damage.reason


def write_journal(folder, payloads, number=1):
    header = JournalHeader(b"j" * 16, number, 0, 0)
    parts = [encode_journal_header(header)]
    ends = []
    for seq, payload in enumerate(payloads, 1):
        raw, _ = encode_entry(header.crc_seed, WRITER, seq, seq, payload)
        parts.append(raw)
        ends.append(sum(map(len, parts)))
    path = segment_path(folder, "journal", number)
    path.write_bytes(b"".join(parts) + bytes(4096))
    return path, ends


@given(payloads=st.lists(st.binary(min_size=1, max_size=300), max_size=10))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_journal_entries_read_back(tmp_path, payloads):
    write_journal(tmp_path, payloads)
    read = list(read_journal(tmp_path))
    assert [e.payload for e in read] == payloads
    assert [e.first_seq for e in read] == list(range(1, len(payloads) + 1))


@given(data=st.data())
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_byte_in_a_journal_costs_one_entry(tmp_path, data):
    payloads = [bytes([n]) * 40 for n in range(8)]
    path, ends = write_journal(tmp_path, payloads)
    raw = bytearray(path.read_bytes())
    offset = data.draw(st.integers(JOURNAL_HEADER_BYTES, ends[-1] - 1))
    raw[offset] ^= data.draw(st.integers(1, 255))
    path.write_bytes(raw)
    hit = next(n for n, end in enumerate(ends) if offset < end)
    read = [item for item in read_journal(tmp_path) if not isinstance(item, Damage)]
    assert [e.payload for e in read] == payloads[:hit] + payloads[hit + 1 :] or (
        # a flip in the padding harms nobody
        [e.payload for e in read] == payloads
    )


@given(st.integers(0, 7 * 88))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_torn_tail_ends_a_journal_without_damage(tmp_path, cut):
    path, ends = write_journal(tmp_path, [b"x" * 40] * 7)
    raw = path.read_bytes()[: JOURNAL_HEADER_BYTES + cut]
    path.write_bytes(raw.ljust(4096, b"\0"))  # an open segment keeps its allocated length
    read = list(read_journal(tmp_path))
    assert not any(isinstance(item, Damage) for item in read)
    assert len(read) == sum(end <= len(raw) for end in ends)


@given(st.integers(0, 7 * 88))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_journal_cut_short_shows_that_it_was_unless_it_was_cut_between_entries(tmp_path, cut):
    path, ends = write_journal(tmp_path, [b"x" * 40] * 7)
    path.write_bytes(raw := path.read_bytes()[: JOURNAL_HEADER_BYTES + cut])
    read = list(read_journal(tmp_path))
    whole = [end for end in ends if end <= len(raw)]
    rest = len(raw) - max(whole, default=JOURNAL_HEADER_BYTES)
    # What is shorter than an entry's header may be the zeros at the end of a closed segment.
    assert any(isinstance(item, Damage) for item in read) == (rest >= 48)
    assert len([item for item in read if not isinstance(item, Damage)]) == len(whole)


def test_a_segment_deleted_meanwhile_has_no_entries(tmp_path):
    assert list(read_journal_segment(tmp_path / "journal-000009.kelt")) == []


def test_a_header_read_back_tells_the_predecessor(tmp_path):
    header = JournalHeader(b"j" * 16, 4, 17, 0xDEADBEEF)
    path = tmp_path / "journal-000004.kelt"
    assert decode_journal_header(encode_journal_header(header), path) == header


def test_a_segment_that_another_process_cuts_short_while_it_is_read_harms_nobody(tmp_path):
    """A reader that maps the file would be killed by SIGBUS here."""
    path, _ = write_journal(tmp_path, [bytes([n]) * 5000 for n in range(20)])
    entries = read_journal(tmp_path)
    first = next(entries)
    path.write_bytes(b"")
    assert [first, *entries][-1].payload == bytes([19]) * 5000


@pytest.mark.parametrize("first", [0, 3])
def test_a_part_of_a_segment_is_read_with_the_offsets_of_the_whole(tmp_path, first):
    path, ends = write_journal(tmp_path, [bytes([n]) * 40 for n in range(8)])
    whole = list(read_journal_segment(path))
    start = ends[first - 1] if first else JOURNAL_HEADER_BYTES
    part = list(read_journal_segment(path, offset_bytes=start, end_bytes=ends[5]))
    assert part == whole[first:6]
    assert [e.end_bytes for e in whole] == ends
