"""The composition root: stores, committer, gRPC and HTTP in one event loop, and how they end.

At the end the daemons' calls in flight are answered first, then the queue is committed, then
readers are let go. All of it under one deadline; a second signal does not wait.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import anyio
import anyio.abc
import grpc.aio
import structlog
import uvicorn
from starlette.routing import Route

from kelt_proto.v1 import upstream_pb2_grpc
from kelt_server import tls
from kelt_server.access.account_file import AccountFile
from kelt_server.access.gate import Gate
from kelt_server.api.actions import ActionApi
from kelt_server.api.admin import AdminApi
from kelt_server.api.app import build_app
from kelt_server.api.files import FileApi
from kelt_server.api.routes import ReadApi, ServerFacts
from kelt_server.artifacts import ArtifactLibrary, BlobStore, Sweeper
from kelt_server.artifacts.receiving import ArtifactReceiver
from kelt_server.config import ServerConfig
from kelt_server.errors import StartError, StoreError
from kelt_server.files_of_runs import FilesOfRuns
from kelt_server.ingest.committer import Committer
from kelt_server.ingest.group import Counters, GroupCommitter
from kelt_server.ingest.service import UpstreamService
from kelt_server.packing import Packer
from kelt_server.pages.files import RunFiles
from kelt_server.pages.pages import Pages
from kelt_server.reader import RunReader
from kelt_server.run_actions import RunActions
from kelt_server.storage_quota import StorageQuota
from kelt_server.stores import FolderLock, Stores, open_stores
from kelt_server.wandb_api import AddressSigner, Door, SessionTable, UploadFolder, WandbApi

_START_S = 30.0
_BACKLOG = 256
_HTTP_HEAD_BYTES_MAX = 32 * 1024


@dataclass(frozen=True, slots=True)
class Ready:
    """Where a server listens."""

    url: str
    http_port: int
    grpc_port: int
    pid: int


class _HttpServer(uvicorn.Server):
    """uvicorn without its own signal handlers: the root decides when to stop."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield


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
        http_socket = _listen(config.host, config.http_port)
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
    counters = Counters()
    accounts = AccountFile(config.folder)
    gate = Gate(
        api_key=config.api_key, accounts=accounts.accounts, default_entity=config.default_entity
    )
    reader = _reader(config, stores, clock)
    group, committer = _committers(config, stores, reader, clock, counters)
    files = _file_stores(config, stores, counters, clock)
    service = UpstreamService(
        committer=committer,
        reader=reader,
        clock=clock,
        server_id=stores.catalog.server_id,
        gate=gate,
        stops=stores.catalog.stops,
        artifacts=ArtifactReceiver(
            library=files.library, has_ended=stores.catalog.deletions.has_ended
        ),
        push_bytes_max=config.push_bytes_max,
        counters=counters,
    )
    grpc_server, grpc_port = _grpc_server(config, service)
    signer = AddressSigner(config.files_path, clock=clock, caller_of_key=gate.caller_of_key)
    actions, wandb_api = _wandb_door(
        config, stores, reader, committer, files, signer, counters, clock
    )
    with contextlib.suppress(StoreError):  # else with the first commit
        group.settle_deletions()
    actions.recover()
    about = _about(config, stores, grpc_port)
    api_routes = [
        *ReadApi(reader=reader, about=about, counters=counters, gate=gate).routes(),
        *ActionApi(actions=actions, reader=reader).routes(),
        *AdminApi(accounts=accounts, clock=clock).routes(),
    ]
    http = _http_server(config, gate, api_routes, wandb_api, reader, files)
    ready = _ready(config, http_socket, grpc_port)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(committer.run)
        tasks.start_soon(Packer(metrics=stores.metrics, counters=counters).run)
        tasks.start_soon(files.sweeper.run)
        tasks.start_soon(actions.run)
        tasks.start_soon(_serve_http, http, http_socket)
        await grpc_server.start()
        with anyio.fail_after(_START_S):
            while not http.started:  # noqa: ASYNC110 # uvicorn has no event for it
                await anyio.sleep(0.005)
        _announce(ready, config)
        await _until_stopped(tasks)
        await _drain(config, grpc_server, committer, http)
        tasks.cancel_scope.cancel()


def _reader(config: ServerConfig, stores: Stores, clock: Callable[[], float]) -> RunReader:
    return RunReader(
        catalog=stores.catalog,
        metrics=stores.metrics,
        objects=stores.objects,
        clock=clock,
        server_started_at=clock(),
        lease_s=config.lease_s,
        default_entity=config.default_entity,
    )


def _committers(
    config: ServerConfig,
    stores: Stores,
    reader: RunReader,
    clock: Callable[[], float],
    counters: Counters,
) -> tuple[GroupCommitter, Committer]:
    group = GroupCommitter(
        catalog=stores.catalog,
        metrics=stores.metrics,
        objects=stores.objects,
        clock=clock,
        default_entity=config.default_entity,
        counters=counters,
        noticed=reader.notice,
        metric_names_max=config.metric_names_max,
    )
    committer = Committer(
        group,
        counters=counters,
        queue_bytes_max=config.queue_bytes_max,
        group_bytes_max=config.group_bytes_max,
    )
    return group, committer


def _about(config: ServerConfig, stores: Stores, grpc_port: int) -> ServerFacts:
    return ServerFacts(
        server_id=stores.catalog.server_id,
        grpc_port=grpc_port,
        default_entity=config.default_entity,
        damaged_files=tuple(asdict(damaged) for damaged in stores.damaged),
    )


def _ready(config: ServerConfig, http_socket: socket.socket, grpc_port: int) -> Ready:
    http_port = http_socket.getsockname()[1]
    scheme = "http" if config.tls_cert is None else "https"
    url = f"{scheme}://{_shown_host(config.host)}:{http_port}"
    return Ready(url, http_port, grpc_port, os.getpid())


@dataclass(frozen=True, slots=True)
class _FileStores:
    """Where files of runs and artifacts lie, and who sweeps them."""

    uploads: UploadFolder
    library: ArtifactLibrary
    sweeper: Sweeper


def _file_stores(
    config: ServerConfig, stores: Stores, counters: Counters, clock: Callable[[], float]
) -> _FileStores:
    quota = StorageQuota(
        (config.files_path, config.artifacts_path),
        bytes_max=config.files_bytes_max,
        disk_free_bytes_min=config.disk_free_bytes_min,
        counters=counters,
    )
    blobs = BlobStore(config.artifacts_path, quota=quota, file_bytes_max=config.file_bytes_max)
    library = ArtifactLibrary(engine=stores.catalog.engine, blobs=blobs, quota=quota, clock=clock)
    uploads = UploadFolder(
        config.files_path,
        file_bytes_max=config.file_bytes_max,
        quota=quota,
    )
    return _FileStores(uploads, library, Sweeper(library=library, quota=quota, clock=clock))


def _wandb_door(  # noqa: PLR0917 # parts of the root
    config: ServerConfig,
    stores: Stores,
    reader: RunReader,
    committer: Committer,
    files: _FileStores,
    signer: AddressSigner,
    counters: Counters,
    clock: Callable[[], float],
) -> tuple[RunActions, WandbApi]:
    """The door for wandb's clients, and what acts on runs in turn with it."""
    deletions, stops = stores.catalog.deletions, stores.catalog.stops
    door = Door(
        table=SessionTable(stores.catalog.engine),
        committer=committer,
        reader=reader,
        clock=clock,
        counters=counters,
        default_entity=config.default_entity,
        times_deleted=deletions.count,
        is_stopped=stops.is_asked,
    )
    actions = RunActions(
        committer=committer,
        alone_with=door.alone_with,
        reader=reader,
        clock=clock,
        deletions=deletions,
        stops=stops,
        metrics=stores.metrics,
        set_aside=(files.uploads.set_aside,),
        remove_aside=(files.uploads.remove_aside,),
    )
    wandb_api = WandbApi(
        door=door,
        actions=actions,
        reader=reader,
        uploads=files.uploads,
        signer=signer,
        times_deleted=deletions.count,
        library=files.library,
        counters=counters,
    )
    return actions, wandb_api


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


def _listen(host: str, port: int, *, flag: str = "--port") -> socket.socket:
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


def _grpc_server(config: ServerConfig, service: UpstreamService) -> tuple[grpc.aio.Server, int]:
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
    upstream_pb2_grpc.add_UpstreamServicer_to_server(service, server)
    host = f"[{config.host}]" if ":" in config.host else config.host
    if config.grpc_port:
        _listen(config.host, config.grpc_port, flag="--grpc-port").close()  # gRPC would say less
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


def _http_server(  # noqa: PLR0917 # parts of the root
    config: ServerConfig,
    gate: Gate,
    api_routes: Sequence[Route],
    wandb_api: WandbApi,
    reader: RunReader,
    files: _FileStores,
) -> uvicorn.Server:
    files_of_runs = FilesOfRuns(files.uploads)
    file_api = FileApi(reader=reader, files=files_of_runs, library=files.library)
    pages = Pages(reader, RunFiles(files=files_of_runs, library=files.library))
    app = build_app(
        api_routes=[*api_routes, *file_api.routes()],
        page_routes=pages.routes(),
        more_routes=wandb_api.routes(),
        gate=gate,
    )
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
    return _HttpServer(settings)


def _announce(ready: Ready, config: ServerConfig) -> None:
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
