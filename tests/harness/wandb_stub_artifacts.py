"""The part of `WandbStub` that keeps artifacts, as strictly as W&B's may: what lacks a file is no
version, one content is one version of a collection, and nobody is known again by a client's id.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any


@dataclass
class StubArtifact:
    """One that was begun; `version` once it was committed."""

    id: str
    given: dict[str, Any]
    version: int | None = None
    manifest: dict[str, Any] = field(default_factory=dict)

    @property
    def collection(self) -> tuple[str, str, str]:
        given = self.given
        return given["entityName"], given["projectName"], given["artifactCollectionName"]


@dataclass
class StubArtifacts:
    """`aliases` are by collection and name."""

    url: str = ""
    #: Also of files that are there.
    names_all_addresses: bool = False
    begun: dict[str, StubArtifact] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    aliases: dict[tuple[tuple[str, str, str], str], StubArtifact] = field(default_factory=dict)
    #: By id: whose, and the MD5 (base64) that was said.
    manifests: dict[str, tuple[str, str]] = field(default_factory=dict)

    def versions(self, name: str) -> list[StubArtifact]:
        found = [a for a in self.begun.values() if a.collection[2] == name]
        return sorted((a for a in found if a.version is not None), key=lambda a: a.version or 0)

    def newest(self, collection: tuple[str, str, str]) -> StubArtifact | None:
        return self.aliases.get((collection, "latest"))

    def answers(self) -> dict[str, Any]:
        return {
            "createArtifact": self._create, "artifact": self._ask, "commitArtifact": self._commit,
            "createArtifactManifest": self._create_manifest,
            "createArtifactFiles": self._create_files, "clientIDMapping": self._client_id,
        }  # fmt: skip

    def put(self, name: str, content: bytes) -> int:
        """A content, or a manifest, at the address that was named for it; an HTTP status."""
        md5 = hashlib.md5(content).digest()
        if name in self.manifests:
            artifact_id, said = self.manifests[name]
            if base64.b64encode(md5).decode() != said:
                return 400
            self.begun[artifact_id].manifest = json.loads(content)
            return 200
        if md5.hex() != name:
            return 400
        self.blobs[name] = content
        return 200

    def _create(self, variables: dict[str, Any]) -> dict[str, Any]:
        made = StubArtifact(f"QXJ0aWZhY3Q6{len(self.begun):04d}", variables["input"])
        for known in self.versions(made.collection[2]):
            if known.given["digest"] == made.given["digest"]:
                self._point(known, made.given)
                return self._payload("createArtifact", known)
        self.begun[made.id] = made
        return self._payload("createArtifact", made)

    def _ask(self, variables: dict[str, Any]) -> dict[str, Any]:
        found = self.begun.get(variables["id"])
        return {"data": {"artifact": None if found is None else self._node(found)}}

    def _create_manifest(self, given: dict[str, Any]) -> dict[str, Any]:
        manifest_id = f"M{len(self.manifests)}"
        self.manifests[manifest_id] = given["artifactID"], given["digest"]
        url = f"{self.url}/blob/{manifest_id}"
        file = {"id": manifest_id, "uploadUrl": url, "uploadHeaders": ["X-Said: so"]}
        found = {"id": manifest_id, "file": file if given["includeUpload"] else {"id": "f"}}
        return {"data": {"createArtifactManifest": {"artifactManifest": found}}}

    def _create_files(self, variables: dict[str, Any]) -> dict[str, Any]:
        edges = []
        for file in variables["input"]["artifactFiles"]:
            assert file["artifactManifestID"] in self.manifests
            md5 = base64.b64decode(file["md5"]).hex()
            is_asked = self.names_all_addresses or md5 not in self.blobs
            url = f"{self.url}/blob/{md5}" if is_asked else None
            node = {
                "storagePath": md5, "uploadUrl": url, "uploadHeaders": [],
                "uploadMultipartUrls": None, "artifact": {"id": file["artifactID"]},
            }  # fmt: skip
            edges.append({"node": node})
        return {"data": {"createArtifactFiles": {"files": {"edges": edges}}}}

    def _commit(self, given: dict[str, Any]) -> dict[str, Any]:
        found = self.begun[given["artifactID"]]
        contents = found.manifest.get("contents")
        files = [file["digest"] for file in (contents or {}).values() if "ref" not in file]
        if contents is None or any(base64.b64decode(f).hex() not in self.blobs for f in files):
            return {"errors": [{"message": "a file is missing"}]}
        if found.version is None:
            found.version = len(self.versions(found.collection[2]))
            self._point(found, found.given)
        return self._payload("commitArtifact", found)

    def _client_id(self, given: dict[str, Any]) -> dict[str, Any]:
        ids = [a.id for a in self.begun.values() if a.given["clientID"] == given["clientID"]]
        return {"data": {"clientIDMapping": {"serverID": ids[-1]} if ids else None}}

    def _point(self, found: StubArtifact, given: dict[str, Any]) -> None:
        for said in given["aliases"]:
            self.aliases[found.collection, said["alias"]] = found

    def _payload(self, name: str, found: StubArtifact) -> dict[str, Any]:
        return {"data": {name: {"artifact": self._node(found)}}}

    def _node(self, found: StubArtifact) -> dict[str, Any]:
        newest = self.newest(found.collection)
        return {
            "id": found.id, "digest": found.given["digest"], "versionIndex": found.version,
            "state": "PENDING" if found.version is None else "COMMITTED",
            "artifactSequence": {"latestArtifact": newest and {"id": newest.id}},
        }  # fmt: skip
