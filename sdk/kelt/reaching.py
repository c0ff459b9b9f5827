"""Reaching the daemon: found or started, greeted, a writer opened there; in a thread for that."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kelt.errors import (
    DaemonError,
    DaemonRefusedError,
    DaemonUnavailableError,
    WriterEndedError,
)
from kelt.launcher import ensure_daemon
from kelt.settings import Settings
from kelt.shared_clients import SharedClients, shared_clients

if TYPE_CHECKING:
    from kelt.append_stream import WriterStream
    from kelt.sidecar_client import SidecarClient
    from kelt_proto.v1 import sidecar_pb2

OPEN_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Opened:
    """A writer's part of a stream that the daemon has greeted, with what it said."""

    clients: SharedClients
    client: SidecarClient
    stream: WriterStream
    hello: sidecar_pb2.SidecarHelloReply
    first: sidecar_pb2.AppendReply

    def lose(self, *, is_broken: bool) -> None:
        """Leaves at once, and says whether the connection failed."""
        self.stream.cancel()
        self.clients.give_back(self.client, is_broken=is_broken)

    def close(self) -> None:
        """Takes leave of the daemon, which may take seconds, and gives the connection back."""
        self.stream.close()
        self.clients.give_back(self.client, is_broken=False)


class Attempt:
    """One attempt to reach the daemon, in a thread of its own."""

    def __init__(self, connect: Callable[[], Opened], on_done: Callable[[], None]) -> None:
        self._connect = connect
        self._on_done = on_done
        self._lock = threading.Lock()
        self._is_given_up = False
        self._found: Opened | DaemonError | OSError | None = None
        try:
            threading.Thread(target=self._run, name="kelt-connect", daemon=True).start()
        except RuntimeError as error:  # the interpreter ends, or the process has its fill of them
            raise DaemonUnavailableError(f"no thread can be started ({error})") from error

    def _run(self) -> None:
        found: Opened | DaemonError | OSError
        try:
            found = self._connect()
        except (DaemonError, OSError) as error:  # OSError: the state folder or the disk
            found = error
        except Exception as error:  # noqa: BLE001 # nothing here may end without an answer
            found = DaemonUnavailableError(f"{type(error).__name__}: {error}")
        with self._lock:
            self._found = found
            is_given_up = self._is_given_up
        if is_given_up and isinstance(found, Opened):
            found.close()
        self._on_done()

    def result(self) -> Opened | None:
        """What came of it, or None while that is not known.

        Raises:
            DaemonError: it failed.
            OSError: the same, because of the state folder.
        """
        if isinstance(self._found, Exception):
            raise self._found
        return self._found

    def give_up(self) -> None:
        """What it still finds is closed."""
        with self._lock:
            self._is_given_up = True
            found = self._found
        if isinstance(found, Opened):
            found.close()


def reach(settings: Settings, *, writer_id: bytes, folder: Path) -> Opened:
    """Finds the daemon or starts it, is greeted, and opens a writer; may take many seconds.

    Raises:
        DaemonError: it cannot be reached, or refuses.
        OSError: the state folder cannot be used.
    """
    place = ensure_daemon(settings)
    clients = shared_clients()
    client = clients.take(place.socket)
    try:
        hello = client.hello(
            upstream=settings.upstream,
            api_key=settings.api_key,
            ca_file=settings.ca_file,
            proxy=settings.proxy,
        )
        stream = client.append(
            writer_id=writer_id, run_folder=folder, writers_max=hello.writers_per_stream or 1
        )
        first = _first_reply(stream, is_shared=hello.writers_per_stream > 1)
    except BaseException as error:
        clients.give_back(client, is_broken=is_broken(error))
        raise
    return Opened(clients=clients, client=client, stream=stream, hello=hello, first=first)


def is_broken(error: BaseException) -> bool:
    """Whether the connection is to be given to nobody else."""
    return not isinstance(error, (DaemonRefusedError, WriterEndedError))


def _first_reply(stream: WriterStream, *, is_shared: bool) -> sidecar_pb2.AppendReply:
    """Says from where to send.

    Raises:
        DaemonError: there is none.
    """
    deadline = time.monotonic() + OPEN_TIMEOUT_S
    try:
        while (first := stream.latest(timeout_s=0.05)) is None:
            if time.monotonic() > deadline:
                # A shared stream is well where Hello was answered: reading the folder takes longer.
                kind = WriterEndedError if is_shared else DaemonUnavailableError
                raise kind("The daemon does not answer.")  # noqa: TRY301
    except BaseException:
        stream.cancel()
        raise
    return first
