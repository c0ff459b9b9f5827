"""What a server is made of, put together out of its stores: who is given what."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from ipaddress import ip_address

from starlette.applications import Starlette

from kelt_server.access.account_file import AccountFile
from kelt_server.access.gate import Gate
from kelt_server.api.actions import ActionApi
from kelt_server.api.admin import AdminApi
from kelt_server.api.app import build_app
from kelt_server.api.artifact_changes import ArtifactChangesApi
from kelt_server.api.files import FileApi
from kelt_server.api.routes import ReadApi, ServerFacts
from kelt_server.artifacts import ArtifactLibrary, BlobStore, Sweeper
from kelt_server.artifacts.receiving import ArtifactReceiver
from kelt_server.branch_names import Name
from kelt_server.config import ServerConfig
from kelt_server.counters import Counters
from kelt_server.files_of_runs import FilesOfRuns
from kelt_server.ingest.committer import Committer
from kelt_server.ingest.group import GroupCommitter
from kelt_server.ingest.retelling import SessionOfProcess, Told
from kelt_server.ingest.service import UpstreamService
from kelt_server.packing import Packer
from kelt_server.pages.artifact_pages import ArtifactPages
from kelt_server.pages.files import RunFiles
from kelt_server.pages.pages import Pages
from kelt_server.reader import RunReader
from kelt_server.run_actions import RunActions
from kelt_server.storage_quota import StorageQuota
from kelt_server.stores import Stores
from kelt_server.uploads import UploadFolder
from kelt_server.wandb_api import AddressSigner, Door, SessionTable, WandbApi


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """A server that does nothing yet.

    Attributes:
        app: answers HTTP.
        service: answers daemons.
        group: settles what a crash left undone.
        committer, packer, sweeper, actions: run in the background.
    """

    app: Starlette
    service: UpstreamService
    group: GroupCommitter
    committer: Committer
    packer: Packer
    sweeper: Sweeper
    actions: RunActions


@dataclass(frozen=True, slots=True, kw_only=True)
class _Base:
    """What most parts are given."""

    config: ServerConfig
    stores: Stores
    clock: Callable[[], float]
    counters: Counters
    gate: Gate
    reader: RunReader


@dataclass(frozen=True, slots=True, kw_only=True)
class _FileStores:
    """Where files of runs and artifacts lie, and who sweeps them."""

    uploads: UploadFolder
    files: FilesOfRuns
    library: ArtifactLibrary
    sweeper: Sweeper


def assemble(
    config: ServerConfig, stores: Stores, *, clock: Callable[[], float], grpc_port: int
) -> Assembly:
    """Puts a server together.

    Args:
        config: all of its settings.
        stores: open ones.
        clock: the time of day.
        grpc_port: where daemons are told to come.

    Raises:
        StoreError: the secret that signs addresses cannot be used.
    """
    accounts = AccountFile(config.folder)
    gate = Gate(
        api_key=config.api_key, accounts=accounts.accounts, default_entity=config.default_entity
    )
    reader = RunReader(
        catalog=stores.catalog,
        metrics=stores.metrics,
        objects=stores.objects,
        clock=clock,
        server_started_at=clock(),
        lease_s=config.lease_s,
        default_entity=config.default_entity,
    )
    base = _Base(
        config=config, stores=stores, clock=clock, counters=Counters(), gate=gate, reader=reader
    )
    group = _group(base)
    committer = Committer(
        group,
        counters=base.counters,
        queue_bytes_max=config.queue_bytes_max,
        group_bytes_max=config.group_bytes_max,
    )
    files = _file_stores(base)
    actions, wandb_api = _wandb_door(base, committer, files)
    return Assembly(
        app=_app(base, accounts, files, actions, wandb_api, grpc_port=grpc_port),
        service=_service(base, committer, files),
        group=group,
        committer=committer,
        packer=Packer(metrics=stores.metrics, counters=base.counters),
        sweeper=files.sweeper,
        actions=actions,
    )


def _group(base: _Base) -> GroupCommitter:
    return GroupCommitter(
        catalog=base.stores.catalog,
        metrics=base.stores.metrics,
        objects=base.stores.objects,
        clock=base.clock,
        default_entity=base.config.default_entity,
        counters=base.counters,
        noticed=base.reader.notice,
        metric_names_max=base.config.metric_names_max,
        session_of_process=_session_of_process(SessionTable(base.stores.catalog.engine)),
    )


def _session_of_process(table: SessionTable) -> SessionOfProcess:
    def found(name: Name, process: str) -> Told | None:
        session = table.of_process(name, process)
        if session is None or not session.has_writer:
            return None
        return Told(bytes.fromhex(session.writer_id), session.branch_id)

    return found


def _service(base: _Base, committer: Committer, files: _FileStores) -> UpstreamService:
    return UpstreamService(
        committer=committer,
        reader=base.reader,
        clock=base.clock,
        server_id=base.stores.catalog.server_id,
        gate=base.gate,
        stops=base.stores.catalog.stops,
        artifacts=ArtifactReceiver(
            library=files.library, has_ended=base.stores.catalog.deletions.has_ended
        ),
        push_bytes_max=base.config.push_bytes_max,
        counters=base.counters,
    )


def _file_stores(base: _Base) -> _FileStores:
    config = base.config
    quota = StorageQuota(
        (config.files_path, config.artifacts_path),
        bytes_max=config.files_bytes_max,
        disk_free_bytes_min=config.disk_free_bytes_min,
        counters=base.counters,
    )
    blobs = BlobStore(config.artifacts_path, quota=quota, file_bytes_max=config.file_bytes_max)
    engine = base.stores.catalog.engine
    library = ArtifactLibrary(engine=engine, blobs=blobs, quota=quota, clock=base.clock)
    uploads = UploadFolder(config.files_path, file_bytes_max=config.file_bytes_max, quota=quota)
    return _FileStores(
        uploads=uploads,
        files=FilesOfRuns(uploads),
        library=library,
        sweeper=Sweeper(library=library, quota=quota, clock=base.clock),
    )


def _wandb_door(
    base: _Base, committer: Committer, files: _FileStores
) -> tuple[RunActions, WandbApi]:
    """The door for wandb's clients, and what acts on runs in turn with it."""
    deletions, stops = base.stores.catalog.deletions, base.stores.catalog.stops
    door = Door(
        table=SessionTable(base.stores.catalog.engine),
        committer=committer,
        reader=base.reader,
        clock=base.clock,
        counters=base.counters,
        default_entity=base.config.default_entity,
        times_deleted=deletions.count,
        is_stopped=stops.is_asked,
    )
    actions = RunActions(
        committer=committer,
        alone_with=door.alone_with,
        reader=base.reader,
        clock=base.clock,
        deletions=deletions,
        stops=stops,
        metrics=base.stores.metrics,
        set_aside=(files.uploads.set_aside,),
        remove_aside=(files.uploads.remove_aside,),
    )
    signer = AddressSigner(
        base.config.files_path, clock=base.clock, caller_of_key=base.gate.caller_of_key
    )
    wandb_api = WandbApi(
        door=door,
        actions=actions,
        reader=base.reader,
        uploads=files.uploads,
        files=files.files,
        signer=signer,
        times_deleted=deletions.count,
        library=files.library,
        counters=base.counters,
    )
    return actions, wandb_api


def _app(
    base: _Base,
    accounts: AccountFile,
    files: _FileStores,
    actions: RunActions,
    wandb_api: WandbApi,
    *,
    grpc_port: int,
) -> Starlette:
    reader = base.reader
    about = ServerFacts(
        server_id=base.stores.catalog.server_id,
        grpc_port=grpc_port,
        default_entity=base.config.default_entity,
        damaged_files=tuple(asdict(damaged) for damaged in base.stores.damaged),
    )
    return build_app(
        api_routes=[
            *ReadApi(reader=reader, about=about, counters=base.counters, gate=base.gate).routes(),
            *ActionApi(actions=actions, reader=reader).routes(),
            *AdminApi(accounts=accounts, clock=base.clock).routes(),
            *FileApi(reader=reader, files=files.files, library=files.library).routes(),
            *ArtifactChangesApi(library=files.library).routes(),
        ],
        page_routes=[
            *Pages(reader, RunFiles(files=files.files, library=files.library)).routes(),
            *ArtifactPages(files.library).routes(),
        ],
        more_routes=wandb_api.routes(),
        gate=base.gate,
        is_local=_is_loopback(base.config.host),
    )


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"
