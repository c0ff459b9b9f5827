"""Who calls: from the key that came with a call. Nothing of a key is remembered or logged."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable

from kelt_server.access.accounts import Accounts, Key, digest
from kelt_server.access.callers import Caller, anybody, owner
from kelt_server.errors import KeyRefusedError, UnreadableAccountsError


class Gate:
    """Lets callers in.

    Args:
        api_key: the server's own; empty where it has none.
        accounts: as they are now.
        default_entity: of who has no name.
    """

    def __init__(
        self, *, api_key: str, accounts: Callable[[], Accounts], default_entity: str
    ) -> None:
        self._api_key = api_key
        self._own_key_id = Key(digest(api_key), 0.0).key_id if api_key else ""
        self._accounts = accounts
        self._default_entity = default_entity

    def wants_key(self) -> bool:
        """Whether a key is asked for at all."""
        try:
            return bool(self._api_key or self._accounts().is_closed)
        except UnreadableAccountsError:
            return True

    def admit(self, authorization: str) -> Caller:
        """Who calls, from an `authorization` value: `Bearer KEY`, or `Basic` with it as password.

        Raises:
            KeyRefusedError: a key is wanted, and this is none.
            UnreadableAccountsError: it cannot be told whose a key is.
        """
        key = key_in(authorization)
        if self._api_key and hmac.compare_digest(key.encode(), self._api_key.encode()):
            return owner(self._default_entity, self._own_key_id)
        accounts = self._accounts()
        if not (self._api_key or accounts.is_closed):
            return anybody(self._default_entity)
        caller = accounts.caller(key) if key else None
        if caller is None:
            raise KeyRefusedError("another key" if authorization else "no key")
        return caller

    def caller_of_key(self, key_id: str) -> Caller | None:
        """Who would be admitted with the key of an id (`Caller.key_id`), None where nobody would.

        Raises:
            UnreadableAccountsError: it cannot be told whose a key is.
        """
        if self._api_key and key_id == self._own_key_id:
            return owner(self._default_entity, key_id)
        accounts = self._accounts()
        if not (self._api_key or accounts.is_closed):
            return anybody(self._default_entity)
        return accounts.caller_of_key(key_id)


def key_in(authorization: str) -> str:
    """The key in an `authorization` value; empty where there is none."""
    scheme, _, offered = authorization.partition(" ")
    offered = offered.strip()
    if scheme.lower() == "bearer":
        return offered
    if scheme.lower() != "basic":
        return ""
    try:  # browsers and wandb's clients; the name beside it is not looked at
        _, _, password = base64.b64decode(offered).decode().partition(":")
    except ValueError:
        return ""
    return password
