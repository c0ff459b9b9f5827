"""What becomes a version, and under which names it is found."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from server.artifacts.shelves import Shelf, manifest_of

from kelt_server.artifacts import queries
from kelt_server.artifacts.records import Artifact
from kelt_server.errors import BadRequestError, NotFoundError

A, B = {"a.txt": b"a"}, {"a.txt": b"a", "b.txt": b"b"}


def test_versions_count_from_zero_and_latest_follows(shelf: Shelf) -> None:
    assert shelf.log(A).name == "data:v0"
    assert shelf.log(B, aliases=("best",)).name == "data:v1"
    assert [shelf.number(alias) for alias in ("v0", "v1", "latest", "best")] == [0, 1, 1, 1]
    assert shelf.version("v2") is shelf.version("nothing") is None


def test_the_same_content_is_the_same_version_and_takes_the_aliases(shelf: Shelf) -> None:
    first = shelf.log(A)
    shelf.log(B)
    again = shelf.log(A, aliases=("again",), logged_by=("e", "p", "r2"), client_id="c2")
    assert (again.id, again.version) == (first.id, 0)
    assert shelf.number("latest") == shelf.number("again") == 0
    with shelf.library.reading() as reading:
        assert [a.name for a in queries.logged_by(reading, ("e", "p", "r2"))] == ["data:v0"]
        found = queries.by_client_id(reading, "c2")
    assert found is not None
    assert found.id == first.id


def test_a_client_that_says_it_again_goes_on_with_the_same(shelf: Shelf) -> None:
    begun = shelf.begin(A, client_id="c1")
    assert shelf.begin(A, client_id="c1").id == begun.id
    shelf.log(A, client_id="c1")
    shelf.log(B)
    assert shelf.log(A, client_id="c1").version == 0
    assert shelf.number("latest") == 1  # a file that is synced again moves nothing back


def test_two_that_log_the_same_at_once_have_one_version(shelf: Shelf) -> None:
    one, other = shelf.begin(A), shelf.begin(A, aliases=("other",))
    assert one.id != other.id
    shelf.put(A)
    for begun in (one, other):
        shelf.put_manifest(begun.id, manifest_of(A))
        assert shelf.library.commit(begun.id).name == "data:v0"
    assert shelf.library.artifact(other.id).id == one.id
    assert shelf.number("other") == 0


def test_a_commit_is_repeated_without_a_change(shelf: Shelf) -> None:
    found = shelf.log(A)
    shelf.log(B)
    assert shelf.library.commit(found.id).name == "data:v0"
    assert shelf.number("latest") == 1


def test_a_commit_that_broke_off_is_made_again(shelf: Shelf) -> None:
    begun = shelf.begin(B)
    shelf.put(B)
    shelf.put_manifest(begun.id, manifest_of(B))
    shelf.library._write_files(begun.id, list(manifest_of(A).files()))  # and the server is killed
    assert shelf.library.commit(begun.id).file_count == 2
    with shelf.library.reading() as reading:
        assert [file.path for file in queries.files(reading, begun.id)] == ["a.txt", "b.txt"]


def test_many_at_once_have_numbers_of_their_own(shelf: Shelf) -> None:
    def log(number: int) -> Artifact:
        return shelf.log({"a": str(number).encode()})

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(log, range(16)))
    assert sorted(item.version or 0 for item in found) == list(range(16))


def test_nothing_is_seen_before_it_is_committed(shelf: Shelf) -> None:
    begun = shelf.begin(A, aliases=("best",))
    shelf.put(A)
    shelf.put_manifest(begun.id, manifest_of(A))
    assert shelf.version("latest") is shelf.version("best") is None
    with pytest.raises(BadRequestError, match="still being logged"):
        shelf.library.add_aliases(begun.id, ["x"])


def test_what_lacks_a_file_or_a_manifest_is_no_version(shelf: Shelf) -> None:
    begun = shelf.begin(A)
    with pytest.raises(BadRequestError, match="no manifest"):
        shelf.library.commit(begun.id)
    shelf.put_manifest(begun.id, manifest_of(A))
    with pytest.raises(BadRequestError, match=r"a\.txt"):
        shelf.library.commit(begun.id)
    shelf.put(A)
    assert shelf.library.commit(begun.id).name == "data:v0"


def test_a_file_of_another_entity_is_not_there(shelf: Shelf) -> None:
    shelf.put(A, entity="other")
    begun = shelf.begin(A)
    shelf.put_manifest(begun.id, manifest_of(A))
    with pytest.raises(BadRequestError, match="not on the server"):
        shelf.library.commit(begun.id)


def test_references_are_kept_without_a_file(shelf: Shelf) -> None:
    manifest = manifest_of({}, {"x": "s3://bucket/x"})
    begun = shelf.library.begin(shelf.new(manifest.digest())).artifact
    shelf.put_manifest(begun.id, manifest)
    found = shelf.library.commit(begun.id)
    with shelf.library.reading() as reading:
        (file,) = queries.files(reading, found.id)
    assert (file.path, file.ref, file.md5, found.file_count) == ("x", "s3://bucket/x", "", 1)


def test_an_increment_has_the_files_of_its_base(shelf: Shelf) -> None:
    base = shelf.log(A)
    more = {"b.txt": b"b"}
    begun = shelf.begin(more)
    shelf.put(more)
    shelf.put_manifest(begun.id, manifest_of(more), "INCREMENTAL", base.id)
    found = shelf.library.commit(begun.id)
    assert (found.file_count, found.digest) == (2, manifest_of(B).digest())
    assert shelf.log(B).id == found.id


def test_an_increment_of_what_is_gone_is_refused(shelf: Shelf) -> None:
    base = shelf.log(A)
    shelf.library.delete(base.id, with_aliases=True)
    begun = shelf.begin(B)
    shelf.put(B)
    shelf.put_manifest(begun.id, manifest_of(B), "INCREMENTAL", base.id)
    with pytest.raises(NotFoundError):
        shelf.library.commit(begun.id)


def test_patches_of_several_runs_are_one_version(shelf: Shelf) -> None:
    for number in range(3):
        files = {f"{number}.txt": str(number).encode()}
        begun = shelf.begin(files, distributed_id="d")
        shelf.put(files)
        shelf.put_manifest(begun.id, manifest_of(files), "PATCH")
    found = shelf.library.commit(begun.id)
    assert (found.name, found.file_count) == ("data:v0", 3)


def test_a_name_has_one_type(shelf: Shelf) -> None:
    shelf.log(A)
    with pytest.raises(BadRequestError, match="'dataset'"):
        shelf.log(B, type="model")


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "x" * 257, "\ud800", "a\0"])
def test_names_that_cannot_be(shelf: Shelf, name: str) -> None:
    with pytest.raises(BadRequestError):
        shelf.log(A, name=name)
    with pytest.raises(BadRequestError):
        shelf.log(A, aliases=(name,))


def test_the_number_of_a_version_is_no_alias(shelf: Shelf) -> None:
    with pytest.raises(BadRequestError, match="number of a version"):
        shelf.log(A, aliases=("v7",))


def test_a_version_with_aliases_is_deleted_with_them_only(shelf: Shelf) -> None:
    shelf.log(A)
    newest = shelf.log(B)
    with pytest.raises(BadRequestError, match="latest"):
        shelf.library.delete(newest.id, with_aliases=False)
    shelf.library.delete(newest.id, with_aliases=True)
    assert (shelf.number("latest"), shelf.version("v1")) == (0, None)
    with pytest.raises(NotFoundError):
        shelf.library.artifact(newest.id)
    assert shelf.log(B).name == "data:v2"  # numbers are not given twice


def test_a_deleted_collection_leaves_its_name(shelf: Shelf) -> None:
    found = shelf.log(A)
    shelf.library.delete_collection(found.collection.id)
    assert shelf.version("latest") is None
    assert shelf.log(A, type="model").name == "data:v0"
    with pytest.raises(NotFoundError):
        shelf.library.artifact(found.id)


def test_runs_that_use_a_version_are_kept_once_and_in_order(shelf: Shelf) -> None:
    found = shelf.log(A)
    for run in ("r3", "r2", "r3"):
        shelf.now += 1
        shelf.library.use(found.id, ("e", "p", run), "")
    with shelf.library.reading() as reading:
        assert [run[2] for run in queries.users_of(reading, found.id)] == ["r3", "r2"]
        assert [a.name for a in queries.used_by_run(reading, ("e", "p", "r2"))] == ["data:v0"]
