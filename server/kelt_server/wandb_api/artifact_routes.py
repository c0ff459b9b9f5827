"""Where files of artifacts are put and fetched.

Signed addresses (`artifact_addresses`) want no key, as of files of runs. Two more routes, for
single files, are composed by clients themselves and want one like all others.
"""

from __future__ import annotations

import re
from pathlib import Path

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from kelt_server.api.asking import caller_of
from kelt_server.artifacts import ArtifactLibrary, manifests
from kelt_server.errors import KeltServerError, NotFoundError
from kelt_server.wandb_api import artifact_addresses, http_answers
from kelt_server.wandb_api.artifact_addresses import BLOB, MANIFEST, PREFIX
from kelt_server.wandb_api.signing import AddressSigner, path_parts

_MD5 = re.compile(r"[0-9a-f]{32}")
_METHODS = ["GET", "PUT"]


class ArtifactRoutes:
    """Answers them."""

    def __init__(self, *, library: ArtifactLibrary, signer: AddressSigner) -> None:
        self._library = library
        self._signer = signer

    def routes(self) -> list[Route]:
        """Every route."""
        return [
            Route(f"/{PREFIX}/{BLOB}/{{path:path}}", self.signed_blob, methods=_METHODS),
            Route(f"/{PREFIX}/{MANIFEST}/{{path:path}}", self.signed_manifest, methods=_METHODS),
            Route("/artifacts/{path:path}", self.blob, methods=["GET"]),
            Route("/artifactsV2/{path:path}", self.blob, methods=["GET"]),
        ]

    async def signed_blob(self, request: Request) -> Response:
        """A content, put or fetched."""
        try:
            entity, md5 = self._opened(request)
            if request.method != "PUT":
                return await _file(self._library.blobs.blob(entity, md5))
            await self._library.blobs.put_blob(entity, md5, http_answers.chunks(request))
        except KeltServerError as error:
            return http_answers.refusal(error)
        return Response(status_code=200)

    async def signed_manifest(self, request: Request) -> Response:
        """A manifest, put or fetched."""
        try:
            _, manifest_id = self._opened(request)
            if request.method != "PUT":
                return await _file(self._library.blobs.manifest(manifest_id))
            said = await anyio.to_thread.run_sync(self._library.awaited_manifest, manifest_id)
            content = http_answers.chunks(request)
            await self._library.blobs.put_manifest(
                said.id, said.digest, content, bytes_max=manifests.BYTES_MAX
            )
        except KeltServerError as error:
            return http_answers.refusal(error)
        return Response(status_code=200)

    async def blob(self, request: Request) -> Response:
        """A content by its digest.

        /artifacts/<entity>/<MD5>
        /artifactsV2/<region>/<entity>/<project>/<collection>/…/<MD5>/<file name>
        """
        try:
            parts = path_parts(request)
            is_newer = parts[0] == "artifactsV2"
            entity, md5 = (parts[2:3], parts[-2:-1]) if is_newer else (parts[1:2], parts[2:3])
            if not entity or not md5 or not _MD5.fullmatch(md5[0]):
                raise NotFoundError("there is no such file of an artifact")
            opened = caller_of(request).check(entity[0])
            return await _file(self._library.blobs.blob(opened, md5[0]))
        except KeltServerError as error:
            return http_answers.refusal(error)

    def _opened(self, request: Request) -> tuple[str, str]:
        query = request.query_params
        return artifact_addresses.opened(self._signer, request.method, path_parts(request), query)


async def _file(path: Path) -> Response:
    if not await anyio.to_thread.run_sync(path.is_file):
        raise NotFoundError("there is no such file of an artifact")
    return FileResponse(path, media_type="application/octet-stream")
