"""What wandb's clients do with artifacts: log, use, change and delete them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from kelt_server.access.callers import Caller
from kelt_server.artifacts import names, queries
from kelt_server.artifacts.library import ArtifactLibrary
from kelt_server.artifacts.records import Artifact, ManifestRecord, NewArtifact
from kelt_server.branch_names import Name
from kelt_server.errors import BadRequestError, NotFoundError
from kelt_server.wandb_api import run_answers
from kelt_server.wandb_api.arguments import input_of, text
from kelt_server.wandb_api.artifact_addresses import ArtifactAddresses
from kelt_server.wandb_api.artifact_answers import ArtifactAnswers
from kelt_server.wandb_api.artifact_inputs import (
    aliases_of,
    metadata_of,
    objects_in,
    storable,
    tags_of,
    ttl_s_of,
    whole_number,
    with_changed_tags,
)

_FILES_MAX = 10_000


class ArtifactChanges(ArtifactAnswers):
    """Mutations beside the queries. Methods are named as the schema's fields.

    Args:
        library: of artifacts.
        addresses: at which files are put and fetched.
        caller: who asks.
        check_begun: raises RunDeletedError of a run that was deleted and has not begun again.
    """

    def __init__(
        self,
        *,
        library: ArtifactLibrary,
        addresses: ArtifactAddresses,
        caller: Caller,
        check_begun: Callable[[Name], None] = lambda _run: None,
    ) -> None:
        super().__init__(library=library, addresses=addresses, caller=caller)
        self._check_begun = check_begun

    # -- logging --------------------------------------------------------------------------------

    def createArtifactType(self, _info: object, **given: Any) -> dict[str, Any]:  # noqa: N802
        """A type is there when an artifact is."""
        return {"artifactType": {"id": text(input_of(given).get("name"))}}

    def createArtifact(self, _info: object, **given: Any) -> dict[str, Any]:  # noqa: N802
        """An artifact begins to be logged."""
        said = input_of(given)
        begun = self._library.begin(self._read_new(said))
        latest = None if begun.latest is None else self._artifact(begun.latest)
        node = self._artifact(begun.artifact)
        sequence = {**self._collection(begun.artifact.collection), "latestArtifact": latest}
        return {"artifact": {**node, "artifactSequence": sequence}}

    def createArtifactManifest(self, _info: object, **given: Any) -> dict[str, Any]:  # noqa: N802
        """A manifest will be put; or is announced, so that files can name it."""
        said = input_of(given)
        base = said.get("baseArtifactID")
        record = self._library.announce_manifest(
            self._artifact_number(said),
            text(said.get("type")) or "FULL",
            base_id=None if base is None else self._number_of(base),
            digest=text(said.get("digest")),
        )
        return self._manifest_payload(record)

    def updateArtifactManifest(self, _info: object, **given: Any) -> dict[str, Any]:  # noqa: N802
        """A manifest that was announced will be put."""
        said = input_of(given)
        manifest_id = text(said.get("artifactManifestID"))
        self._open(self._library.artifact_of_manifest(manifest_id))
        record = self._library.change_manifest(manifest_id, text(said.get("digest")))
        return self._manifest_payload(record)

    def createArtifactFiles(self, _info: object, **given: Any) -> dict[str, Any]:  # noqa: N802
        """An address for each file that is not there yet."""
        listed = objects_in(input_of(given).get("artifactFiles"))
        if len(listed) > _FILES_MAX:
            raise BadRequestError(f"at most {_FILES_MAX} files can be announced at a time")
        known: dict[int, Artifact] = {}
        edges = []
        for spec in listed:
            number = names.decode_id("Artifact", spec.get("artifactID"))
            if number not in known:
                known[number] = self._open(self._library.artifact(number))
            edges.append({"node": self._upload(known[number], spec)})
        return {"files": {"edges": edges, "totalCount": len(edges)}}

    def commitArtifact(self, _info: object, **given: Any) -> dict[str, Any]:  # noqa: N802
        """All of an artifact is there."""
        found = self._library.commit(self._artifact_number(input_of(given)))
        return {"artifact": self._artifact(found)}

    def useArtifact(self, _info: object, **given: Any) -> dict[str, Any]:  # noqa: N802
        """A run uses an artifact."""
        said = input_of(given)
        run = self._run_name(said)
        if run is None:
            raise BadRequestError("an artifact is used by a run, and none was named")
        used_as = text(said.get("usedAs"))
        number = self._artifact_number(said)
        return {"artifact": self._artifact(self._library.use(number, run, used_as))}

    # -- changing -------------------------------------------------------------------------------

    def updateArtifact(self, _info: object, **given: Any) -> dict[str, Any]:  # noqa: N802
        """Description, metadata, tags and time to live."""
        said = input_of(given)
        number = self._artifact_number(said)
        values: dict[str, Any] = {}
        if isinstance(said.get("description"), str):
            values["description"] = storable(said["description"])
        if isinstance(said.get("metadata"), str):
            values["metadata"] = metadata_of(said)
        if isinstance(said.get("ttlDurationSeconds"), int):
            values["ttl_s"] = ttl_s_of(said)
        added, removed = tags_of(said.get("tagsToAdd")), tags_of(said.get("tagsToDelete"))
        if added or removed:
            there = self._library.artifact(number).tags
            values["tags"] = json.dumps(with_changed_tags(there, added, removed))
        return {"artifact": self._artifact(self._library.change(number, **values))}

    def addAliases(self, _info: object, **given: Any) -> dict[str, Any]:  # noqa: N802
        """Aliases move to a version."""
        said = input_of(given)
        self._library.add_aliases(self._artifact_number(said), aliases_of(said))
        return {"success": True}

    def deleteAliases(self, _info: object, **given: Any) -> dict[str, Any]:  # noqa: N802
        """Aliases are taken from a version."""
        said = input_of(given)
        self._library.delete_aliases(self._artifact_number(said), aliases_of(said))
        return {"success": True}

    def deleteArtifact(self, _info: object, **given: Any) -> dict[str, Any]:  # noqa: N802
        """A version is taken away."""
        said = input_of(given)
        found = self._library.delete(
            self._artifact_number(said), with_aliases=said.get("deleteAliases") is True
        )
        return {"artifact": self._artifact(found)}

    def logged_by(self, run: Name) -> list[int]:
        """What a run logged, by number."""
        with self._library.reading() as reading:
            return [found.id for found in queries.logged_by(reading, run)]

    def delete_all(self, numbers: Sequence[int]) -> None:
        """Takes versions away with their aliases; those that are gone already are passed over."""
        for number in numbers:
            with suppress(NotFoundError):
                self._library.delete(number, with_aliases=True)

    def linkArtifact(self, _info: object, **_given: Any) -> None:  # noqa: N802
        """Not done."""
        raise BadRequestError(
            "a kelt server links no artifacts: it has no registries and no portfolios; give the "
            "version an alias instead"
        )

    def unlinkArtifact(self, _info: object, **_given: Any) -> None:  # noqa: N802
        """Not done; the client of 0.19 asks for it when it deletes what it found by an alias."""
        raise BadRequestError(
            "a kelt server links no artifacts, so none can be unlinked; to delete a version with a "
            "client of 0.19, name it by its number (name:v2) and not by an alias"
        )

    def deleteArtifactSequence(self, _info: object, **given: Any) -> dict[str, Any]:  # noqa: N802
        """A collection is taken away with all its versions."""
        number = self._collection_number(input_of(given))
        self._library.delete_collection(number)
        return {"artifactCollection": {"__typename": "ArtifactSequence", "state": "DELETED"}}

    def updateArtifactSequence(self, info: object, **given: Any) -> dict[str, Any]:  # noqa: N802
        """A collection gets another name or description."""
        said = input_of(given)
        values = {
            field: storable(said[field])
            for field in ("name", "description")
            if isinstance(said.get(field), str)
        }
        return self._changed_collection(info, said, **values)

    def moveArtifactSequence(self, info: object, **given: Any) -> dict[str, Any]:  # noqa: N802
        """A collection gets another type."""
        said = input_of(given)
        name = names.check_name(
            text(said.get("destinationArtifactTypeName")), of="type of an artifact"
        )
        return self._changed_collection(info, said, type=name)

    def createArtifactCollectionTagAssignments(  # noqa: N802
        self, _info: object, **given: Any
    ) -> dict[str, Any]:
        """A collection gets tags."""
        said = input_of(given)
        found = self._tagged(said, added=tags_of(said.get("tags")), removed=[])
        return {"tags": [{"__typename": "Tag", "id": tag, "name": tag} for tag in found]}

    def deleteArtifactCollectionTagAssignments(  # noqa: N802
        self, _info: object, **given: Any
    ) -> dict[str, Any]:
        """Tags are taken from a collection."""
        said = input_of(given)
        self._tagged(said, added=[], removed=tags_of(said.get("tags")))
        return {"success": True}

    # -- parts ----------------------------------------------------------------------------------

    def _read_new(self, said: Mapping[str, Any]) -> NewArtifact:
        several = said.get("artifactCollectionNames")  # so clients say it up to 0.28
        named = several if isinstance(several, list) else [said.get("artifactCollectionName")]
        if len(named) != 1:
            raise BadRequestError("an artifact is logged under one name")
        entity, project = self._project_of(said)
        return NewArtifact(
            entity=entity,
            project=project,
            type=text(said.get("artifactTypeName")),
            name=text(named[0]),
            digest=text(said.get("digest")),
            description=storable(said.get("description")),
            metadata=metadata_of(said),
            aliases=tuple(aliases_of(said, but=names.LATEST)),
            tags=tuple(tags_of(said.get("tags"))),
            ttl_s=ttl_s_of(said),
            history_step=whole_number(said.get("historyStep")),
            logged_by=self._run_name(said),
            client_id=text(said.get("clientID")),
            distributed_id=text(said.get("distributedID")),
        )

    def _manifest_payload(self, record: ManifestRecord) -> dict[str, Any]:
        of = self._library.artifact(record.artifact_id).collection
        address = self._addresses.manifest("PUT", of.entity, record.id)
        file = {"id": record.id, "uploadUrl": address, "uploadHeaders": []}
        return {"artifactManifest": {"id": record.id, "file": file}}

    def _upload(self, of: Artifact, spec: Mapping[str, Any]) -> dict[str, Any]:
        entity = of.collection.entity
        md5, is_wanted = self._library.wants_blob(entity, text(spec.get("md5")))
        name = text(spec.get("name"))
        return {
            "id": md5,
            "name": name,
            "displayName": name,
            "storagePath": f"blobs/{md5}",
            "uploadUrl": self._addresses.blob("PUT", entity, md5) if is_wanted else None,
            "uploadHeaders": [],
            "uploadMultipartUrls": None,
            "artifact": {"id": names.encode_id("Artifact", of.id)},
        }

    def _changed_collection(
        self, info: object, said: Mapping[str, Any], **values: Any
    ) -> dict[str, Any]:
        number = self._collection_number(said)
        self._library.change_collection(number, **values)
        node = self.artifactCollection(info, id=said["artifactSequenceID"])
        return {"artifactCollection": node}

    def _tagged(
        self, said: Mapping[str, Any], *, added: list[str], removed: list[str]
    ) -> list[str]:
        name = text(said.get("artifactCollectionName"))
        with self._library.reading() as reading:
            found = queries.collection(reading, *self._project_of(said), name)
        if found is None:
            raise BadRequestError(f"there is no artifact called {name[:100]!r}")
        kept = with_changed_tags(found.tags, added, removed)
        self._library.change_collection(found.id, tags=json.dumps(kept))
        return kept

    def _project_of(self, said: Mapping[str, Any]) -> tuple[str, str]:
        entity = self._caller.check(text(said.get("entityName")))
        return entity, text(said.get("projectName")) or run_answers.PROJECT_DEFAULT

    def _run_name(self, said: Mapping[str, Any]) -> Name | None:
        run_id = text(said.get("runName"))
        if not run_id:
            return None
        run = (*self._project_of(said), run_id)
        self._check_begun(run)
        return run

    def _artifact_number(self, said: Mapping[str, Any]) -> int:
        return self._number_of(said.get("artifactID"))

    def _number_of(self, said: object) -> int:
        """What an id of an artifact names, if it is open to who asks."""
        number = names.decode_id("Artifact", said)
        self._open(self._library.artifact(number))
        return number

    def _collection_number(self, said: Mapping[str, Any]) -> int:
        number = names.decode_id("ArtifactCollection", said.get("artifactSequenceID"))
        self._caller.check(self._library.collection(number).entity)
        return number
