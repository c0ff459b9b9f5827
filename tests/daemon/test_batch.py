"""Making pushes of journal entries."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kelt.journal.entries import Entry
from kelt_daemon.batch import Outgoing, Push, PushBounds, gather, without_refused
from kelt_proto.v1.frames import Kind, crc_seed, encode_frame, iter_frames

A, B = b"a" * 16, b"b" * 16
W = b"w" * 16


def entry(first: int, last: int, size: int = 10, writer: bytes = A) -> Entry:
    return Entry(writer, first, last, b"x" * size)


def spans(push):
    return [(b.writer_id, b.first_seq, b.last_seq, b.frames is not None) for b in push.batches]


def test_what_was_sent_is_passed_over():
    push = gather([entry(1, 5), entry(6, 9), entry(6, 9)], {A: 5}, bytes_max=1000)
    assert spans(push) == [(A, 6, 9, True)]
    assert push.taken == 3


def test_a_jump_in_the_numbers_becomes_a_batch_to_be_filled():
    push = gather([entry(1, 5), entry(8, 9)], {}, bytes_max=1000)
    assert spans(push) == [(A, 1, 5, True), (A, 6, 7, False), (A, 8, 9, True)]
    assert push.sent_through == {A: 9}


def test_an_overlap_goes_whole_as_the_upstream_takes_the_rest():
    assert spans(gather([entry(3, 8)], {A: 5}, bytes_max=1000)) == [(A, 3, 8, True)]


def test_an_entry_larger_than_the_limit_travels_alone():
    entries = [entry(1, 1, 5), entry(2, 2, 500), entry(3, 3, 5)]
    sizes, sent = [], {}
    while entries:
        push = gather(entries, sent, bytes_max=100)
        sizes.append(sum(len(b.frames) for b in push.batches))
        del entries[: push.taken]
        sent = push.sent_through
    assert sizes == [5, 500, 5]


@given(
    st.lists(
        st.tuples(st.sampled_from([A, B]), st.integers(1, 4), st.integers(0, 3), st.integers(0, 60))
    ),
    st.integers(1, 100),
)
def test_pushes_cover_every_number_once_and_in_order(parts, bytes_max):
    entries, at = [], {A: 0, B: 0}
    for writer, count, hole, size in parts:
        first = at[writer] + 1 + hole
        at[writer] = first + count - 1
        entries.append(entry(first, at[writer], size, writer))
    sent: dict[bytes, int] = {}
    reached = {A: 0, B: 0}
    while entries:
        push = gather(entries, sent, bytes_max=bytes_max)
        assert push.taken
        for batch in push.batches:
            assert batch.first_seq == reached[batch.writer_id] + 1
            reached[batch.writer_id] = batch.last_seq
        full = [b for b in push.batches if b.frames]
        assert sum(len(b.frames) for b in full) <= bytes_max or len(full) == 1
        del entries[: push.taken]
        sent = push.sent_through
    assert reached == at


# -- searching for what is refused ------------------------------------------------------------------

SEED = crc_seed(W)


def records(first: int, last: int) -> Entry:
    """An entry of real frames: a schema, and a record each."""
    frames = encode_frame(SEED, Kind.SCHEMA, 0, b"schema")
    for seq in range(first, last + 1):
        frames += encode_frame(SEED, Kind.ROW, seq, b"row %d" % seq)
    return Entry(W, first, last, frames)


def kinds_and_seqs(frames: bytes) -> list[tuple[int, int]]:
    return [(frame.kind, frame.seq) for frame in iter_frames(memoryview(frames))]


def test_an_entry_is_cut_where_enough_records_are_together_and_goes_on_there():
    entries, sent, pushed = [records(1, 5), records(6, 9)], {W: 1}, []
    while True:
        push = gather(entries, sent, bytes_max=10**6, records_max=3)
        if not push.batches:
            break
        pushed.append([(b.first_seq, b.last_seq) for b in push.batches])
        for batch in push.batches:
            rows = [(Kind.ROW, seq) for seq in range(batch.first_seq, batch.last_seq + 1)]
            assert kinds_and_seqs(batch.frames) == [(Kind.SCHEMA, 0), *rows]
        entries, sent = entries[push.taken :], push.sent_through
    assert pushed == [[(2, 4)], [(5, 5), (6, 7)], [(8, 9)]]


def test_numbers_that_hold_nothing_are_not_parted_from_the_record_behind_them():
    frames = b"".join(encode_frame(SEED, Kind.ROW, seq, b"row", 2) for seq in (3, 6, 9, 12))
    entries, sent = [Entry(W, 1, 12, frames)], {}
    pushed: dict[int, list[tuple[int, int]]] = {1: [], 4: [], 7: []}
    for records_max, parts in pushed.items():
        left, sent = entries, {}
        while left:
            push = gather(left, sent, bytes_max=10**6, records_max=records_max)
            (batch,) = push.batches
            parts.append((batch.first_seq, batch.last_seq))
            assert kinds_and_seqs(batch.frames) == [
                (Kind.ROW, seq) for seq in (3, 6, 9, 12) if batch.first_seq <= seq <= batch.last_seq
            ]
            left, sent = left[push.taken :], push.sent_through
    assert pushed == {
        1: [(1, 3), (4, 6), (7, 9), (10, 12)],
        4: [(1, 3), (4, 6), (7, 9), (10, 12)],
        7: [(1, 6), (7, 12)],
    }


def test_what_cannot_be_cut_travels_alone_and_whole():
    marker = Entry(W, 1, 100, encode_frame(SEED, Kind.LOSS, 100, b"lost"))
    push = gather([marker, records(101, 102)], {}, bytes_max=10**6, records_max=2)
    assert [(b.first_seq, b.last_seq) for b in push.batches] == [(1, 100)]


def test_a_hole_is_one_batch_without_frames_however_few_records_are_wanted():
    push = gather([records(50, 60)], {W: 1}, bytes_max=10**6, records_max=2)
    assert [(b.first_seq, b.last_seq, b.frames) for b in push.batches] == [(2, 49, None)]
    assert push.taken == 0


def widest() -> PushBounds:
    return PushBounds.widest(bytes_limit=1000, bytes_min=100)


@given(st.integers(1, 5000), st.sets(st.integers(1, 5000), max_size=4))
def test_the_search_finds_exactly_what_is_refused(count, refused):
    """The daemon's loop in small: what is sent is refused if it holds such a record."""
    bounds, done, found, tries = widest(), 0, set(), 0
    while done < count:
        tries += 1
        size = min(count - done, bounds.records_max or count)
        sent = set(range(done + 1, done + 1 + size)) - found
        if not sent & refused:
            bounds, done = bounds.accepted(size), done + size
        elif size > 1:
            bounds = bounds.refused(size)
        else:
            found |= sent
    assert found == refused & set(range(1, count + 1))
    # Down to each by halves, and up again by doubling.
    assert tries <= 20 + 40 * len(found)


def test_pushes_that_are_not_answered_in_time_shrink_to_a_bound_and_grow_again():
    bounds = widest()
    big = Push(batches=[Outgoing(W, 1, 2, bytes(500)), Outgoing(W, 3, 4, bytes(400))])
    bounds = bounds.too_slow(big)
    assert (bounds.bytes_max, bounds.records_max) == (450, None)
    for _ in range(5):
        bounds = bounds.too_slow(big)
    assert bounds.bytes_max == 100
    for _ in range(5):
        bounds = bounds.accepted(1)
    assert bounds == widest()


def test_a_single_batch_that_is_too_slow_is_cut():
    assert widest().too_slow(Push(batches=[Outgoing(W, 1, 8, bytes(500))])).records_max == 4


def test_markers_stand_in_the_place_of_what_was_refused():
    entry = records(1, 9)
    batch = Outgoing(W, 1, 9, entry.payload)
    markers = [Outgoing(W, n, n, encode_frame(SEED, Kind.LOSS, n, b"lost")) for n in (1, 4, 5, 9)]
    refused = {(W, m.first_seq): m for m in [*markers, Outgoing(W, 10, 10, b"")]}
    parts = without_refused(batch, refused)
    assert [(p.first_seq, p.last_seq) for p in parts] == [
        (1, 1), (2, 3), (4, 4), (5, 5), (6, 8), (9, 9)
    ]  # fmt: skip
    found = [x for p in parts for x in kinds_and_seqs(p.frames) if x[1]]
    assert [seq for kind, seq in found if kind == Kind.LOSS] == [1, 4, 5, 9]
    assert [seq for kind, seq in found if kind == Kind.ROW] == [2, 3, 6, 7, 8]
    other = Outgoing(b"x" * 16, 1, 9, entry.payload)
    assert without_refused(other, refused) == [other]
