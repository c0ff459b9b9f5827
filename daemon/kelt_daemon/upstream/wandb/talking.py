"""HTTP with a W&B server, and its statuses → the daemon's errors, by what is to be done about them.

What W&B's own client takes for the end of a run's stream (404, 409, 410 and the like) passes here:
the run is asked for anew and tried again. A redirection is not followed, because the key would go
along. httpx is loaded with the first connection: daemons without a W&B upstream do without.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import anyio

from kelt.errors import SettingsError
from kelt.tls import ssl_context
from kelt.version import __version__
from kelt_daemon.errors import (
    NotYetError,
    OverloadedError,
    RefusedError,
    RejectedDataError,
    RunRefusedError,
    TooLargeError,
    TooSlowError,
    UnreachableError,
    UpstreamError,
)
from kelt_daemon.upstream.discovery import retry_after_s
from kelt_daemon.upstream.http_get import Reply
from kelt_daemon.upstream.wandb.history_lines import encode
from kelt_daemon.upstream.wandb.requests import Question

if TYPE_CHECKING:
    import httpx

_WAITS = "What is logged waits on this host."
_REASON_BYTES_MAX = 300
#: Of a run's config and summary, which are most of what is ever answered.
_REPLY_BYTES_MAX = 64 * 1024 * 1024
#: With these, errors in a GraphQL answer are about what was asked; with others, about the server.
_ANSWERED = frozenset({200, 400})


def trust_for(url: str, ca_file: Path | None) -> ssl.SSLContext:
    """Whose certificates count: nobody's where there are none, and nothing is read for that.

    Raises:
        UnreachableError: the file cannot be used yet.
    """
    if not url.startswith("https://"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        return ssl_context(ca_file)
    except SettingsError as error:
        raise UnreachableError(f"{url} cannot be trusted yet: {error} {_WAITS}") from error


class Talk:
    """A connection, with its key.

    Args:
        url: `http://…` or `https://…`.
        api_key: the key, or an empty text.
        trusted: whose certificates count for `https://`.
        proxy: an HTTP proxy, or an empty text.
    """

    def __init__(self, *, url: str, api_key: str, trusted: ssl.SSLContext, proxy: str) -> None:
        import httpx  # noqa: PLC0415 # see the module's description

        self._url = url
        self._client = httpx.AsyncClient(
            base_url=url,
            auth=("api", api_key),
            headers={"user-agent": f"kelt/{__version__}"},
            verify=trusted,
            proxy=proxy or None,
            timeout=None,  # noqa: S113 # each call has a deadline for all of it
            trust_env=False,
            follow_redirects=False,
        )

    async def aclose(self) -> None:
        """Ends the connection."""
        await self._client.aclose()

    async def ask(self, question: Question, *, deadline_s: float) -> dict[str, Any]:
        """A GraphQL answer's data.

        Raises:
            UpstreamError: there is none; `RunRefusedError` where the server says no for good.
        """
        headers = {"content-type": "application/json"}
        reply = await self._post("/graphql", question.body(), headers, deadline_s)
        said = _json_of(reply)
        if reply.status in _ANSWERED and (message := _complaint(said)):
            raise RunRefusedError(f"{self._url} refused {question.name}: {message}. {_WAITS}")
        if reply.status == 403:  # noqa: PLR2004
            raise RunRefusedError(
                f"{self._url} refused {question.name} (HTTP status 403); the key may not write "
                f"there: check entity and project. {_WAITS}"
            )
        self._check(reply)
        data = said.get("data") if isinstance(said, dict) else None
        if not isinstance(data, dict):
            raise self._unreadable(reply)
        return data

    async def stream(
        self,
        names: tuple[str, str, str],
        body: Mapping[str, Any],
        *,
        headers: Mapping[str, str],
        deadline_s: float,
    ) -> dict[str, Any]:
        """Posts to a run's `file_stream`, and returns the answer once the server has taken it.

        Args:
            names: entity, project and run id.
            body: the post.
            headers: beside the usual ones.
            deadline_s: for the answer.

        Raises:
            UpstreamError: it has not.
        """
        path = "/files/" + "/".join(quote(name, safe="") for name in names) + "/file_stream"
        content = encode(body).encode("utf-8", "backslashreplace")
        wanted = {"content-type": "application/json", **headers}
        reply = await self._post(path, content, wanted, deadline_s)
        if reply.status == 403:  # noqa: PLR2004
            raise RunRefusedError(
                f"{self._url} lets this key write nothing into {'/'.join(names)} (HTTP status "
                f"403); check entity and project. {_WAITS}"
            )
        self._check(reply)
        said = _json_of(reply)
        if not isinstance(said, dict):
            raise self._unreadable(reply)
        return said

    async def _post(
        self, path: str, content: bytes, headers: Mapping[str, str], deadline_s: float
    ) -> Reply:
        import httpx  # noqa: PLC0415 # as above

        try:
            with anyio.fail_after(deadline_s):
                request = self._client.stream("POST", path, content=content, headers=dict(headers))
                async with request as reply:
                    return Reply(reply.status_code, reply.headers, await self._body_of(reply))
        except RuntimeError as error:  # the client was closed meanwhile
            raise UnreachableError(f"The connection to {self._url} was closed.") from error
        except TimeoutError as error:
            raise TooSlowError(f"{self._url} does not answer in time. {_WAITS}") from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            reason = str(error) or type(error).__name__
            raise UnreachableError(
                f"{self._url} does not answer ({reason}); check KELT_UPSTREAM and the network. "
                f"{_WAITS}"
            ) from error

    async def _body_of(self, reply: httpx.Response) -> bytes:
        body = bytearray()
        async for part in reply.aiter_bytes():
            body += part
            if len(body) > _REPLY_BYTES_MAX:
                raise UnreachableError(
                    f"{self._url} answers with more than {_REPLY_BYTES_MAX:,} bytes. {_WAITS}"
                )
        return bytes(body)

    def _check(self, reply: Reply) -> None:
        status = reply.status
        if 200 <= status < 300:  # noqa: PLR2004 # done
            return
        raise error_of(
            status,
            url=self._url,
            reason=reply.body[:_REASON_BYTES_MAX].decode("utf-8", "replace").strip(),
            after_s=retry_after_s(reply.headers.get("retry-after", "")),
        )

    def _unreadable(self, reply: Reply) -> UnreachableError:
        kind = reply.headers.get("content-type", "").partition(";")[0] or "nothing readable"
        return UnreachableError(
            f"What answers at {self._url} is not a W&B server (HTTP status {reply.status}, "
            f"{kind}); check KELT_UPSTREAM, or log in to the network. {_WAITS}"
        )


def error_of(status: int, *, url: str, reason: str, after_s: float | None) -> UpstreamError:
    """What a status that is no success means for us."""
    said = f"HTTP status {status}" + (f": {reason}" if reason else "")
    if status in _NOT_NOW:
        return NotYetError(
            f"{url} does not take the run now ({said}); it is asked again.",
            retry_after_s=after_s,
            may_be_final=status != _TOO_MANY,
        )
    kind, sentence = _MEANINGS.get(status // 100 if status // 100 == _ELSEWHERE else status, _LATER)
    text = sentence.format(url=url, said=said, waits=_WAITS)
    return OverloadedError(text, retry_after_s=after_s) if kind is OverloadedError else kind(text)


#: About this run alone, and over by itself as far as anybody knows.
_NOT_NOW = frozenset({404, 409, 410, 429})
_TOO_MANY = 429
_ELSEWHERE = 3
_LATER: tuple[type[UpstreamError], str] = (
    OverloadedError,
    "{url} answered with an error ({said}); it is asked again.",
)
_NOBODY: tuple[type[UpstreamError], str] = (
    RefusedError,
    "{url} lets nobody in ({said}). {waits}",
)
_REJECTED: tuple[type[UpstreamError], str] = (RejectedDataError, "{said}")
#: By status, and by the first digit of all redirections.
_MEANINGS: Mapping[int, tuple[type[UpstreamError], str]] = {
    _ELSEWHERE: (
        UnreachableError,
        (
            "{url} points elsewhere ({said}), which is not followed because the key would go "
            "along; set KELT_UPSTREAM to the right address. {waits}"
        ),
    ),
    400: _REJECTED,
    401: (
        RefusedError,
        (
            "{url} refused the key ({said}); set WANDB_API_KEY to one that it knows and run any "
            "kelt command. {waits}"
        ),
    ),
    403: _NOBODY,
    407: _NOBODY,
    413: (TooLargeError, "{url} takes no post of this size ({said})"),
    422: _REJECTED,
}


def _json_of(reply: Reply) -> Any:
    try:
        return json.loads(reply.body)
    except (ValueError, RecursionError):
        return None


def _complaint(said: Any) -> str:
    """The first error in a GraphQL answer."""
    errors = said.get("errors") if isinstance(said, dict) else None
    if not isinstance(errors, list) or not errors:
        return ""
    first = errors[0]
    message = first.get("message") if isinstance(first, dict) else first
    return str(message or "no reason given")[:_REASON_BYTES_MAX]
