"""PUTs of files to the addresses that a W&B server names: without the key, in bounded memory.

The addresses may be of another host, of an object store as a rule, which wants the length at the
beginning and no other headers than those that W&B said. There is no deadline for a whole file, but
for each step of it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kelt.journal.files import open_regular
from kelt.proxies import proxy_for
from kelt_daemon.errors import DaemonError, NotYetError
from kelt_daemon.host import InThread
from kelt_daemon.upstream import Access
from kelt_daemon.upstream.discovery import retry_after_s
from kelt_daemon.upstream.wandb.talking import trust_for

if TYPE_CHECKING:
    import httpx

_CHUNK_BYTES = 2**18
_REASON_CHARS_MAX = 200
_ORIGINS_MAX = 16
_SERVER_ERROR = 500
#: Of the others below 500, that is about the file.
_LATER = frozenset({408, 425, 429})


class FileRefusedError(DaemonError):
    """A file is not taken for what it is, or as it was sent."""


class Uploader:
    """Connections to where files go, by scheme and host: each may need another proxy.

    Args:
        access: proxy and certificates.
        step_s: how long each step of an upload may take.
        in_thread: does work that blocks.
    """

    def __init__(self, *, access: Access, step_s: float, in_thread: InThread) -> None:
        self._access = access
        self._step_s = step_s
        self._in_thread = in_thread
        self._clients: dict[str, httpx.AsyncClient] = {}

    async def put(
        self, url: str, headers: Mapping[str, str], source: Path | bytes, size_bytes: int
    ) -> None:
        """Sends a file, or a content.

        Raises:
            FileRefusedError: it is not taken.
            NotYetError: it may be later.
        """
        import httpx  # noqa: PLC0415 # loaded with the first file

        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise FileRefusedError(f"W&B names no whole address for it: {url[:100]!r}")
        wanted = {**headers, "content-length": str(size_bytes)}
        host = parts.hostname
        content = source if isinstance(source, bytes) else self._chunks(source)
        try:
            client = await self._client_for(f"{parts.scheme}://{parts.netloc}")
            reply = await client.put(url, headers=wanted, content=content)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, RuntimeError) as error:
            reason = str(error) or type(error).__name__
            raise NotYetError(
                f"{host}, where W&B wants files, does not take them now ({reason}); check the "
                "network. It is tried again, and rows go meanwhile."
            ) from error
        if reply.is_success:
            return
        said = f"HTTP status {reply.status_code} of {host}: {reply.text[:_REASON_CHARS_MAX]}"
        if reply.status_code >= _SERVER_ERROR or reply.status_code in _LATER:
            raise NotYetError(
                f"A file is not taken now ({said}). It is tried again, and rows go meanwhile.",
                retry_after_s=retry_after_s(reply.headers.get("retry-after", "")),
            )
        raise FileRefusedError(said)

    async def _client_for(self, origin: str) -> httpx.AsyncClient:
        import httpx  # noqa: PLC0415 # as above

        if origin not in self._clients:
            if len(self._clients) >= _ORIGINS_MAX:
                await self.aclose()
            proxy = proxy_for(origin, proxy=self._access.proxy, environ=os.environ)
            trusted = await self._in_thread(trust_for, origin, self._access.ca_file)
            client = httpx.AsyncClient(
                verify=trusted,
                proxy=proxy or None,
                timeout=self._step_s,
                trust_env=False,
                follow_redirects=False,
            )
            self._clients.setdefault(origin, client)  # another run may have been faster
        return self._clients[origin]

    async def _chunks(self, path: Path) -> AsyncIterator[bytes]:
        with await self._in_thread(open_regular, path) as source:
            while chunk := await self._in_thread(source.read, _CHUNK_BYTES):
                yield chunk

    async def aclose(self) -> None:
        """Ends the connections. What is on its way fails, and is tried again."""
        ending, self._clients = list(self._clients.values()), {}
        for client in ending:
            await client.aclose()
