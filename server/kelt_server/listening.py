"""Where a server listens: sockets, gRPC and HTTP on them, and how it is told."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import grpc.aio
import uvicorn
from starlette.applications import Starlette

from kelt_server import tls
from kelt_server.config import ServerConfig
from kelt_server.errors import StartError

_BACKLOG = 256
_HTTP_HEAD_BYTES_MAX = 32 * 1024


@dataclass(frozen=True, slots=True)
class Ready:
    """Where a server listens."""

    url: str
    http_port: int
    grpc_port: int
    pid: int


class HttpServer(uvicorn.Server):
    """uvicorn without its own signal handlers: the root decides when to stop."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield


def ready_at(config: ServerConfig, http_socket: socket.socket, grpc_port: int) -> Ready:
    """Where a server listens whose sockets are bound."""
    http_port = http_socket.getsockname()[1]
    scheme = "http" if config.tls_cert is None else "https"
    url = f"{scheme}://{_shown_host(config.host)}:{http_port}"
    return Ready(url, http_port, grpc_port, os.getpid())


def listen(host: str, port: int, *, flag: str = "--port") -> socket.socket:
    """A bound socket.

    Raises:
        StartError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends without delay only where the protocol is named: else each answer on a kept
    # connection waits 40 ms for the acknowledgement of its head.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise StartError(
            f"{host}:{port} cannot be listened on ({error.strerror}); stop what uses it, or choose "
            f"another {flag}"
        ) from error
    listener.setblocking(False)
    return listener


def grpc_server(config: ServerConfig) -> tuple[grpc.aio.Server, int]:
    """A gRPC server that serves nothing yet, and its port.

    Raises:
        StartError: the address cannot be had.
    """
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", config.message_bytes_max),
            ("grpc.max_send_message_length", config.message_bytes_max),
            ("grpc.so_reuseport", 0),  # else a second server would share the port unseen
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.max_metadata_size", config.metadata_bytes_max),
            ("grpc.absolute_max_metadata_size", config.metadata_bytes_max),
            ("grpc.max_concurrent_streams", config.calls_max),
        ],
        maximum_concurrent_rpcs=config.calls_max,
    )
    host = f"[{config.host}]" if ":" in config.host else config.host
    if config.grpc_port:
        listen(config.host, config.grpc_port, flag="--grpc-port").close()  # gRPC would say less
    try:
        address = f"{host}:{config.grpc_port}"
        credentials = tls.grpc_credentials(config)
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
    except RuntimeError:
        port = 0
    if not port:
        raise StartError(
            f"{config.host}:{config.grpc_port} cannot be listened on for gRPC; stop what uses it, "
            "or choose another --grpc-port"
        )
    return server, port


def http_server(config: ServerConfig, app: Starlette) -> HttpServer:
    """An HTTP server for a socket that is bound already."""
    settings = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=max(1, int(config.drain_s / 2)),
        limit_concurrency=config.calls_max,
        h11_max_incomplete_event_size=_HTTP_HEAD_BYTES_MAX,
        http="h11",
    )
    settings.load()
    settings.ssl = tls.http_context(config)
    return HttpServer(settings)


def announce(ready: Ready, config: ServerConfig) -> None:
    """Says where it listens: to people, and to who waits for the file."""
    host = _shown_host(config.host)
    line = f"kelt server at {ready.url} · gRPC {host}:{ready.grpc_port} · data in {config.folder}"
    print(line, file=sys.stderr, flush=True)  # noqa: T201 # the one line that people wait for
    if config.ready_file is not None:
        _write_whole(config.ready_file, json.dumps(asdict(ready)))


def _write_whole(path: Path, text: str) -> None:
    """All of it or nothing, for whoever waits for the file."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(text)
    partial.replace(path)


def _shown_host(host: str) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104 # shown, not bound
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host
