"""The connections of this process to daemons, which its runs share.

gRPC keeps a thread for each connection, which wakes up several times a second. One on which
something failed is given to nobody any more, and closed by whoever holds it last. Of many runs each
`USERS_MAX` have one: a daemon takes 64 calls on a connection at a time, and a call that it takes
runs of can carry as many. A forked child leaves its parent's connections alone, also their closing.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kelt.sidecar_client import SidecarClient

#: Of a stream that they share; a daemon that takes one writer a stream lets those beyond 64 fail
#: at it in time, and they get another connection.
USERS_MAX = 256


class SharedClients:
    """Counts who uses a connection."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current: dict[Path, SidecarClient] = {}
        self._users: dict[SidecarClient, int] = {}

    def take(self, socket: Path) -> SidecarClient:
        """A connection to the daemon of a socket; to be given back."""
        from kelt.sidecar_client import SidecarClient  # noqa: PLC0415 # loads gRPC

        with self._lock:
            client = self._current.get(socket)
            if client is None or self._users[client] >= USERS_MAX:
                client = self._current[socket] = SidecarClient(socket=socket)
            self._users[client] = self._users.get(client, 0) + 1
            return client

    def give_back(self, client: SidecarClient, *, is_broken: bool) -> None:
        """Says that one user is done with it, and whether it failed."""
        with self._lock:
            if is_broken and self._current.get(client.socket) is client:
                del self._current[client.socket]
            self._users[client] -= 1
            if self._users[client]:
                return
            del self._users[client]
            if self._current.get(client.socket) is client:
                del self._current[client.socket]
        client.close()


_shared = SharedClients()
_of_parents: list[SharedClients] = []


def shared_clients() -> SharedClients:
    """Those of this process."""
    return _shared


def _begin_anew() -> None:
    global _shared  # noqa: PLW0603 # one for each process
    _of_parents.append(_shared)  # kept, as gRPC closes what nobody refers to
    _shared = SharedClients()


os.register_at_fork(after_in_child=_begin_anew)
