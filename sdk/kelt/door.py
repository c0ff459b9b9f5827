"""Asking the daemon for a token: it is given only to a process of the user that the daemon runs as.

gRPC tells a service nothing about who is on the other end of a Unix socket. So the daemon has a
second, plain one beside it, its *door*: there it asks the kernel who calls, says
`kelt-token TOKEN` and closes. The token goes with every call as metadata and holds for that
daemon's life. A daemon of kelt 0.1 has no door and asks for no token.
"""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

from kelt.errors import DaemonRefusedError, DaemonUnavailableError

TOKEN_KEY = "kelt-token"  # noqa: S105 # the name of the metadata, not a secret
TOKEN_CHARS = 96
#: Whether this system's kernel can be asked who is at the other end; without, there is no door.
HAS_PEER_CREDENTIALS = hasattr(socket, "SO_PEERCRED")
_GREETING = b"kelt-token "
_ANSWER_BYTES_MAX = 512
_PEER = struct.Struct("3i")  # pid, uid, gid


def fetch_token(door: Path, *, timeout_s: float = 2.0) -> str:
    """A token for the daemon's socket; empty where the daemon has no door.

    Raises:
        DaemonUnavailableError: nobody answers there, or not in time.
        DaemonRefusedError: somebody else's process answers, or this user is not let in.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(os.fsencode(door))
            uid = peer_uid(connection)
            answer = _read_answer(connection)
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise DaemonUnavailableError(
                f"The daemon's door {door} does not answer ({error.strerror or error})."
            ) from error
    if uid is not None and uid not in {0, os.getuid()}:
        raise DaemonRefusedError(
            f"Behind {door} is a process of user {uid}: remove that file and start the daemon with "
            "`kelt daemon start`."
        )
    greeting, token = answer[: len(_GREETING)], answer[len(_GREETING) :].strip()
    if greeting != _GREETING or len(token) != TOKEN_CHARS:
        said = answer.decode("utf-8", "replace").strip() or "it closed the connection"
        raise DaemonRefusedError(f"The daemon gives no token: {said}")
    return token.decode("ascii", "replace")


def peer_uid(connection: socket.socket) -> int | None:
    """The user at the other end, as the kernel says; None where it cannot be asked."""
    if not HAS_PEER_CREDENTIALS:
        return None
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return int(_PEER.unpack(found)[1])


def _read_answer(connection: socket.socket) -> bytes:
    answer = b""
    while len(answer) < _ANSWER_BYTES_MAX and (piece := connection.recv(_ANSWER_BYTES_MAX)):
        answer += piece
    return answer
