"""Artifacts that daemons bring: asked for what is missing, until it is a version.

A daemon says all of an artifact at once and again: first that there is one, to hear which contents
the server lacks (the manifest before the files that it lists), then, once it has put them, the same
once more. So nothing is remembered between two calls but contents, which a sweep takes away if the
daemon never comes back, and whoever repeats what became a version hears which it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from kelt_server.access.callers import Caller
from kelt_server.artifacts import manifests, names, queries
from kelt_server.artifacts.library import ArtifactLibrary
from kelt_server.artifacts.manifests import Manifest
from kelt_server.artifacts.records import COMMITTED, PENDING, Artifact, NewArtifact
from kelt_server.branch_names import Name
from kelt_server.errors import BadRequestError, RunDeletedError, StoreError, TooLargeError

#: Of missing contents that are named at a time.
_MISSING_MAX = 10_000
_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedArtifact:
    """What a daemon says of an artifact; the content under `manifest_md5` (hex) lists the rest."""

    client_id: str
    writer_id: bytes
    entity: str
    project: str
    run_id: str
    name: str
    type: str
    description: str
    metadata: str
    aliases: tuple[str, ...]
    tags: tuple[str, ...]
    history_step: int | None
    manifest_md5: str


@dataclass(frozen=True, slots=True)
class Received:
    """What is to be put (MD5s), or the version that it became."""

    missing: tuple[str, ...] = ()
    version: str = ""


class ArtifactReceiver:
    """Takes them. `offer` blocks, and is called in worker threads.

    Args:
        library: of artifacts.
        has_ended: whether a deletion has ended a writer.
    """

    def __init__(self, *, library: ArtifactLibrary, has_ended: Callable[[bytes], bool]) -> None:
        self._library = library
        self._has_ended = has_ended

    def offer(self, said: OfferedArtifact, caller: Caller) -> Received:
        """An artifact of which perhaps all is there.

        Raises:
            ForbiddenError: the entity is another's.
            RunDeletedError: its run was deleted.
            BadRequestError: it cannot become a version.
            NoRoomError, StoreError: not now.
        """
        entity = caller.check(said.entity)
        run = (entity, said.project, said.run_id)
        if self._has_ended(said.writer_id):
            raise RunDeletedError(f"{said.project}/{said.run_id} was deleted")
        if (known := self._known(said, entity)) is not None:
            return Received(version=f"v{known.version}")
        if not self._has(entity, said.manifest_md5):
            return Received(missing=(said.manifest_md5,))
        raw, manifest = self._manifest(entity, said.manifest_md5)
        md5s = dict.fromkeys(file.md5 for file in manifest.files() if file.md5)
        missing = [md5 for md5 in md5s if not self._library.blobs.has_blob(entity, md5)]
        if missing:
            return Received(missing=tuple(missing[:_MISSING_MAX]))
        new = _new(said, entity, manifest.digest(), run)
        found = self._library.begin(new).artifact
        if found.state == PENDING:
            announced = self._library.announce_manifest(
                found.id, manifests.FULL, base_id=None, digest=""
            )
            self._library.blobs.write_manifest(announced.id, raw)
            found = self._library.commit(found.id)
        return Received(version=f"v{found.version}")

    async def put(
        self, entity: str, md5: str, content: AsyncIterator[bytes], caller: Caller
    ) -> None:
        """Stores a content under its MD5.

        Raises:
            ForbiddenError: the entity is another's.
            BadRequestError: it has another MD5, or is too large.
            NoRoomError, StoreError: it cannot be kept now.
        """
        if not _MD5.fullmatch(md5):
            raise BadRequestError(f"{md5[:40]!r} is no MD5, by which files of artifacts are kept")
        try:
            await self._library.blobs.put_blob(caller.check(entity), md5, content)
        except TooLargeError as error:  # it will never be smaller
            raise BadRequestError(str(error)) from error

    def _known(self, said: OfferedArtifact, entity: str) -> Artifact | None:
        """The version that it is already, by what the client calls it."""
        with self._library.reading() as reading:
            found = queries.by_client_id(reading, said.client_id)
        if found is None or found.state != COMMITTED:
            return None
        of = found.collection
        is_same = (of.entity, of.project, of.name) == (entity, said.project, said.name)
        return found if is_same else None

    def _has(self, entity: str, md5: str) -> bool:
        if not _MD5.fullmatch(md5):
            raise BadRequestError(f"{md5[:40]!r} is no MD5, by which manifests are kept here")
        return self._library.blobs.has_blob(entity, md5)

    def _manifest(self, entity: str, md5: str) -> tuple[bytes, Manifest]:
        path = self._library.blobs.blob(entity, md5)
        try:
            if path.stat().st_size > manifests.BYTES_MAX:
                raise BadRequestError(f"a manifest may have {manifests.BYTES_MAX} bytes at most")
            raw = path.read_bytes()
        except OSError as error:
            raise StoreError(f"a manifest cannot be read: {error.strerror}") from error
        return raw, manifests.read_manifest(raw)


def _new(said: OfferedArtifact, entity: str, digest: str, run: Name) -> NewArtifact:
    try:
        json.loads(said.metadata or "{}")
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"the artifact's metadata is not JSON: {error}") from error
    return NewArtifact(
        entity=entity,
        project=said.project,
        type=said.type,
        name=said.name,
        digest=digest,
        description=names.storable(said.description) or None,
        metadata=names.storable(said.metadata) or None,
        aliases=tuple(alias for alias in said.aliases if alias != names.LATEST),
        tags=said.tags,
        ttl_s=None,
        history_step=said.history_step,
        logged_by=run if said.run_id else None,
        client_id=said.client_id,
        distributed_id="",
    )
