"""Who may call: tokens for processes of the daemon's own user (`kelt.door` is the other side).

A token is a random number and its keyed digest; the key is made at every start and never leaves the
process, so tokens need no memory, differ for every caller and end with the daemon.

A call without a token comes from kelt 0.1, which knows none. It is let in where the folder of the
socket is closed to everybody else, because then the kernel has checked already; where the folder
is open, or on a file system that keeps no modes, it is refused. A wrong token is always refused.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import grpc
import grpc.aio
import structlog

from kelt.door import TOKEN_KEY, peer_uid
from kelt.state_dir import is_private

log = structlog.get_logger()
_NONCE_BYTES = 16
_SAY_S = 1.0
_PAUSE_S = 0.1
_Handler = Any  # grpc.RpcMethodHandler: its stubs do not know that it is generic


class Tokens:
    """Gives tokens and knows them again.

    Args:
        key: 32 random bytes; a test may choose them.
    """

    def __init__(self, *, key: bytes | None = None) -> None:
        self._key = key or secrets.token_bytes(32)

    def issue(self) -> str:
        """A new token."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce.hex() + self._digest(nonce).hex()

    def is_ours(self, token: str) -> bool:
        """Whether it was given here; in constant time."""
        try:
            said = bytes.fromhex(token)
        except ValueError:
            return False
        return hmac.compare_digest(said[_NONCE_BYTES:], self._digest(said[:_NONCE_BYTES]))

    def _digest(self, nonce: bytes) -> bytes:
        return hmac.new(self._key, nonce, hashlib.sha256).digest()


async def serve_door(
    path: Path,
    *,
    tokens: Tokens,
    uid: int,
    task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Gives a token to each caller of this user; ends by cancellation.

    Raises:
        OSError: the door cannot be made there.
    """

    async def answer(stream: anyio.abc.SocketStream) -> None:
        caller = stream.extra(anyio.abc.SocketAttribute.raw_socket)  # noqa: S610 # not Django's
        async with stream:
            try:
                said = _answer(peer_uid(caller), uid, tokens)
                with anyio.move_on_after(_SAY_S):
                    await stream.send(said)
            except (OSError, anyio.BrokenResourceError):
                return  # it went away

    async with (
        await anyio.create_unix_listener(path, mode=0o600) as listener,
        anyio.create_task_group() as callers,
    ):
        task_status.started()
        is_told = False
        while True:
            try:
                caller = await listener.accept()
            except anyio.BrokenResourceError as error:  # too many open files: who calls waits
                if not is_told:
                    log.warning("door_failed", reason=str(error.__cause__))
                is_told = True
                await anyio.sleep(_PAUSE_S)
            else:
                is_told = False
                callers.start_soon(answer, caller)


def _answer(caller_uid: int | None, own_uid: int, tokens: Tokens) -> bytes:
    if caller_uid not in {0, own_uid}:
        log.warning("caller_refused", uid=caller_uid)
        return f"this daemon serves user {own_uid}, not {caller_uid}\n".encode()
    return f"{TOKEN_KEY} {tokens.issue()}\n".encode()


class TokenGate(grpc.aio.ServerInterceptor):  # type: ignore[misc,unused-ignore] # untyped base
    """Refuses calls of others.

    Args:
        tokens: what was given at the door.
        folder: of the socket.
    """

    def __init__(self, *, tokens: Tokens, folder: Path) -> None:
        self._tokens = tokens
        self._folder = folder

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[_Handler]], details: Any
    ) -> _Handler:
        """Passes a call on, or puts a refusal in its place."""
        handler = await continuation(details)
        given = [value for key, value in details.invocation_metadata if key == TOKEN_KEY]
        if given and isinstance(given[0], str) and self._tokens.is_ours(given[0]):
            return handler
        if not given and is_private(self._folder):
            return handler
        if handler is None:
            return None
        return _refusal(handler, "a wrong token" if given else "no token", self._folder)


def _refusal(handler: _Handler, what: str, folder: Path) -> _Handler:
    async def refuse(_request: Any, context: Any) -> None:
        await context.abort(
            grpc.StatusCode.UNAUTHENTICATED,
            f"The daemon was given {what}: run the program as the daemon's user with a current "
            f"kelt, or close the folder to others (chmod 700 {folder}).",
        )

    kinds = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    make = kinds[handler.request_streaming, handler.response_streaming]
    return make(
        refuse,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )
