"""`kelt sync`: have run folders sent, and see them arrive."""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kelt.cli.daemon_commands import settings
from kelt.cli.exit_codes import CliError, ExitCode
from kelt.cli.options import AsJson
from kelt.cli.sync_watch import SyncWatch
from kelt.cli.terminal import console, note, say, say_json
from kelt.cli.wording import count, plain

if TYPE_CHECKING:
    from rich.progress import TaskID

    from kelt.sidecar_client import SidecarClient
    from kelt_proto.v1.sidecar_pb2 import SyncReply

#: How long to wait for an upstream that cannot be reached.
UPSTREAM_WAIT_S = 15.0
_TICK_S = 0.25
#: More bars than that do not fit on a screen; the report at the end names all runs.
_BARS_MAX = 20


def sync(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PATH]...",
            help="Run folders, or folders of them; without any, all that wait on this host.",
        ),
    ] = None,
    *,
    wait_s: Annotated[
        float,
        typer.Option(
            "--wait",
            metavar="SECONDS",
            min=0,
            help="How long to wait while the upstream cannot be reached.",
        ),
    ] = UPSTREAM_WAIT_S,
    as_json: AsJson = False,
) -> None:
    """Send runs that wait, such as offline ones.

    Ends when the upstream has committed them. Repeating it is safe: what is already there is not
    sent again. --json prints a run a line.
    """
    from kelt.launcher import ensure_daemon  # noqa: PLC0415 # only here
    from kelt.sidecar_client import SidecarClient  # noqa: PLC0415 # loads gRPC

    folders = [_folder(path) for path in paths or []]
    chosen = settings()
    place = ensure_daemon(chosen)
    with SidecarClient(socket=place.socket) as client:
        client.hello(upstream=chosen.upstream, api_key=chosen.api_key)
        if not folders and not as_json:
            _say_waiting(client)
        watch = SyncWatch(wait_s=wait_s, now=time.monotonic())
        _follow(client, folders, watch=watch, is_quiet=as_json)
    _report(watch, as_json=as_json)


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise CliError(
            f"{path} is no folder. Name run folders, or a folder that holds some.",
            code=ExitCode.USAGE,
        )
    return path.absolute()


def _say_waiting(client: SidecarClient) -> None:
    from kelt.cli.daemon_view import (  # noqa: PLC0415 # loads protobuf
        run_name,
        status_dict,
        waiting_records,
    )

    for run in status_dict(client.status())["runs"]:
        if run["state"] == "waiting":
            note(f"{run_name(run)} waits in {run['path']}.")
        elif waiting := waiting_records(run):
            note(f"{run_name(run)}: {count(waiting, 'record')} to send.")


def _follow(
    client: SidecarClient, folders: list[Path], *, watch: SyncWatch, is_quiet: bool
) -> None:
    """Takes the daemon's reports until all is sent, or waiting is of no more use."""
    from kelt.cli.daemon_view import folder_dict, upstream_dict  # noqa: PLC0415 # loads protobuf

    with _bars(is_quiet=is_quiet) as show:
        for reply in _replies(client, folders):
            if reply is not None:
                watch.take(
                    folders=[folder_dict(folder) for folder in reply.folders],
                    upstream=upstream_dict(reply.upstream_state),
                    is_done=reply.done,
                    now=time.monotonic(),
                )
                show(watch.folders)
            if watch.is_over(now=time.monotonic()):
                return


def _replies(client: SidecarClient, folders: list[Path]) -> Iterator[SyncReply | None]:
    """The daemon's reports, and None now and then while there is none."""
    arrived: queue.Queue[SyncReply | Exception | None] = queue.Queue(maxsize=8)

    def read() -> None:
        try:
            for reply in client.sync(paths=folders, retry_now=True):
                arrived.put(reply)
            arrived.put(None)
        except Exception as error:  # noqa: BLE001 # raised again by who reads the queue
            arrived.put(error)

    # gRPC's blocking stream knows no deadline for the next message.
    threading.Thread(target=read, name="kelt-sync", daemon=True).start()
    while True:
        try:
            item = arrived.get(timeout=_TICK_S)
        except queue.Empty:
            yield None
            continue
        if item is None:
            return
        if isinstance(item, Exception):
            raise item
        yield item


@contextlib.contextmanager
def _bars(*, is_quiet: bool) -> Iterator[Callable[[list[dict[str, Any]]], None]]:
    """A bar a run on a terminal; nothing elsewhere."""
    if is_quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415

    from kelt.cli.daemon_view import run_name  # noqa: PLC0415 # loads protobuf

    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        console=console(sys.stderr),
        transient=True,
    )
    tasks: dict[str, TaskID] = {}

    def show(folders: list[dict[str, Any]]) -> None:
        for folder in folders[:_BARS_MAX]:
            path = folder["path"]
            if path not in tasks:
                tasks[path] = progress.add_task(plain(run_name(folder)), total=None)
            progress.update(tasks[path], total=folder["records"], completed=folder["committed"])

    with progress:
        yield show


def _report(watch: SyncWatch, *, as_json: bool) -> None:
    from kelt.cli.daemon_view import run_name  # noqa: PLC0415 # loads protobuf

    for folder in watch.folders:
        if as_json:
            say_json(folder)
            continue
        name = plain(run_name(folder))
        if folder["error"]:
            say(f"{name}: {plain(folder['error'])}")
        elif folder["committed"] < folder["records"]:
            say(f"{name}: {folder['committed']:,} of {count(folder['records'], 'record')} upstream")
        else:
            say(f"{name}: {count(folder['records'], 'record')} upstream")
    if not watch.folders and not as_json:
        say("Nothing waits to be sent.")
    if (failure := watch.failure()) is not None:
        raise failure
