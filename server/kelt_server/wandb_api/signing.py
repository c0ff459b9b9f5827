"""Addresses that carry their own permission, for a while, as stores of objects sign them.

    <base>/<part>/…?expires=<Unix seconds>&key=<id of the key that asked>&signature=<HMAC>

The HMAC is over the method, every part, the time, the key's id, and what else the address is bound
to. So it opens one thing to one method; it ends with its time, or with the key by which it was
asked for, whichever is first. What has begun by then goes on to its end. A client that comes later
is told so with 403, and gets another address where it got this one.

files/secret                                  32 random bytes, 0600
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import quote, unquote, urlencode

from starlette.requests import Request

from kelt_server.access.callers import Caller
from kelt_server.errors import ForbiddenError, NotFoundError, StoreError

#: Clients ask for addresses of files to put long before they come to the last one, and try for
#: hours where the network fails. What they fetch they fetch at once.
LIFE_S: Mapping[str, int] = {"PUT": 24 * 3600, "GET": 3600}
_SECRET_BYTES = 32


class AddressSigner:
    """Makes addresses, and knows its own again.

    Args:
        folder: where the secret lies.
        clock: the time of day.
        caller_of_key: who is let in by the key of an id; None where nobody is.
    """

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], float],
        caller_of_key: Callable[[str], Caller | None],
    ) -> None:
        self._secret = _secret(folder)
        self._clock = clock
        self._caller_of_key = caller_of_key

    def address(
        self, base: str, method: str, parts: Sequence[str], *, key_id: str, bound: str = ""
    ) -> str:
        """An absolute address.

        Args:
            base: of the server, as the client names it.
            method: GET or PUT.
            parts: of the path.
            key_id: of the key that asks; empty where none is wanted.
            bound: what must be as it is now.
        """
        expires = str(int(self._clock()) + LIFE_S[method])
        query = {"expires": expires, "key": key_id}
        query["signature"] = self._signature(method, parts, expires, key_id, bound)
        path = "/".join(quote(part, safe="", errors="surrogatepass") for part in parts)
        return f"{base}/{path}?{urlencode(query)}"

    def check(
        self,
        method: str,
        parts: Sequence[str],
        query: Mapping[str, str],
        *,
        entity: str,
        bound: str = "",
    ) -> None:
        """Whether an address opens what is the entity's.

        Raises:
            NotFoundError: this server did not make it, or not for this.
            ForbiddenError: it has expired, or its key opens the entity no more.
            UnreadableAccountsError: it cannot be told whose a key is.
        """
        expires, key_id = query.get("expires", ""), query.get("key", "")
        signature = self._signature(_READS.get(method, method), parts, expires, key_id, bound)
        if not hmac.compare_digest(signature.encode(), query.get("signature", "").encode()):
            raise NotFoundError("this address was not made by this server, or not for this")
        if self._clock() > int(expires):
            until = datetime.fromtimestamp(int(expires), timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
            raise ForbiddenError(f"this address expired at {until} UTC; ask for another")
        caller = self._caller_of_key(key_id)
        if caller is None or not caller.may(entity):
            raise ForbiddenError(
                f"the key by which this address was asked for does not open {entity!r} any more"
            )

    def _signature(
        self, method: str, parts: Sequence[str], expires: str, key_id: str, bound: str
    ) -> str:
        text = json.dumps([method, expires, key_id, bound, *parts])
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()


_READS = {"HEAD": "GET"}


def path_parts(request: Request) -> list[str]:
    """The parts of a request's path, with each taken from what `quote` made of it.

    Raises:
        NotFoundError: it is no text.
    """
    raw = request.scope.get("raw_path") or request.url.path.encode()
    path = raw.decode("ascii", "replace").split("?")[0]
    try:
        return [unquote(part, errors="surrogatepass") for part in path.split("/") if part]
    except UnicodeDecodeError as error:
        raise NotFoundError("there is no such address; it is no UTF-8") from error


def _secret(folder: Path) -> bytes:
    """The server's own, made once; the folder is locked for this process."""
    path = folder / "secret"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.is_file():
            known = path.read_bytes()
            if len(known) == _SECRET_BYTES:
                return known
        made = secrets.token_bytes(_SECRET_BYTES)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as target:
            target.write(made)
            target.flush()
            os.fsync(target.fileno())
    except OSError as error:
        raise StoreError(f"{path} cannot be used: {error.strerror}") from error
    return made
