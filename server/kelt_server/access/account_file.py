"""`accounts.json` on disk: read whenever it has changed, changed by one at a time."""

from __future__ import annotations

import fcntl
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kelt_server.access.accounts import Accounts, read_accounts, write_accounts
from kelt_server.errors import StoreError, UnreadableAccountsError
from kelt_server.folder_sync import sync_folder

NAME = "accounts.json"
_LOCK_NAME = "accounts.lock"
_KEY_BYTES = 20  # 40 hex digits: what every wandb client takes

_Stamp = tuple[int, int, int] | None


def new_key() -> str:
    """A key of 160 random bits."""
    return secrets.token_hex(_KEY_BYTES)


class AccountFile:
    """Mutable state: the accounts as they were read last, behind a lock."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._lock_path = folder / _LOCK_NAME
        self._reading = threading.Lock()
        self._stamp: _Stamp = None
        self._known: Accounts | UnreadableAccountsError = Accounts()

    def accounts(self) -> Accounts:
        """The accounts as they are now; none where there is no file.

        Raises:
            UnreadableAccountsError: the file is damaged, or cannot be read.
        """
        with self._reading:
            stamp = self._look()
            if stamp is None:
                self._known = Accounts()
            elif stamp != self._stamp:
                self._known = self._read()
            self._stamp = stamp
            if isinstance(self._known, UnreadableAccountsError):
                raise self._known
            return self._known

    def change(self, change: Callable[[Accounts], Accounts]) -> Accounts:
        """Writes what `change` makes of the accounts; on disk when this returns.

        Raises:
            UnreadableAccountsError: what is there is not written over.
            StoreError: it cannot be written.
        """
        with self._alone():
            found = self._read() if self.path.exists() else Accounts()
            if isinstance(found, UnreadableAccountsError):
                raise found
            changed = change(found)
            self._write(write_accounts(changed))
            return changed

    def _look(self) -> _Stamp:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        except OSError:
            return (0, 0, 0)
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _read(self) -> Accounts | UnreadableAccountsError:
        try:
            return read_accounts(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
        except UnreadableAccountsError as error:
            reason = str(error)
        return UnreadableAccountsError(
            f"{self.path} cannot be used ({reason}), so nobody is let in but by the server's own "
            "key; restore it, or remove it and add the users again"
        )

    def _write(self, text: str) -> None:
        partial = self.path.with_name(f"{NAME}.{secrets.token_hex(8)}.partial")
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as target:
                    target.write(text)
                    target.flush()
                    os.fsync(target.fileno())
                partial.replace(self.path)
            finally:
                partial.unlink(missing_ok=True)
            sync_folder(self.path.parent)
        except OSError as error:
            raise StoreError(f"{self.path} cannot be written: {error.strerror}") from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process and thread at a time."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreError(f"{self._lock_path} cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
