"""Where clients put and fetch files of artifacts: signed addresses, as of files of runs.

/wandb-artifacts/blob/<entity>/<MD5>?…
/wandb-artifacts/manifest/<entity>/<id>?…
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kelt_server.errors import NotFoundError
from kelt_server.wandb_api.signing import AddressSigner

PREFIX = "wandb-artifacts"
BLOB, MANIFEST = "blob", "manifest"
_PARTS = 4


class ArtifactAddresses:
    """Addresses under the server's own, which `base` is, for the key that asks."""

    def __init__(self, signer: AddressSigner, base: str, key_id: str) -> None:
        self._signer = signer
        self._base = base
        self._key_id = key_id

    def blob(self, method: str, entity: str, md5: str) -> str:
        """Of a content."""
        return self._signed(method, BLOB, entity, md5)

    def manifest(self, method: str, entity: str, manifest_id: str) -> str:
        """Of a manifest."""
        return self._signed(method, MANIFEST, entity, manifest_id)

    def _signed(self, method: str, *said: str) -> str:
        return self._signer.address(self._base, method, (PREFIX, *said), key_id=self._key_id)


def opened(
    signer: AddressSigner, method: str, parts: Sequence[str], query: Mapping[str, str]
) -> tuple[str, str]:
    """The entity, and the content or the manifest, that an address opens.

    Raises:
        NotFoundError, ForbiddenError, UnreadableAccountsError: see `AddressSigner.check`.
    """
    if len(parts) != _PARTS:
        raise NotFoundError("there is no such address")
    signer.check(method, parts, query, entity=parts[2])
    return parts[2], parts[3]
