"""A library of artifacts on a real catalog and a real folder, without a network."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kelt_server.artifacts import ArtifactLibrary, BlobStore, Sweeper, manifests, queries
from kelt_server.artifacts.manifests import Manifest
from kelt_server.artifacts.records import Artifact, NewArtifact
from kelt_server.catalog.sqlite import open_catalog
from kelt_server.counters import Counters
from kelt_server.storage_quota import StorageQuota

NOW = 1_000_000.0


def md5_base64(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content).digest()).decode()


async def stream(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def manifest_of(files: Mapping[str, bytes], refs: Mapping[str, str] | None = None) -> Manifest:
    contents: dict[str, dict[str, Any]] = {
        path: {"digest": md5_base64(content), "size": len(content)}
        for path, content in files.items()
    }
    contents |= {path: {"digest": ref, "ref": ref} for path, ref in (refs or {}).items()}
    return manifests.read_manifest(json.dumps({"version": 1, "contents": contents}).encode())


class Shelf:
    """Mutable state: the time, and whatever lies there."""

    def __init__(self, folder: Path, engine: Any, *, bytes_max: int = 10**6) -> None:
        self.folder = folder / "artifacts"
        self.now = NOW
        self.quota = StorageQuota(
            (self.folder,), bytes_max=bytes_max, disk_free_bytes_min=0, counters=Counters()
        )
        self.blobs = BlobStore(self.folder, quota=self.quota, file_bytes_max=10_000)
        self.library = ArtifactLibrary(
            engine=engine, blobs=self.blobs, quota=self.quota, clock=lambda: self.now
        )

    @classmethod
    @contextmanager
    def opened(cls, folder: Path) -> Iterator[Shelf]:
        catalog = open_catalog(folder / "catalog.sqlite")
        try:
            yield cls(folder, catalog.engine)
        finally:
            catalog.close()

    def sweep_later(self, seconds: float) -> Any:
        """What a sweep does after so long; files are as old as they would then be."""
        self.now += seconds
        for path in self.files():
            at = path.stat().st_mtime - seconds
            os.utime(path, (at, at))
        return Sweeper(library=self.library, quota=self.quota, clock=lambda: self.now).sweep()

    def files(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]

    def new(self, digest: str, **said: Any) -> NewArtifact:
        values: dict[str, Any] = {
            "entity": "e", "project": "p", "type": "dataset", "name": "data", "description": None,
            "metadata": None, "aliases": (), "tags": (), "ttl_s": None, "history_step": None,
            "logged_by": ("e", "p", "r1"), "client_id": "", "distributed_id": "",
        }  # fmt: skip
        return NewArtifact(digest=digest, **{**values, **said})

    def put(self, files: Mapping[str, bytes], entity: str = "e") -> None:
        for content in files.values():
            md5 = hashlib.md5(content).hexdigest()
            asyncio.run(self.blobs.put_blob(entity, md5, stream(content)))

    def put_manifest(
        self, number: int, manifest: Manifest, kind: str = "FULL", base_id: int | None = None
    ) -> None:
        said = self.library.announce_manifest(number, kind, base_id=base_id, digest="")
        content = stream(manifest.to_json())
        asyncio.run(self.blobs.put_manifest(said.id, "", content, bytes_max=10**6))

    def begin(self, files: Mapping[str, bytes], **said: Any) -> Artifact:
        return self.library.begin(self.new(manifest_of(files).digest(), **said)).artifact

    def log(self, files: Mapping[str, bytes], **said: Any) -> Artifact:
        """Everything that a client does."""
        begun = self.begin(files, **said)
        if begun.state == "COMMITTED":
            return begun
        self.put(files, entity=begun.collection.entity)
        self.put_manifest(begun.id, manifest_of(files))
        return self.library.commit(begun.id)

    def version(self, alias: str, name: str = "data") -> Artifact | None:
        with self.library.reading() as reading:
            of = queries.collection(reading, "e", "p", name)
            return None if of is None else queries.version(reading, of, alias)

    def number(self, alias: str) -> int | None:
        found = self.version(alias)
        return None if found is None else found.version
