"""Addresses that carry their own permission: an HMAC with a secret of this server's folder.

files/secret                                  32 random bytes, 0600
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from kelt_server.errors import StoreError

_SECRET_BYTES = 32


class AddressSigner:
    """Signs what an address allows, and knows its own signatures again."""

    def __init__(self, folder: Path) -> None:
        self._secret = _secret(folder)

    def signature(self, *said: str) -> str:
        """What an address must carry that allows this."""
        text = "\0".join(said).encode("utf-8", "surrogatepass")
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()

    def is_signed(self, signature: str, *said: str) -> bool:
        """Whether this server made the address."""
        return hmac.compare_digest(self.signature(*said).encode(), signature.encode())


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
