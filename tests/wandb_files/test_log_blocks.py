"""The block format: whatever is done to a file, what is whole is read and nothing is made up."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.wandb_writer import BLOCK_BYTES, HEADER, LogWriter
from kelt.wandb_files import log_blocks
from kelt.wandb_files.log_blocks import Damage, LogReader, NotAWandbFileError, check_file_header

SIZES = st.lists(st.one_of(st.integers(0, 300), st.integers(30_000, 100_000)), max_size=12)


def written(sizes):
    file, places, payloads = io.BytesIO(), [], []
    log = LogWriter(file)
    for number, size in enumerate(sizes):
        payload = (number.to_bytes(4, "little") * (size // 4 + 1))[:size]
        payloads.append(payload)
        places.append(log.add(payload))
    return file.getvalue(), payloads, places


def read(raw):
    reader = LogReader(io.BytesIO(raw))
    return list(reader), reader


@given(SIZES)
def test_what_was_written_is_read(sizes):
    raw, payloads, _ = written(sizes)
    found, reader = read(raw)
    assert found == payloads
    assert (reader.end_bytes, reader.tail) == (len(raw), None)


@given(SIZES.filter(bool), st.data())
def test_a_file_cut_anywhere_gives_what_is_whole_and_goes_on_when_it_has_grown(sizes, data):
    raw, payloads, places = written(sizes)
    cut = data.draw(st.integers(len(HEADER), len(raw)))
    found, reader = read(raw[:cut])
    whole = [p for p, (_, end) in zip(payloads, places, strict=True) if end <= cut]
    assert found == whole
    assert not reader.is_tail_damaged
    rest = LogReader(io.BytesIO(raw), offset_bytes=reader.end_bytes)
    assert found + list(rest) == payloads


def test_a_file_torn_at_every_byte_of_its_last_record_keeps_all_before():
    raw, payloads, places = written([10, 33_000, 200])
    for cut in range(places[-1][0], len(raw)):
        found, reader = read(raw[:cut])
        assert found == payloads[:-1]
        assert reader.end_bytes == places[-2][1]
        assert (reader.tail is None) == (cut == places[-1][0])


@settings(max_examples=300)
@given(SIZES.filter(bool), st.data())
def test_a_flipped_byte_costs_its_block_at_most_and_is_told_if_a_record_follows(sizes, data):
    raw, payloads, places = written(sizes)
    at = data.draw(st.integers(len(HEADER), len(raw) - 1))
    harmed = bytearray(raw)
    harmed[at] ^= data.draw(st.integers(1, 255))
    found, reader = read(bytes(harmed))
    records = [item for item in found if not isinstance(item, Damage)]
    block = at // BLOCK_BYTES
    is_safe = [end <= at or start // BLOCK_BYTES > block for start, end in places]
    safe = [p for p, kept in zip(payloads, is_safe, strict=True) if kept]
    remaining = iter(payloads)
    assert all(record in remaining for record in records), "in order, and nothing made up"
    remaining = iter(records)
    assert all(payload in remaining for payload in safe)
    if len(records) < len(payloads) and records and records[-1] == payloads[-1] and sizes[-1] > 3:
        assert any(isinstance(item, Damage) for item in found)
    for item in found:
        if isinstance(item, Damage):
            assert item.offset_bytes <= at <= item.offset_bytes + item.size_bytes
    assert reader.end_bytes <= len(raw)


@given(st.binary(max_size=2000))
def test_any_bytes_are_read_without_an_error(raw):
    found, reader = read(HEADER + raw)
    assert all(isinstance(item, bytes | Damage) for item in found)
    assert reader.end_bytes <= len(HEADER) + len(raw)


def test_a_block_of_zeros_in_the_middle_is_told():
    raw, payloads, _ = written([100] * 2000)
    harmed = raw[:BLOCK_BYTES] + bytes(BLOCK_BYTES) + raw[2 * BLOCK_BYTES :]
    found, _ = read(harmed)
    damages = [item for item in found if isinstance(item, Damage)]
    assert len(damages) == 1
    assert payloads[-1] == found[-1]


def test_a_record_that_claims_to_be_larger_than_any_is_damage(monkeypatch):
    monkeypatch.setattr(log_blocks, "RECORD_BYTES_MAX", 100_000)
    raw, payloads, _ = written([10, 150_000, 20])
    found, _ = read(raw)
    assert found[0] == payloads[0]
    assert isinstance(found[1], Damage)
    assert found[2] == payloads[2]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "empty"),
        (b":W&B", "shorter"),
        (b"PK\x03\x04abc", "does not begin"),
        (HEADER[:6] + b"\x01", "version 1"),
    ],
)
def test_what_is_no_such_file_is_named(raw, said):
    with pytest.raises(NotAWandbFileError, match=said):
        check_file_header(raw)
