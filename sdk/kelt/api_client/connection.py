"""HTTP to a kelt server: one place where its refusals and the network's become our errors."""

from __future__ import annotations

import os
import ssl
import weakref
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx

from kelt.api_client.errors import (
    ForbiddenError,
    KeyRefusedError,
    NotRunningError,
    QueryError,
    ServerFaultError,
    UnreachableError,
)
from kelt.api_client.json_values import decode_json
from kelt.errors import RunNotFoundError
from kelt.proxies import proxy_for
from kelt.tls import ssl_context
from kelt.values import encode_json
from kelt.version import __version__

Arguments = list[tuple[str, str | int]]

_BASE = "/api/v1"


class Connection:
    """Requests to one server, over connections that are kept open.

    Args:
        upstream: the server's address, `http://…` or `https://…`.
        api_key: sent with each request where there is one.
        timeout_s: how long one request may take to connect, and to answer.
        ca_file: certificate authorities that are trusted beside the system's.
        proxy: the way there, as the setting `proxy` says it.

    Raises:
        QueryError: the address is not one.
        SettingsError: the CA file cannot be used.
    """

    def __init__(
        self,
        *,
        upstream: str,
        api_key: str | None,
        timeout_s: float,
        ca_file: Path | None = None,
        proxy: str | None = None,
    ) -> None:
        self.upstream = upstream.rstrip("/")
        headers = {"User-Agent": f"kelt/{__version__}"}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        try:
            url = httpx.URL(self.upstream)
        except httpx.InvalidURL:
            url = httpx.URL()
        if url.scheme not in {"http", "https"} or not url.host:
            raise QueryError(
                f"The upstream {upstream!r} is no address. Write it as http://host:port."
            )
        self._timeout_s = timeout_s
        # Not by the environment alone: nothing there switches verification off.
        self._client = httpx.Client(
            headers=headers,
            timeout=timeout_s,
            trust_env=False,
            verify=ssl_context(ca_file) if url.scheme == "https" else False,
            proxy=proxy_for(self.upstream, proxy=proxy or "", environ=os.environ) or None,
        )
        # Who forgets close() leaves no open socket behind.
        self._close = weakref.finalize(self, self._client.close)

    def close(self) -> None:
        """Closes the connections; nothing can be asked afterwards."""
        self._close()

    def get(self, route: str, arguments: Arguments | None = None) -> Any:
        """The decoded reply of a route under `/api/v1`.

        Raises:
            UnreachableError: no answer came.
            KeyRefusedError: the server wants a key, or another one.
            ForbiddenError: the key does not open it.
            RunNotFoundError: there is no such thing.
            QueryError: an argument does not fit.
            ServerFaultError: the server cannot answer, or is no kelt server.
        """
        return self._decoded(self._ask("GET", f"{self.upstream}{_BASE}{route}", arguments or []))

    def body(self, route: str, arguments: Arguments) -> bytes:
        """The reply of a route as it came; errors as of `get`."""
        response = self._ask("GET", f"{self.upstream}{_BASE}{route}", arguments)
        if response.status_code != httpx.codes.OK:
            raise self._refusal(response)
        return response.content

    def delete(self, route: str, arguments: Arguments | None = None) -> Any:
        """The decoded reply to a deletion; errors as of `get`."""
        return self._decoded(self._ask("DELETE", f"{self.upstream}{_BASE}{route}", arguments or []))

    def patch(self, route: str, document: Mapping[str, Any]) -> Any:
        """The decoded reply to a change; errors as of `get`."""
        content = encode_json(dict(document)).encode()
        return self._decoded(self._ask("PATCH", f"{self.upstream}{_BASE}{route}", [], content))

    def post(self, route: str) -> Any:
        """The decoded reply to a request that says nothing but its route; errors as of `get`."""
        return self._decoded(self._ask("POST", f"{self.upstream}{_BASE}{route}", []))

    def _decoded(self, response: httpx.Response) -> Any:
        if response.status_code == httpx.codes.OK:
            try:
                return decode_json(response.content)
            except ValueError:
                raise self._not_kelt() from None
        raise self._refusal(response)

    def content(self, route: str) -> Iterator[bytes]:
        """The bytes of what lies at a route, piece by piece.

        Raises:
            UnreachableError, RunNotFoundError, ServerFaultError: as `get`.
        """
        try:
            with self._client.stream("GET", f"{self.upstream}{_BASE}{route}") as response:
                if response.status_code != httpx.codes.OK:
                    response.read()
                    raise self._refusal(response)
                yield from response.iter_raw()
        except httpx.TransportError as error:
            raise UnreachableError(
                f"The upstream {self.upstream} stopped in the middle of a file ({_cause(error)}). "
                "Try again."
            ) from error

    def server_time(self) -> float | None:
        """The server's clock (Unix seconds, whole), or None where it does not tell.

        Raises:
            UnreachableError: no answer came.
        """
        stamp = self._ask("GET", f"{self.upstream}{_BASE}/info", []).headers.get("Date", "")
        try:
            return parsedate_to_datetime(stamp).timestamp()
        except ValueError:
            return None

    def _ask(
        self, method: str, url: str, arguments: Arguments, content: bytes | None = None
    ) -> httpx.Response:
        params = tuple(arguments)
        try:
            try:
                return self._client.request(method, url, params=params, content=content)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                if method == "DELETE":
                    raise  # it may have been done, and would then not be found
                # A kept connection that the server closed while nobody looked, as on its restart.
                return self._client.request(method, url, params=params, content=content)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: httpx.TransportError) -> UnreachableError:
        if isinstance(error, httpx.TimeoutException):
            return UnreachableError(
                f"The upstream {self.upstream} did not answer within {self._timeout_s:g} s. "
                "Try again, or allow it more time with timeout_s."
            )
        if (distrusted := _distrusted(error)) is not None:
            return UnreachableError(
                f"The certificate of {self.upstream} is not accepted "
                f"({distrusted.verify_message}). Name the file of its authority in "
                "KELT_CA_FILE, or have the certificate renewed."
            )
        return UnreachableError(
            f"The upstream {self.upstream} cannot be reached ({_cause(error)}). "
            "Start it with `kelt server`, or name another with KELT_UPSTREAM."
        )

    def _refusal(self, response: httpx.Response) -> Exception:
        try:
            said = str(decode_json(response.content)["error"])
        except (ValueError, KeyError, TypeError):
            if response.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                return self._not_kelt()
            said = f"HTTP status {response.status_code}"
        said = said.rstrip(".")
        status = response.status_code
        refusals: dict[int, Exception] = {
            httpx.codes.UNAUTHORIZED: KeyRefusedError(
                f"The upstream {self.upstream} refused the key ({said}). "
                "Set KELT_API_KEY to one that it accepts."
            ),
            httpx.codes.FORBIDDEN: ForbiddenError(
                f"The upstream {self.upstream} does not allow it: {said}."
            ),
            httpx.codes.NOT_FOUND: RunNotFoundError(said),
            httpx.codes.CONFLICT: NotRunningError(f"There is nothing to stop: {said}."),
        }
        if status in refusals:
            return refusals[status]
        if status < httpx.codes.INTERNAL_SERVER_ERROR:
            return QueryError(f"The upstream cannot take this: {said}.")
        return ServerFaultError(
            f"The upstream {self.upstream} cannot answer ({said}). "
            "Try again, or look at the output of `kelt server`."
        )

    def _not_kelt(self) -> ServerFaultError:
        return ServerFaultError(
            f"{self.upstream} answers, but not as a kelt server does. "
            "Check the address (KELT_UPSTREAM)."
        )


def _distrusted(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error


def _cause(error: httpx.TransportError) -> str:
    text = str(error) or type(error).__name__
    return text.partition("] ")[2] if text.startswith("[Errno") else text
