"""Where clients put and fetch files of runs.

Two kinds of addresses:

    /wandb-files/<entity>/<project>/<run id>/<file>?…     signed; of no use once the run is deleted
    /files/<entity>/<project>/<run id>/<file>             for good; wants a key, and only reads
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote

from kelt_server.branch_names import Name
from kelt_server.errors import NotFoundError
from kelt_server.wandb_api.signing import AddressSigner

PREFIX = "wandb-files"
KEYED_PREFIX = "files"
_NAME_PARTS = 3


class FileAddresses:
    """Makes them and knows them again.

    Args:
        signer: of the server.
        times_deleted: how often the run of a name was deleted. An address is bound to it, so that
            no file of a deleted run comes into the next of its name.
    """

    def __init__(self, signer: AddressSigner, times_deleted: Callable[[Name], int]) -> None:
        self._signer = signer
        self._times_deleted = times_deleted

    def signed(self, base: str, method: str, name: Name, file: str, *, key_id: str) -> str:
        """At which a file can be put (or fetched) for a while."""
        parts, bound = (PREFIX, *name, file), str(self._times_deleted(name))
        return self._signer.address(base, method, parts, key_id=key_id, bound=bound)

    def keyed(self, base: str, name: Name, file: str) -> str:
        """At which who has a key can fetch a file, whenever that is."""
        parts = (quote(part, safe="", errors="surrogatepass") for part in name)
        path = quote(file, errors="surrogatepass")
        return "/".join((base, KEYED_PREFIX, *parts, path))

    def opened(
        self, method: str, parts: Sequence[str], query: Mapping[str, str]
    ) -> tuple[Name, str]:
        """The run and the file that a signed address opens.

        Raises:
            NotFoundError, ForbiddenError, UnreadableAccountsError: see `AddressSigner.check`.
        """
        if len(parts) != _NAME_PARTS + 2:
            raise NotFoundError("there is no such address")
        name, file = (parts[1], parts[2], parts[3]), parts[4]
        bound = str(self._times_deleted(name))
        self._signer.check(method, parts, query, entity=name[0], bound=bound)
        return name, file


def named_by(parts: Sequence[str]) -> tuple[Name, str]:
    """The run and the file of an address that wants a key.

    Raises:
        NotFoundError: it has too few parts.
    """
    if len(parts) <= _NAME_PARTS + 1:
        raise NotFoundError("there is no such address")
    return (parts[1], parts[2], parts[3]), "/".join(parts[4:])
