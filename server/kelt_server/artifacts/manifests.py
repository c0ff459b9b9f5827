"""Manifests: which files an artifact has, as wandb's clients write them. Pure.

    {"version": 1, "storagePolicy": …, "storagePolicyConfig": {…},
     "contents": {path: {"digest": str, "size": int, "ref"?: uri, "birthArtifactID"?: str, …}}}

The digest of a file is its MD5 in base64; of a reference it is what the client says. The digest of
the manifest is the MD5 of its entries' paths and digests.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kelt_server.artifacts.names import is_storable
from kelt_server.artifacts.records import ArtifactFile
from kelt_server.errors import BadRequestError

FULL, INCREMENTAL, PATCH = "FULL", "INCREMENTAL", "PATCH"
BYTES_MAX = 128 * 2**20
_MD5_BYTES = 16
_PATH_CHARS_MAX = 4096
_SIZES_END = 2**62
_HEAD = b"wandb-artifact-manifest-v1\n"


@dataclass(frozen=True, slots=True)
class Manifest:
    """One that was read; `document` is all that it said."""

    document: Mapping[str, Any]
    contents: Mapping[str, Mapping[str, Any]]

    def files(self) -> Iterator[ArtifactFile]:
        """Its entries, checked.

        Raises:
            BadRequestError: one cannot be kept.
        """
        for path, entry in self.contents.items():
            yield _file(path, entry)

    def digest(self) -> str:
        """As clients compute it."""
        hasher = hashlib.md5(_HEAD, usedforsecurity=False)
        for path in sorted(self.contents):
            hasher.update(f"{path}:{self.contents[path]['digest']}\n".encode())
        return hasher.hexdigest()

    def with_contents_of(self, others: Iterable[Manifest]) -> Manifest:
        """This one with the entries of others where it has none; of others the last counts."""
        contents: dict[str, Mapping[str, Any]] = {}
        for piece in (*others, self):
            contents.update(piece.contents)
        return Manifest({**self.document, "contents": contents}, contents)

    def to_json(self) -> bytes:
        """As it is written."""
        return json.dumps(self.document).encode()


def read_manifest(raw: bytes) -> Manifest:
    """A manifest that a client put.

    Raises:
        BadRequestError: it is none.
    """
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"the manifest is not JSON: {error}") from error
    contents = document.get("contents") if isinstance(document, dict) else None
    if not isinstance(contents, dict):
        raise BadRequestError("the manifest lists no contents")
    if document.get("version") != 1:
        raise BadRequestError(f"manifests of version {document.get('version')!r} are not known")
    for path, entry in contents.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("digest"), str):
            raise BadRequestError(f"the manifest's entry {path[:100]!r} has no digest")
    return Manifest(document, contents)


def md5_hex(digest: str) -> str:
    """An MD5 in base64 as hexadecimal digits; empty where it is none."""
    try:
        raw = base64.b64decode(digest, validate=True)
    except (ValueError, binascii.Error):
        return ""
    return raw.hex() if len(raw) == _MD5_BYTES else ""


def _file(path: str, entry: Mapping[str, Any]) -> ArtifactFile:
    size, ref = entry.get("size"), entry.get("ref")
    size_bytes = size if isinstance(size, int) and 0 <= size < _SIZES_END else 0
    ref = ref if isinstance(ref, str) else ""
    md5 = "" if ref else md5_hex(entry["digest"])
    if not ref and not md5:
        raise BadRequestError(
            f"the digest {entry['digest'][:60]!r} of {path[:100]!r} is no MD5, by which kelt "
            "keeps files"
        )
    if not path or len(path) > _PATH_CHARS_MAX or not is_storable(path + ref):
        raise BadRequestError(
            f"{path[:100]!r} cannot be the path of a file: it has 1 to {_PATH_CHARS_MAX} characters"
        )
    return ArtifactFile(path=path, digest=entry["digest"], md5=md5, size_bytes=size_bytes, ref=ref)
