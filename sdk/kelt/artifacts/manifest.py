"""What is in an artifact, as W&B's manifest (version 1) says it. Pure.

    {"version": 1, "storagePolicy": …, "storagePolicyConfig": {…},
     "contents": {path: {"digest": str, "size": int} or {"digest": str, "ref": uri, …}}}

The digest of a file is its MD5 in base64. The digest of the whole is the MD5 of paths and digests.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_HEAD = b"wandb-artifact-manifest-v1\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file, or a reference to what is kept elsewhere.

    Attributes:
        path: in the artifact, with slashes.
        digest: the MD5 in base64; of a reference whose content was not read, its address.
        size_bytes: None of a reference whose content was not read.
        ref: where it is kept; empty of a file.
    """

    path: str
    digest: str
    size_bytes: int | None
    ref: str = ""

    @property
    def size(self) -> int:
        """In bytes, as wandb calls it."""
        return self.size_bytes or 0

    @property
    def md5(self) -> str:
        """Under which a file's content is kept, in hex; empty of a reference."""
        return "" if self.ref else base64.b64decode(self.digest).hex()


def digest_of_md5(md5: str) -> str:
    """An MD5 in hex as manifests have it."""
    return base64.b64encode(bytes.fromhex(md5)).decode()


def manifest_digest(entries: Mapping[str, Entry]) -> str:
    """By which two artifacts with the same contents are one version."""
    hasher = hashlib.md5(_HEAD, usedforsecurity=False)
    for path in sorted(entries):
        hasher.update(f"{path}:{entries[path].digest}\n".encode())
    return hasher.hexdigest()


def encode_manifest(
    entries: Mapping[str, Entry], birth_ids: Mapping[str, str] | None = None
) -> bytes:
    """The manifest as it travels.

    Args:
        entries: what is in it, by path.
        birth_ids: to a W&B server, which artifact it keeps a file for, by path.
    """
    born = birth_ids or {}
    contents: dict[str, dict[str, object]] = {}
    for path in sorted(entries):
        entry = entries[path]
        said: dict[str, object] = {"digest": entry.digest}
        if entry.ref:
            said["ref"] = entry.ref
        if entry.size_bytes is not None:
            said["size"] = entry.size_bytes
        if path in born:
            said["birthArtifactID"] = born[path]
        contents[path] = said
    document = {
        "version": 1,
        "storagePolicy": "wandb-storage-policy-v1",
        "storagePolicyConfig": {"storageLayout": "V2"},
        "contents": contents,
    }
    return json.dumps(document).encode()


def decode_manifest(raw: bytes) -> dict[str, Entry]:
    """What was encoded.

    Raises:
        ValueError: it is no manifest.
    """
    try:
        return {path: _entry(path, said) for path, said in json.loads(raw)["contents"].items()}
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"its manifest cannot be read ({error})") from error


def _entry(path: str, said: Mapping[str, Any]) -> Entry:
    """Raises: TypeError or KeyError: it says nothing of the kind."""
    digest, size_bytes, ref = said["digest"], said.get("size"), said.get("ref", "")
    is_size = size_bytes is None or type(size_bytes) is int
    if not (isinstance(digest, str) and is_size and isinstance(ref, str)):
        raise TypeError(f"what it says of {path[:100]!r} is of other kinds")
    return Entry(path=path, digest=digest, size_bytes=size_bytes, ref=ref)
