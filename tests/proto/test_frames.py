import pytest
from hypothesis import given
from hypothesis import strategies as st

from kelt_proto.v1 import frames
from kelt_proto.v1.frames import DamagedFrameError, Kind, encode_frame, iter_frames

SEED = frames.crc_seed(b"w" * 16)
records = st.lists(
    st.tuples(st.sampled_from(Kind), st.integers(0, 2**64 - 1), st.binary(max_size=200)),
    max_size=20,
)


@given(records)
def test_frames_read_back_as_they_were_written(written):
    buffer = b"".join(encode_frame(SEED, *record) for record in written)
    read = list(iter_frames(memoryview(buffer)))
    assert [(f.kind, f.seq, bytes(f.payload)) for f in read] == written
    assert all(frames.is_intact(f, SEED) for f in read)
    assert b"".join(bytes(f.memory) for f in read) == buffer


@given(st.integers(1, 2**32 - 1), st.binary(max_size=20), st.integers(0, 2**32 - 1))
def test_numbers_that_hold_nothing_go_with_the_frame_behind_them(passed, payload, other):
    raw = encode_frame(SEED, Kind.ROW, 2**40, payload, passed)
    (frame,) = iter_frames(memoryview(raw))
    assert (frame.first_seq, frame.seq) == (2**40 - passed, 2**40)
    assert frames.is_intact(frame, SEED)
    # The checksum covers them.
    (changed,) = iter_frames(memoryview(raw[:20] + other.to_bytes(4, "little") + raw[24:]))
    assert frames.is_intact(changed, SEED) == (other == passed)


@pytest.mark.parametrize("seq", [0, 1, 3])
def test_more_numbers_than_there_are_before_a_frame_are_damage(seq):
    with pytest.raises(DamagedFrameError, match="cannot be passed"):
        list(iter_frames(memoryview(encode_frame(SEED, Kind.ROW, seq, b"", 3))))


def test_frames_end_at_the_first_zero_word():
    buffer = encode_frame(SEED, Kind.EXIT, 7, b"bye") + bytes(64)
    assert [f.seq for f in iter_frames(memoryview(buffer))] == [7]


@given(st.integers(0, 30 * 8 - 1))
def test_a_flipped_bit_is_noticed_wherever_it_is(bit):
    frame = bytearray(encode_frame(SEED, Kind.CONFIG, 7, b"123456"))
    frame[bit // 8] ^= 1 << bit % 8
    try:
        read = list(iter_frames(memoryview(frame)))
    except DamagedFrameError:
        return
    assert not read or not read[0].is_sealed or not frames.is_intact(read[0], SEED)


def test_a_frame_of_another_writer_is_not_intact():
    (frame,) = iter_frames(memoryview(encode_frame(SEED, Kind.CONFIG, 7, b"x")))
    assert not frames.is_intact(frame, frames.crc_seed(b"v" * 16))


@pytest.mark.parametrize("kept", [8, 23, 24, 31])
def test_a_frame_cut_short_is_damage_and_not_the_end(kept):
    frame = encode_frame(SEED, Kind.CONFIG, 7, b"0123456789")
    with pytest.raises(DamagedFrameError):
        list(iter_frames(memoryview(frame[:kept])))


def test_a_length_beyond_the_limit_is_damage():
    header = frames.word0(Kind.ROW, frames.PAYLOAD_BYTES_MAX + 1).to_bytes(8, "little") + bytes(16)
    with pytest.raises(DamagedFrameError, match="payload of"):
        list(iter_frames(memoryview(header + bytes(64))))
