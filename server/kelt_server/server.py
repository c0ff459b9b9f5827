"""The composition root: stores, committer, gRPC and HTTP in one event loop, and how they end.

At the end the daemons' calls in flight are answered first, then the queue is committed, then
readers are let go. All of it under one deadline; a second signal does not wait.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable

import anyio
import anyio.abc
import grpc.aio
import structlog
import uvicorn

from kelt_proto.v1 import upstream_pb2_grpc
from kelt_server import listening, tls
from kelt_server.assembly import assemble
from kelt_server.config import ServerConfig
from kelt_server.errors import StoreError
from kelt_server.ingest.committer import Committer
from kelt_server.stores import FolderLock, Stores, open_stores

_START_S = 30.0


def steady_clock() -> Callable[[], float]:
    """The time of day as it was at first, carried on by a clock that nobody sets.

    Leases are judged by it: a clock that is set forward must not end runs, nor one that is set
    back keep them. It counts on while the machine sleeps, where the system has such a clock.
    """
    kind = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    began = time.time() - time.clock_gettime(kind)
    return lambda: began + time.clock_gettime(kind)


async def serve(config: ServerConfig, *, clock: Callable[[], float] | None = None) -> None:
    """Runs a server until SIGTERM or SIGINT.

    Raises:
        StartError: it cannot start.
    """
    tls.http_context(config)  # says what is wrong with it before anything is opened
    lock = FolderLock(config.folder)
    clock = clock or steady_clock()
    try:
        http_socket = listening.listen(config.host, config.http_port)
        try:
            stores = open_stores(config)
            try:
                await _serve(config, stores, http_socket, clock)
            finally:
                stores.close()
        finally:
            http_socket.close()
    finally:
        lock.release()


async def _serve(
    config: ServerConfig, stores: Stores, http_socket: socket.socket, clock: Callable[[], float]
) -> None:
    grpc_server, grpc_port = listening.grpc_server(config)
    parts = assemble(config, stores, clock=clock, grpc_port=grpc_port)
    upstream_pb2_grpc.add_UpstreamServicer_to_server(parts.service, grpc_server)
    with contextlib.suppress(StoreError):  # else with the first commit
        parts.group.settle_deletions()
    parts.actions.recover()
    http = listening.http_server(config, parts.app)
    ready = listening.ready_at(config, http_socket, grpc_port)
    async with anyio.create_task_group() as tasks:
        for part in (parts.committer, parts.packer, parts.sweeper, parts.actions):
            tasks.start_soon(part.run)
        tasks.start_soon(_serve_http, http, http_socket)
        await grpc_server.start()
        with anyio.fail_after(_START_S):
            while not http.started:  # noqa: ASYNC110 # uvicorn has no event for it
                await anyio.sleep(0.005)
        listening.announce(ready, config)
        await _until_stopped(tasks)
        await _drain(config, grpc_server, parts.committer, http)
        tasks.cancel_scope.cancel()


async def _serve_http(http: uvicorn.Server, http_socket: socket.socket) -> None:
    await http.serve(sockets=[http_socket])


async def _until_stopped(tasks: anyio.abc.TaskGroup) -> None:
    stopped = anyio.Event()

    async def listen() -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                if stopped.is_set():
                    os._exit(1)  # asked twice: at once
                stopped.set()

    tasks.start_soon(listen)
    await stopped.wait()


async def _drain(
    config: ServerConfig, grpc_server: grpc.aio.Server, committer: Committer, http: uvicorn.Server
) -> None:
    log = structlog.get_logger("kelt_server")
    log.info("stopping")
    http.should_exit = True
    with anyio.move_on_after(config.drain_s) as deadline:
        await grpc_server.stop(config.drain_s / 2)
        committer.stop()
        await committer.finished.wait()
    if deadline.cancelled_caught:
        log.warning("stopped with work in the queue; what was not acknowledged is sent again")
