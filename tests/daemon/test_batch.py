"""Making pushes of journal entries."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kelt.journal.entries import Entry
from kelt_daemon.batch import gather

A, B = b"a" * 16, b"b" * 16


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
