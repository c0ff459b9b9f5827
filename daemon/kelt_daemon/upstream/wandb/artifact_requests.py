"""What is asked of a W&B server to bring an artifact there, as its own client asks. Pure.

createArtifact           -> an id; committed at once where the collection has that content
createArtifactManifest   -> an id by which files say what they belong to
createArtifactFiles      -> an address for each file that is not there
createArtifactManifest   -> the address of the manifest, which says of each file where it was born
commitArtifact           -> the version
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

from kelt.artifacts.manifest import Entry
from kelt_daemon.upstream.wandb.carried_run import CarriedRun
from kelt_daemon.upstream.wandb.requests import Question
from kelt_proto.v1.upstream_pb2 import LogArtifactRequest

MANIFEST = "wandb_manifest.json"
_LATEST = "latest"
_STANDING = "id state versionIndex artifactSequence { latestArtifact { id } }"

_CREATE = f"""mutation CreateArtifact($input: CreateArtifactInput!) {{
 createArtifact(input: $input) {{ artifact {{ {_STANDING} }} }} }}"""

_ASK = f"query Artifact($id: ID!) {{ artifact(id: $id) {{ {_STANDING} }} }}"

_COMMIT = f"""mutation CommitArtifact($artifactID: ID!) {{
 commitArtifact(input: {{artifactID: $artifactID}}) {{ artifact {{ {_STANDING} }} }} }}"""

_CREATE_MANIFEST = """mutation CreateArtifactManifest($artifactID: ID!, $baseArtifactID: ID,
  $name: String!, $digest: String!, $entityName: String!, $projectName: String!,
  $runName: String!, $manifestType: ArtifactManifestType!, $includeUpload: Boolean!) {
 createArtifactManifest(input: {artifactID: $artifactID, baseArtifactID: $baseArtifactID,
  name: $name, digest: $digest, entityName: $entityName, projectName: $projectName,
  runName: $runName, type: $manifestType}) {
  artifactManifest { id file { id uploadUrl @include(if: $includeUpload)
   uploadHeaders @include(if: $includeUpload) } } } }"""

_CREATE_FILES = """mutation CreateArtifactFiles($input: CreateArtifactFilesInput!) {
 createArtifactFiles(input: $input) { files { edges { node {
  uploadUrl uploadHeaders artifact { id } } } } } }"""

_CLIENT_ID = (
    "query ClientIDMapping($clientID: ID!) { clientIDMapping(clientID: $clientID) { serverID } }"
)


def create_artifact(run: CarriedRun, said: LogArtifactRequest, digest: str) -> Question:
    """An artifact begins; `digest` is that of its manifest's entries."""
    aliases = [
        {"alias": alias, "artifactCollectionName": said.name}
        for alias in sorted({*said.aliases, _LATEST})
    ]
    given = {
        "entityName": run.entity,
        "projectName": run.project,
        "runName": run.run_id,
        "artifactTypeName": said.type,
        "artifactCollectionName": said.name,
        "clientID": said.id,
        "digest": digest,
        "digestAlgorithm": "MANIFEST_MD5",
        "enableDigestDeduplication": True,
        "aliases": aliases,
        "description": said.description or None,
        "metadata": said.metadata_json if said.metadata_json not in {"", "{}"} else None,
        "tags": [{"tagName": tag} for tag in said.tags] or None,
        # There it is the step at which the next row goes.
        "historyStep": said.step + 1 if said.step >= 0 else None,
    }
    # Older servers know fewer of them.
    known = {name: value for name, value in given.items() if value is not None}
    return Question("CreateArtifact", _CREATE, {"input": known})


def ask_artifact(artifact_id: str) -> Question:
    """How far one is."""
    return Question("Artifact", _ASK, {"id": artifact_id})


def commit_artifact(artifact_id: str) -> Question:
    """All of it is there."""
    return Question("CommitArtifact", _COMMIT, {"artifactID": artifact_id})


def create_manifest(
    run: CarriedRun, artifact_id: str, *, base_id: str | None, content: bytes | None = None
) -> Question:
    """A manifest: announced, so that files can name it, or with its content."""
    variables = {
        "artifactID": artifact_id,
        "baseArtifactID": base_id,
        "name": MANIFEST,
        "digest": "" if content is None else _md5(content),
        "entityName": run.entity,
        "projectName": run.project,
        "runName": run.run_id,
        "manifestType": "FULL",
        "includeUpload": content is not None,
    }
    return Question("CreateArtifactManifest", _CREATE_MANIFEST, variables)


def create_artifact_files(artifact_id: str, manifest_id: str, entries: Sequence[Entry]) -> Question:
    """Where files are to be put; the answers have their order."""
    files = [
        {
            "artifactID": artifact_id,
            "artifactManifestID": manifest_id,
            "md5": entry.digest,
            "name": entry.path,
        }
        for entry in entries
    ]
    given = {"artifactFiles": files, "storageLayout": "V2"}
    return Question("CreateArtifactFiles", _CREATE_FILES, {"input": given})


def ask_client_id(client_id: str) -> Question:
    """How the server calls what a client called so."""
    return Question("ClientIDMapping", _CLIENT_ID, {"clientID": client_id})


def _md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
