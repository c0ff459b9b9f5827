"""The application on a door, asked without a network."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
from server.stand import NOW, gate_of
from server.wandb_api.doors import DoorStand
from starlette.applications import Starlette

from kelt_server.access.gate import Gate
from kelt_server.api.app import build_app
from kelt_server.api.artifact_changes import ArtifactChangesApi
from kelt_server.api.files import FileApi
from kelt_server.artifacts import ArtifactLibrary, BlobStore
from kelt_server.files_of_runs import FilesOfRuns
from kelt_server.pages.artifact_pages import ArtifactPages
from kelt_server.pages.files import RunFiles
from kelt_server.pages.pages import Pages
from kelt_server.storage_quota import StorageQuota
from kelt_server.uploads import UploadFolder
from kelt_server.wandb_api import AddressSigner, WandbApi

FILES = """mutation CreateRunFiles($entity: String!, $files: [String!]!) {
  createRunFiles(input: {entityName: $entity, projectName: "proj", runName: "run", files: $files}) {
    runID uploadHeaders files { name uploadUrl } } }"""


class Browser:
    """Asks an application without a network."""

    def __init__(self, app: Starlette) -> None:
        self._transport = httpx.ASGITransport(app, raise_app_exceptions=False)

    def get(self, url: str) -> httpx.Response:
        return asyncio.run(self._ask("GET", url))

    def put(self, url: str, **more: Any) -> httpx.Response:
        return asyncio.run(self._ask("PUT", url, **more))

    def post(self, url: str, auth: Any = ("api", "o" * 40), **more: Any) -> httpx.Response:
        return asyncio.run(self._ask("POST", url, auth=auth, **more))

    async def _ask(self, method: str, url: str, **more: Any) -> httpx.Response:
        async with httpx.AsyncClient(
            transport=self._transport, base_url="http://testserver"
        ) as client:
            return await client.request(method, url, **more)


class FileParts:
    """What keeps and shows files, in a folder."""

    def __init__(
        self, door: DoorStand, folder: Path, *, gate: Gate, bytes_max: int = 100_000
    ) -> None:
        stand = door.stand
        self.now = NOW
        quota = StorageQuota(
            (folder / "files",), bytes_max=bytes_max, disk_free_bytes_min=0, counters=stand.counters
        )
        self.uploads = UploadFolder(
            folder / "files",
            file_bytes_max=1000,
            quota=quota,
        )
        signer = AddressSigner(
            folder / "files", clock=lambda: self.now, caller_of_key=gate.caller_of_key
        )
        self.library = ArtifactLibrary(
            engine=stand.stores.catalog.engine,
            blobs=BlobStore(folder / "artifacts", quota=quota, file_bytes_max=1000),
            quota=quota,
            clock=lambda: NOW,
        )
        door.set_aside.append(self.uploads.set_aside)
        found = FilesOfRuns(self.uploads)
        wandb_api = WandbApi(
            door=door.door, actions=door.actions, reader=stand.reader, uploads=self.uploads,
            files=found, signer=signer, times_deleted=stand.stores.catalog.deletions.count,
            library=self.library, counters=stand.counters,
        )  # fmt: skip
        self.wandb_routes = wandb_api.routes()
        self.api_routes = [
            *FileApi(reader=stand.reader, files=found, library=self.library).routes(),
            *ArtifactChangesApi(library=self.library).routes(),
        ]
        pages = Pages(stand.reader, RunFiles(files=found, library=self.library))
        self.page_routes = [*pages.routes(), *ArtifactPages(self.library).routes()]


class Web:
    files_query = FILES

    def __init__(
        self, door: DoorStand, folder: Path, *, api_key: str = "", bytes_max: int = 100_000
    ) -> None:
        self.door = door
        gate = gate_of(api_key)
        self.parts = parts = FileParts(door, folder, gate=gate, bytes_max=bytes_max)
        self.uploads = parts.uploads
        app = build_app(
            api_routes=parts.api_routes, page_routes=parts.page_routes,
            more_routes=parts.wandb_routes, gate=gate,
        )  # fmt: skip
        self.client = Browser(app)

    def ask(self, query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables})
        answer = self.client.post("/graphql", content=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def address(self, name: str) -> str:
        answer = self.ask(FILES, entity="local", files=[name])
        (file,) = answer["data"]["createRunFiles"]["files"]
        assert file["uploadUrl"].startswith("http://testserver/")
        return str(file["uploadUrl"])
