"""One question over HTTP/1.1: straight or through a proxy, with TLS or without.

Made of the loop's own streams and h11: a whole HTTP client, for what is asked once, would take
MiBs of the daemon for as long as it runs. No redirection is followed, and the environment is not
asked.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, unquote, urlsplit

import anyio
import anyio.abc
import h11
from anyio.streams.tls import TLSStream

from kelt.version import __version__

_PORTS = {"http": 80, "https": 443}
_RECEIVE_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back; the names of headers are in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes


async def http_get(
    url: str, *, trusted: ssl.SSLContext | None, proxy: str, bytes_max: int
) -> Reply:
    """Asks, and reads the reply.

    Args:
        url: `http://…` or `https://…`.
        trusted: whose certificates count for `https://`.
        proxy: an HTTP proxy, `http://…`, or an empty text.
        bytes_max: the body is not read beyond about this.

    Raises:
        OSError: nobody is there, the way broke, or what is there does not speak HTTP.
        ValueError: an address is none.
    """
    parts = urlsplit(url)
    host, port = _host_and_port(parts)
    target = quote(parts.path, safe="/%")
    headers = {
        "host": _netloc(host, parts.port),
        "user-agent": f"kelt/{__version__}",
        "accept": "application/json",
        "connection": "close",
    }
    if proxy and trusted is None:
        target = f"http://{headers['host']}{target}"
        headers |= _authorization(proxy)
    try:
        async with await _way(host, port, trusted=trusted, proxy=proxy) as stream:
            request = h11.Request(method="GET", target=target, headers=list(headers.items()))
            return await _asked(stream, request, bytes_max)
    except (anyio.EndOfStream, anyio.BrokenResourceError, h11.ProtocolError) as error:
        raise ConnectionError(str(error) or "the connection broke") from error


async def _way(
    host: str, port: int, *, trusted: ssl.SSLContext | None, proxy: str
) -> anyio.abc.ByteStream:
    to_host, to_port = _host_and_port(_proxy_parts(proxy)) if proxy else (host, port)
    stream: anyio.abc.ByteStream = await anyio.connect_tcp(to_host, to_port)
    if trusted is None:
        return stream
    try:
        if proxy:
            await _pass_through(stream, _netloc(host, port), proxy)
        return await TLSStream.wrap(
            stream, hostname=host, ssl_context=trusted, standard_compatible=False
        )
    except BaseException:
        await anyio.aclose_forcefully(stream)
        raise


async def _pass_through(stream: anyio.abc.ByteStream, to: str, proxy: str) -> None:
    """Has the proxy connect this stream with the host that is meant."""
    headers = {"host": to} | _authorization(proxy)
    request = h11.Request(method="CONNECT", target=to, headers=list(headers.items()))
    reply = await _asked(stream, request, 0)
    if not 200 <= reply.status < 300:  # noqa: PLR2004 # it does
        raise ConnectionError(f"it answers with HTTP status {reply.status}")


async def _asked(stream: anyio.abc.ByteStream, request: h11.Request, bytes_max: int) -> Reply:
    """Sends a request and reads its reply, of a body no more than it must."""
    connection = h11.Connection(h11.CLIENT)
    await stream.send(
        (connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b"")
    )
    head = await _next_event(stream, connection)
    while isinstance(head, h11.InformationalResponse):
        head = await _next_event(stream, connection)
    if not isinstance(head, h11.Response):
        raise ConnectionError("it does not speak HTTP")
    body = b""
    if request.method != b"CONNECT":
        while len(body) <= bytes_max:
            part = await _next_event(stream, connection)
            if not isinstance(part, h11.Data):
                break
            body += part.data
    return Reply(head.status_code, _texts(head), body)


async def _next_event(stream: anyio.abc.ByteStream, connection: h11.Connection) -> object:
    while (event := connection.next_event()) is h11.NEED_DATA:
        try:
            received = await stream.receive(_RECEIVE_BYTES)
        except anyio.EndOfStream:
            received = b""
            if connection.their_state is h11.SEND_RESPONSE:
                raise ConnectionError("it ends the connection and says nothing") from None
        connection.receive_data(received)
    return event


def _texts(head: h11.Response) -> dict[str, str]:
    return {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}


def _proxy_parts(proxy: str) -> SplitResult:
    parts = urlsplit(proxy)
    if parts.scheme != "http":
        raise ValueError(
            f"a proxy must be an address such as http://proxy:3128, not {parts.scheme}://"
        )
    return parts


def _host_and_port(parts: SplitResult) -> tuple[str, int]:
    if not parts.hostname:
        raise ValueError("the address names no host")
    return parts.hostname, parts.port or _PORTS[parts.scheme]


def _netloc(host: str, port: int | None) -> str:
    name = f"[{host}]" if ":" in host else host.encode("idna").decode("ascii")
    return name if port is None else f"{name}:{port}"


def _authorization(proxy: str) -> dict[str, str]:
    parts = urlsplit(proxy)
    if parts.username is None:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"proxy-authorization": f"Basic {base64.b64encode(pair.encode()).decode('ascii')}"}
