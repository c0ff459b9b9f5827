"""What a sweep takes, and what it leaves."""

from __future__ import annotations

import pytest
from server.artifacts.shelves import Shelf, manifest_of

from kelt_server.artifacts.sweeping import GRACE_S, Swept
from kelt_server.errors import NotFoundError

A, B = {"a.txt": b"a"}, {"a.txt": b"a", "b.txt": b"b"}
LATER = GRACE_S + 60


def test_what_is_committed_stays(shelf: Shelf) -> None:
    shelf.log(A)
    shelf.log(B)
    before = sorted(shelf.files())
    assert shelf.sweep_later(LATER) == Swept()
    assert sorted(shelf.files()) == before


def test_the_files_of_a_deleted_version_go_but_those_that_another_has(shelf: Shelf) -> None:
    shelf.log(A)
    newest = shelf.log(B)
    shelf.library.delete(newest.id, with_aliases=True)
    assert shelf.sweep_later(LATER).files == 2  # b.txt, and the manifest
    assert shelf.blobs.has_blob("e", "0cc175b9c0f1b6a831c399e269772661")
    assert shelf.number("v0") == 0


def test_what_was_put_lately_stays_though_nothing_refers_to_it(shelf: Shelf) -> None:
    shelf.put(A)
    assert shelf.sweep_later(GRACE_S - 60).files == 0
    assert shelf.sweep_later(120).files == 1


def test_what_was_asked_for_lately_stays_too(shelf: Shelf) -> None:
    shelf.put(A)
    shelf.sweep_later(GRACE_S - 60)
    assert shelf.blobs.has_blob("e", "0cc175b9c0f1b6a831c399e269772661")
    assert shelf.sweep_later(120).files == 0


def test_what_was_begun_and_never_committed_is_given_up(shelf: Shelf) -> None:
    begun = shelf.begin(A)
    shelf.put(A)
    shelf.put_manifest(begun.id, manifest_of(A))
    assert shelf.sweep_later(LATER) == Swept(given_up=1, files=2)
    with pytest.raises(NotFoundError):
        shelf.library.artifact(begun.id)
    assert shelf.log(A).name == "data:v0"


def test_versions_end_when_they_have_lived_long_enough(shelf: Shelf) -> None:
    shelf.log(A, ttl_s=100)
    shelf.log(B)
    assert shelf.sweep_later(99) == Swept()
    assert shelf.sweep_later(2).outlived == 1
    assert (shelf.number("v0"), shelf.number("latest")) == (None, 1)


def test_a_sweep_counts_what_there_is(shelf: Shelf) -> None:
    shelf.log(B)
    taken = shelf.quota.taken_bytes
    shelf.sweep_later(0)
    assert shelf.quota.taken_bytes == taken == sum(p.stat().st_size for p in shelf.files())


def test_a_killed_server_leaves_nothing_behind(shelf: Shelf) -> None:
    incoming = shelf.folder / "incoming"
    incoming.mkdir(parents=True, exist_ok=True)
    (incoming / "half").write_bytes(b"x")
    Shelf(shelf.folder.parent, shelf.library._engine)
    assert list(incoming.iterdir()) == []
