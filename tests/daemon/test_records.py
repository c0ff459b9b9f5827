"""What the daemon notices in the batches that it passes on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kelt_daemon.records import encode_loss, holds_control, notice
from kelt_proto.v1.frames import Kind, crc_seed, encode_frame
from kelt_proto.v1.record_pb2 import Exit

WRITER = bytes(range(16))
#: As many bytes of rows as look like the heads of losses and goodbyes.
ROWS = [encode_frame(crc_seed(WRITER), Kind.ROW, n, b"\x0a\x01LK\x09\x00LK" * n) for n in range(9)]


def goodbye(code: int) -> bytes:
    said = Exit(exit_code=code).SerializeToString()
    return encode_frame(crc_seed(WRITER), Kind.EXIT, 90, said)


def test_losses_are_added_up_and_the_first_goodbye_counts():
    losses = [encode_loss(WRITER, 10, 14, "gone"), encode_loss(WRITER, 20, 20, "gone")]
    batch = b"".join([*ROWS, losses[0], *ROWS, goodbye(3), losses[1], goodbye(4)])
    rows, said, _ = notice(batch, WRITER)
    assert rows == 6
    assert said is not None
    assert said.exit_code == 3


def test_rows_alone_say_nothing_whatever_their_values_look_like():
    assert notice(b"".join(ROWS), WRITER) == (0, None, False)
    assert notice(b"", WRITER) == (0, None, False)


def test_what_another_writer_said_is_not_taken_for_this_ones():
    other = encode_loss(bytes(16), 1, 5, "gone")
    assert notice(b"".join([*ROWS, other, goodbye(1)]), WRITER)[0] == 0


@given(cut=st.integers(0, 2000), junk=st.binary(max_size=64))
def test_damage_costs_what_comes_after_it_and_ends_nothing(cut, junk):
    batch = b"".join([goodbye(7), *ROWS, encode_loss(WRITER, 10, 14, "gone")])
    rows, said, _ = notice(batch[: min(cut, len(batch))] + junk, WRITER)
    assert rows in {0, 5}
    assert said is None or said.exit_code == 7


def test_no_room_is_kept_for_rows_and_output():
    kinds = (Kind.CONSOLE, Kind.SYSTEM, Kind.FILE_PIECE)
    output = [encode_frame(crc_seed(WRITER), kind, 1, b"x") for kind in kinds]
    assert not holds_control(b"".join([*ROWS, *output]))
    assert holds_control(b"".join([*ROWS, *output, goodbye(0)]))
