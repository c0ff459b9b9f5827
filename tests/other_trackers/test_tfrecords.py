"""The record format: whatever is done to a file, what is whole is read and nothing is made up."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kelt.other_trackers.tensorboard.tfrecords import (
    DamagedRecord,
    TFRecordReader,
    crc32c,
    encode_record,
    masked_crc32c,
)
from kelt.wandb_files.log_blocks import Damage

PAYLOADS = st.lists(st.binary(max_size=60), min_size=1, max_size=6)


def read(raw):
    reader = TFRecordReader(io.BytesIO(raw))
    return list(reader), reader


@pytest.mark.parametrize(
    ("data", "wanted"),
    [(b"", 0), (b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43)],
)
def test_the_checksum_is_that_of_rfc_3720(data, wanted):
    assert crc32c(data) == wanted


def test_a_long_record_has_the_checksum_of_its_pieces():
    data = bytes(range(256)) * 1000 + b"x"
    assert masked_crc32c(data) == masked_crc32c(bytearray(data))


@given(PAYLOADS)
def test_what_was_written_is_read(payloads):
    raw = b"".join(map(encode_record, payloads))
    found, reader = read(raw)
    assert found == payloads
    assert (reader.end_bytes, reader.tail) == (len(raw), None)


@given(PAYLOADS, st.data())
def test_a_file_cut_anywhere_gives_what_is_whole(payloads, data):
    raw = b"".join(map(encode_record, payloads))
    cut = data.draw(st.integers(0, len(raw)))
    found, reader = read(raw[:cut])
    assert found == payloads[: len(found)]
    assert len(b"".join(map(encode_record, found))) == reader.end_bytes <= cut
    assert (reader.tail is None) == (reader.end_bytes == cut)


@given(PAYLOADS, st.data())
def test_a_flipped_byte_costs_its_record_alone(payloads, data):
    raw = bytearray(b"".join(map(encode_record, payloads)))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    harmed, end = 0, 0
    for harmed, payload in enumerate(payloads):  # noqa: B007 # the last number is wanted
        end += len(encode_record(payload))
        if at < end:
            break
    found, reader = read(bytes(raw))
    whole = [item for item in found if isinstance(item, bytes)]
    assert whole == payloads[:harmed] + payloads[harmed + 1 :]
    said = [item for item in found if isinstance(item, DamagedRecord | Damage)]
    # A damaged length of the last record has no record behind it that tells.
    assert len(said) == 1 or (reader.is_tail_damaged and harmed == len(payloads) - 1)
