"""What a W&B server answers about artifacts: pure. See `replies` for what reading may raise."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kelt_daemon.upstream.wandb.replies import read_headers

_COMMITTED, _DELETED = "COMMITTED", "DELETED"


@dataclass(frozen=True, kw_only=True)
class ArtifactStanding:
    """How far an artifact is.

    Attributes:
        id: the server's.
        version: once it is one.
        base_id: of the version that is the newest of its collection.
    """

    id: str
    version: str
    base_id: str | None


@dataclass(frozen=True, kw_only=True)
class FileAddress:
    """Where a content is to be put.

    Attributes:
        url: or an empty text: it is there.
        headers: that are to go along.
        birth_id: of the artifact that the server keeps it for.
    """

    url: str
    headers: Mapping[str, str]
    birth_id: str = ""


def read_created(data: Mapping[str, Any]) -> ArtifactStanding:
    """The answer to createArtifact."""
    return _standing(data["createArtifact"]["artifact"])


def read_asked(data: Mapping[str, Any]) -> ArtifactStanding | None:
    """The answer to a question; None where the artifact is gone."""
    artifact = data["artifact"]
    return None if artifact is None or artifact["state"] == _DELETED else _standing(artifact)


def read_committed(data: Mapping[str, Any]) -> str:
    """The answer to commitArtifact: the version."""
    return _version(data["commitArtifact"]["artifact"])


def read_server_id(data: Mapping[str, Any]) -> str:
    """The answer to clientIDMapping, as it stands in references; empty where there is none."""
    found = data["clientIDMapping"]
    return "" if found is None else base64.b64decode(found["serverID"], validate=True).hex()


def _standing(artifact: Mapping[str, Any]) -> ArtifactStanding:
    latest = (artifact.get("artifactSequence") or {}).get("latestArtifact")
    return ArtifactStanding(
        id=str(artifact["id"]),
        version=_version(artifact) if artifact["state"] == _COMMITTED else "",
        base_id=None if latest is None else str(latest["id"]),
    )


def _version(artifact: Mapping[str, Any]) -> str:
    index = artifact.get("versionIndex")
    return f"v{int(index)}" if index is not None else str(artifact["id"])


def read_manifest(data: Mapping[str, Any]) -> tuple[str, FileAddress]:
    """The answer to createArtifactManifest: its id, and where it goes."""
    found = data["createArtifactManifest"]["artifactManifest"]
    return str(found["id"]), _address(found["file"])


def read_file_addresses(data: Mapping[str, Any], count: int) -> Sequence[FileAddress]:
    """The answer to createArtifactFiles, for as many files as were named."""
    nodes = [edge["node"] for edge in data["createArtifactFiles"]["files"]["edges"]]
    if len(nodes) != count:
        raise ValueError(f"{len(nodes)} addresses for {count} files")
    return [_address(node) for node in nodes]


def _address(node: Mapping[str, Any]) -> FileAddress:
    artifact = node.get("artifact") or {}
    return FileAddress(
        url=str(node.get("uploadUrl") or ""),
        headers=read_headers(node.get("uploadHeaders")),
        birth_id=str(artifact.get("id") or ""),
    )
