"""Manifests as wandb's own code writes them."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from server.artifacts.shelves import manifest_of, md5_base64
from wandb.sdk.artifacts._generated import ArtifactDigestAlgorithm
from wandb.sdk.artifacts.artifact_manifest_entry import ArtifactManifestEntry
from wandb.sdk.artifacts.artifact_manifests.artifact_manifest_v1 import ArtifactManifestV1
from wandb.sdk.artifacts.storage_policies.wandb_storage_policy import WandbStoragePolicy

from kelt_server.artifacts import names
from kelt_server.artifacts.manifests import md5_hex, read_manifest
from kelt_server.errors import BadRequestError, NotFoundError

_PART = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\\/."), min_size=1)
PATHS = st.lists(st.lists(_PART, min_size=1, max_size=3).map("/".join), max_size=5, unique=True)


@settings(max_examples=50, deadline=None)
@given(PATHS, st.binary(max_size=4))
def test_the_digest_is_the_clients_own(paths: list[str], content: bytes) -> None:
    theirs = ArtifactManifestV1(
        storage_policy=WandbStoragePolicy(), digest_algorithm=ArtifactDigestAlgorithm.MANIFEST_MD5
    )
    for path in paths:
        entry = ArtifactManifestEntry(path=path, digest=md5_base64(content), size=len(content))
        if entry.path not in theirs.entries:
            theirs.add_entry(entry)
    ours = read_manifest(json.dumps(theirs.to_manifest_json()).encode())
    assert ours.digest() == theirs.digest()
    assert {file.path for file in ours.files()} == {str(path) for path in theirs.entries}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=30)
    | st.fixed_dictionaries({"version": st.just(1), "contents": JSON}).map(
        lambda said: json.dumps(said).encode()
    )
)
def test_no_manifest_is_more_than_refused(raw: bytes) -> None:
    with suppress(BadRequestError):
        list(read_manifest(raw).files())


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"size": 1}, "no digest"),
        ({"digest": "abc"}, "no MD5"),
        ({"digest": md5_base64(b"") + "!"}, "no MD5"),
    ],
)
def test_what_is_wrong_is_named(entry: dict[str, Any], reason: str) -> None:
    raw = json.dumps({"version": 1, "contents": {"some/path": entry}}).encode()
    with pytest.raises(BadRequestError, match=reason):
        list(read_manifest(raw).files())


def test_entries_of_the_newer_go_before() -> None:
    old, new = manifest_of({"a": b"1", "b": b"1"}), manifest_of({"b": b"2"})
    merged = new.with_contents_of([old])
    assert {f.path: f.digest for f in merged.files()} == {
        "a": md5_base64(b"1"), "b": md5_base64(b"2"),
    }  # fmt: skip


@given(st.integers(0, 10**17))
def test_ids_come_back(number: int) -> None:
    assert names.decode_id("Artifact", names.encode_id("Artifact", number)) == number


@given(st.text() | st.none() | st.integers())
def test_what_is_no_id_is_not_found(said: object) -> None:
    with pytest.raises(NotFoundError):
        names.decode_id("Artifact", said)


@given(st.text(max_size=20))
def test_no_digest_is_too_strange(said: str) -> None:
    assert md5_hex(said) in ("", said) or len(md5_hex(said)) == 32
