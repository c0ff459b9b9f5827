"""Before a real kelt server: an HTTP and a gRPC front that pass on, or answer as they are told.

`InfoFront` answers `/api/v1/info` with the gRPC port that it is given. `GrpcFront` passes calls on
as bytes; `before` and `after` may answer instead, with any status, and see each call by its name.
"""

from __future__ import annotations

import asyncio
import http.server
import json
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc
import grpc.aio
import httpx

_METHODS = ("Hello", "Push", "Cursors", "Heartbeat", "DescribeRun")
_SERVICE = "kelt.v1.Upstream"


@dataclass
class Status(Exception):  # noqa: N818 # an answer, told by raising it
    """An answer that is an error."""

    code: grpc.StatusCode
    details: str = "as it was told"
    trailers: tuple[tuple[str, str | bytes], ...] = ()


@dataclass
class GrpcFront:
    """A gRPC server in a thread of its own that passes calls on.

    Attributes:
        before: called with (method, request) before a call is passed on; may raise `Status`, or
            return how often it is passed on (None: once).
        after: called with (method, request, reply) once there is an answer; may raise `Status`, so
            that the answer is lost, or return how long it is held back, in seconds.
    """

    target: str
    credentials: grpc.ServerCredentials | None = None
    before: Callable[[str, bytes], int | None] | None = None
    after: Callable[[str, bytes, bytes], float | None] | None = None
    calls: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_METHODS, 0))
    port: int = 0

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _start(self) -> None:
        limit = [("grpc.max_receive_message_length", 64 * 2**20), ("grpc.so_reuseport", 0)]
        self._channel = grpc.aio.insecure_channel(
            self.target, [("grpc.enable_http_proxy", 0), ("grpc.max_reconnect_backoff_ms", 200)]
        )
        self._server = grpc.aio.server(options=limit)
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(self._handler(name)) for name in _METHODS
        }
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(_SERVICE, handlers),)
        )
        address = f"127.0.0.1:{self.port}"
        if self.credentials is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, self.credentials)
        await self._server.start()

    async def _stop(self) -> None:
        await self._server.stop(None)
        await self._channel.close()

    def _handler(self, name: str):
        call = self._channel.unary_unary(f"/{_SERVICE}/{name}")

        async def answer(request: bytes, context) -> bytes:
            self.calls[name] += 1
            metadata = [(k, v) for k, v in context.invocation_metadata() if k == "authorization"]
            try:
                times = (self.before and self.before(name, request)) or 1
                for _ in range(times):
                    reply = await call(request, metadata=metadata, timeout=20, wait_for_ready=True)
                held_s = self.after and self.after(name, request, reply)
                if held_s:
                    await asyncio.sleep(held_s)
            except Status as said:
                await context.abort(said.code, said.details, said.trailers)
            except grpc.aio.AioRpcError as error:
                await context.abort(error.code(), error.details(), error.trailing_metadata())
            return reply

        return answer


@dataclass
class InfoFront:
    """An HTTP server in a thread that says where the gRPC is.

    Attributes:
        source: the real server's address, asked once.
        grpc_port: what is said instead of its own.
        answer: (status, headers, body) instead, as long as it is set.
        on_question: called with the request's headers, each time.
    """

    source: str
    grpc_port: int
    answer: tuple[int, dict[str, str], bytes] | None = None
    on_question: Callable[[dict[str, str]], None] | None = None
    tls: ssl.SSLContext | None = None
    questions: int = 0
    port: int = 0

    def __enter__(self):
        front = self
        said = httpx.get(f"{self.source}/api/v1/info", trust_env=False).json()
        body = json.dumps({**said, "grpc_port": self.grpc_port}).encode()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # http.server's name
                front.questions += 1
                if front.on_question is not None:
                    front.on_question(dict(self.headers))
                json_type = {"content-type": "application/json"}
                status, headers, content = front.answer or (200, json_type, body)
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        if self.tls is not None:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
