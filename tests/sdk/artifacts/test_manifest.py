"""The manifest that the SDK writes is the one that the server reads."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from kelt.artifacts.manifest import Entry, digest_of_md5, encode_manifest, manifest_digest
from kelt_server.artifacts import manifests

PATHS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
CONTENTS = st.binary(max_size=8)


@st.composite
def entries(draw: st.DrawFn) -> dict[str, Entry]:
    found = {}
    for path in draw(st.lists(PATHS, unique=True, max_size=6)):
        content = draw(CONTENTS)
        md5 = hashlib.md5(content).hexdigest()
        if draw(st.booleans()):
            found[path] = Entry(path=path, digest=digest_of_md5(md5), size_bytes=len(content))
        else:
            ref = "s3://" + draw(PATHS)
            is_read = draw(st.booleans())
            digest = digest_of_md5(md5) if is_read else ref
            size_bytes = len(content) if is_read else None
            found[path] = Entry(path=path, digest=digest, size_bytes=size_bytes, ref=ref)
    return found


@given(entries())
def test_the_server_reads_every_entry_and_computes_the_same_digest(said):
    read = manifests.read_manifest(encode_manifest(said))
    assert read.digest() == manifest_digest(said)
    assert {
        file.path: (file.digest, file.md5, file.size_bytes, file.ref) for file in read.files()
    } == {
        path: (entry.digest, entry.md5, entry.size_bytes or 0, entry.ref)
        for path, entry in said.items()
    }


@given(entries())
def test_the_order_in_which_files_were_added_makes_no_difference(said):
    other = dict(reversed(said.items()))
    assert encode_manifest(other) == encode_manifest(said)
    assert manifest_digest(other) == manifest_digest(said)
