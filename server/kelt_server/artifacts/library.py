"""Artifacts as a whole: the catalog's rows and the files on disk, brought together.

Blocking: called in worker threads. What decides whether an artifact is there is its row; files come
before it and go after it.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from kelt_server.artifacts import changes, manifests, names, queries
from kelt_server.artifacts.blobs import BlobStore
from kelt_server.artifacts.manifests import Manifest
from kelt_server.artifacts.records import (
    COMMITTED,
    DELETED,
    PENDING,
    Artifact,
    ArtifactFile,
    Collection,
    ManifestRecord,
    NewArtifact,
)
from kelt_server.artifacts.transactions import Transactions, there
from kelt_server.branch_names import Name
from kelt_server.errors import BadRequestError, NotFoundError
from kelt_server.storage_quota import StorageQuota

#: Of files that are written to the catalog in one transaction, so that rows need not wait for it.
_ROWS_AT_A_TIME = 5000
_SHOWN_MAX = 3


@dataclass(frozen=True, slots=True)
class Begun:
    """What a client is told that begins to log an artifact."""

    artifact: Artifact
    #: The newest version before.
    latest: Artifact | None


class ArtifactLibrary(Transactions):
    """Mutable state: a lock, so that what is committed is not swept meanwhile."""

    def __init__(
        self,
        *,
        engine: Engine,
        blobs: BlobStore,
        quota: StorageQuota,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(engine)
        self.blobs = blobs
        self._quota = quota
        self._clock = clock
        self.lock = threading.Lock()

    # -- logging --------------------------------------------------------------------------------

    def begin(self, new: NewArtifact) -> Begun:
        """An artifact begins, goes on, or is there already with this content.

        Raises:
            BadRequestError: it cannot be logged.
            NoRoomError: there is no room for more.
        """
        _check(new)
        self._quota.check()
        now = self._clock()
        with self.writing() as connection:
            known = queries.by_client_id(connection, new.client_id) if new.client_id else None
            if known is not None and known.state != DELETED and _is_of(known, new):
                return Begun(known, queries.latest(connection, known.collection))
            of = changes.collection_for(connection, new, now)
            latest = queries.latest(connection, of)
            if new.distributed_id:
                shared = queries.pending_of_distributed(connection, of.id, new.distributed_id)
                if shared is not None:
                    return Begun(shared, latest)
            same = queries.of_digest(connection, of.id, new.digest)
            if same is not None:
                changes.add_artifact(connection, of, new, now=now, same_as=same.id)
                changes.point(connection, of.id, same.id, (*new.aliases, names.LATEST))
                return Begun(same, latest)
            number = changes.add_artifact(connection, of, new, now=now)
            made = queries.artifact(connection, number)
        assert made is not None  # noqa: S101 # just made
        return Begun(made, latest)

    def announce_manifest(
        self, number: int, kind: str, *, base_id: int | None, digest: str
    ) -> ManifestRecord:
        """A manifest that will be put."""
        self.artifact(number)
        if kind not in (manifests.FULL, manifests.INCREMENTAL, manifests.PATCH):
            raise BadRequestError(f"manifests of the kind {kind[:40]!r} are not known")
        said = ManifestRecord(
            id=secrets.token_hex(16), artifact_id=number, kind=kind, base_id=base_id, digest=digest
        )
        with self.writing() as connection:
            changes.add_manifest(connection, said, self._clock())
            changes.change_artifact(connection, number, self._clock())
        return said

    def change_manifest(self, manifest_id: str, digest: str) -> ManifestRecord:
        """A manifest of which more is known."""
        with self.writing() as connection:
            changes.set_manifest_digest(connection, manifest_id, digest)
            found = queries.manifest(connection, manifest_id)
        if found is None:
            raise NotFoundError("there is no such manifest")
        return found

    def artifact_of_manifest(self, manifest_id: str) -> Artifact:
        """What a manifest was announced for.

        Raises:
            NotFoundError: there is no such manifest, or its artifact is gone.
        """
        with self.reading() as connection:
            found = queries.manifest(connection, manifest_id)
        if found is None:
            raise NotFoundError("there is no such manifest")
        return self.artifact(found.artifact_id)

    def collection(self, number: int) -> Collection:
        """One by number.

        Raises:
            NotFoundError: it is not there.
        """
        with self.reading() as connection:
            found = queries.collection_of_id(connection, number)
        if found is None:
            raise NotFoundError("there is no such collection of artifacts")
        return found

    def awaited_manifest(self, manifest_id: str) -> ManifestRecord:
        """One that was announced and may be put.

        Raises:
            BadRequestError: its artifact is a version already, which nothing changes.
        """
        with self.reading() as connection:
            found = queries.manifest(connection, manifest_id)
        if found is None:
            raise NotFoundError("there is no such manifest")
        if self.artifact(found.artifact_id).state != PENDING:
            raise BadRequestError("the manifest of a version that is complete is not changed")
        return found

    def wants_blob(self, entity: str, digest: str) -> tuple[str, bool]:
        """The MD5 (hex) of a file, and whether it is to be put."""
        md5 = manifests.md5_hex(digest)
        if not md5:
            raise BadRequestError(
                f"{digest[:60]!r} is no MD5, by which kelt keeps files of artifacts"
            )
        if self.blobs.has_blob(entity, md5):
            return md5, False
        self._quota.check()
        return md5, True

    def commit(self, number: int) -> Artifact:
        """Makes an artifact a version, once all of it is there; again, it changes nothing.

        Raises:
            BadRequestError: something is missing or does not fit; the sentence says what.
        """
        with self.lock:
            said = self.artifact(number)
            if said.state != PENDING:
                return said
            found, manifest_id = self._manifest_of(said)
            files = list(found.files())
            self._check_blobs(said, files)
            self._write_files(said.id, files)
            size_bytes = sum(file.size_bytes for file in files)
            digest = said.digest if manifest_id else found.digest()
            manifest_id = manifest_id or self._write_manifest(said.id, found)
            with self.writing() as connection:
                same = queries.of_digest(connection, said.collection.id, digest)
                if same is None:
                    changes.commit(
                        connection, said, digest=digest, size_bytes=size_bytes,
                        file_count=len(files), manifest_id=manifest_id, now=self._clock(),
                    )  # fmt: skip
                else:  # somebody else was as far earlier
                    changes.merge(connection, said.id, same)
                    aliases = (*said.wanted_aliases, names.LATEST)
                    changes.point(connection, said.collection.id, same.id, aliases)
            return self.artifact(number)

    def _manifest_of(self, said: Artifact) -> tuple[Manifest, str]:
        """What was put, and the id of its manifest where that is all of it."""
        with self.reading() as connection:
            announced = queries.manifests_of(connection, said.id)
        put: list[tuple[ManifestRecord, Manifest]] = []
        for record in announced:
            try:
                raw = self.blobs.read_manifest(record.id)
            except FileNotFoundError:
                continue  # announced before its content was known, or never put
            put.append((record, manifests.read_manifest(raw)))
        if not put:
            raise BadRequestError(f"no manifest of {said.collection.name} was put; log it again")
        record, newest = put[-1]
        if record.kind == manifests.FULL:
            return newest, record.id
        pieces = [found for other, found in put[:-1] if other.kind == record.kind]
        if record.kind == manifests.INCREMENTAL and record.base_id is not None:
            pieces.insert(0, self._base(record.base_id))
        return newest.with_contents_of(pieces), ""

    def _base(self, number: int) -> Manifest:
        base = self._committed(number)
        try:
            return manifests.read_manifest(self.blobs.read_manifest(base.manifest_id))
        except FileNotFoundError as error:
            raise BadRequestError(f"the manifest of {base.name} is gone") from error

    def _check_blobs(self, said: Artifact, files: Sequence[ArtifactFile]) -> None:
        entity = said.collection.entity
        missing = [
            file.path for file in files if file.md5 and not self.blobs.has_blob(entity, file.md5)
        ]
        if missing:
            shown = ", ".join(path[:100] for path in missing[:_SHOWN_MAX])
            raise BadRequestError(
                f"{len(missing)} files of {said.collection.name} are not on the server ({shown}…); "
                "log the artifact again"
            )

    def _write_files(self, number: int, files: Sequence[ArtifactFile]) -> None:
        self.clear_files(number)
        for start in range(0, len(files), _ROWS_AT_A_TIME):
            with self.writing() as connection:
                changes.set_files(connection, number, files[start : start + _ROWS_AT_A_TIME])

    def clear_files(self, number: int) -> None:
        """Takes an artifact's files out of the catalog."""
        may_be_more = True
        while may_be_more:
            with self.writing() as connection:
                may_be_more = changes.clear_files(connection, number, _ROWS_AT_A_TIME)

    def _write_manifest(self, number: int, found: Manifest) -> str:
        said = self.announce_manifest(number, manifests.FULL, base_id=None, digest="")
        self.blobs.write_manifest(said.id, found.to_json())
        return said.id

    # -- changing -------------------------------------------------------------------------------

    def use(self, number: int, run: Name, used_as: str) -> Artifact:
        """A run uses an artifact."""
        found = self.artifact(number)
        with self.writing() as connection:
            changes.add_use(connection, found.id, run, used_as, self._clock())
        return found

    def change(self, number: int, **values: Any) -> Artifact:
        """Sets what people may change: description, metadata, tags, ttl_s."""
        found = self.artifact(number)
        if values.get("metadata"):
            names.check_metadata(values["metadata"])
        if values:
            with self.writing() as connection:
                changes.change_artifact(connection, found.id, self._clock(), **values)
        return self.artifact(number)

    def add_aliases(self, number: int, aliases: Sequence[str]) -> None:
        """Moves aliases to a version."""
        found = self._committed(number)
        for alias in aliases:
            names.check_alias(alias)
        with self.writing() as connection:
            changes.point(connection, found.collection.id, found.id, aliases)

    def delete_aliases(self, number: int, aliases: Sequence[str]) -> None:
        """Takes aliases from a version."""
        found = self._committed(number)
        with self.writing() as connection:
            changes.unpoint(connection, found.id, aliases)

    def delete(self, number: int, *, with_aliases: bool) -> Artifact:
        """Takes a version away; its files follow with the next sweep.

        Raises:
            BadRequestError: it has aliases, and they were not to be deleted.
        """
        with self.lock, self.writing() as connection:
            found = there(connection, number)
            if found.aliases and not with_aliases:
                raise BadRequestError(
                    f"{found.name} has the aliases {', '.join(found.aliases)}; delete it with "
                    "delete_aliases=True, or move them first"
                )
            changes.delete_artifact(connection, found, self._clock())
        return found

    def delete_collection(self, number: int) -> None:
        """Takes a collection away with all its versions."""
        with self.lock, self.writing() as connection:
            found = queries.collection_of_id(connection, number)
            if found is None:
                raise NotFoundError("there is no such collection of artifacts")
            changes.delete_collection(connection, found, self._clock())

    def change_collection(self, number: int, **values: Any) -> None:
        """Sets what people may change: name, type, description, tags."""
        with self.writing() as connection:
            found = queries.collection_of_id(connection, number)
            if found is None:
                raise NotFoundError("there is no such collection of artifacts")
            name = values.get("name", found.name)
            names.check_name(name, of="name of an artifact")
            if name != found.name and queries.collection(
                connection, found.entity, found.project, name
            ):
                raise BadRequestError(f"there is an artifact called {name!r} already")
            if values:
                changes.change_collection(connection, number, self._clock(), **values)

    def _committed(self, number: int) -> Artifact:
        found = self.artifact(number)
        if found.state != COMMITTED:
            raise BadRequestError(f"{found.collection.name} is still being logged")
        return found


def _is_of(known: Artifact, new: NewArtifact) -> bool:
    of = known.collection
    return (of.entity, of.project, of.name) == (new.entity, new.project, new.name)


def _check(new: NewArtifact) -> None:
    for name, what in ((new.name, "name of an artifact"), (new.type, "type of an artifact")):
        names.check_name(name, of=what)
    for name in (new.entity, new.project):
        names.check_name(name, of="entity or project of an artifact")
    for alias in new.aliases:
        names.check_alias(alias)
    for tag in new.tags:
        names.check_name(tag, of="tag of an artifact")
    if new.metadata:
        names.check_metadata(new.metadata)
