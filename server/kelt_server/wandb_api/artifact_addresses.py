"""Where clients put and fetch files of artifacts: signed addresses, as of files of runs."""

from __future__ import annotations

from urllib.parse import quote

from kelt_server.wandb_api.signing import AddressSigner

PREFIX = "/wandb-artifacts"
BLOB, MANIFEST = "blob", "manifest"


class ArtifactAddresses:
    """Addresses under the server's own, which `base` is."""

    def __init__(self, signer: AddressSigner, base: str) -> None:
        self._signer = signer
        self._base = base

    def blob(self, method: str, entity: str, md5: str) -> str:
        """Of a content."""
        path = f"{quote(entity, safe='', errors='surrogatepass')}/{md5}"
        return self._signed(method, BLOB, path, entity, md5)

    def manifest(self, method: str, manifest_id: str) -> str:
        """Of a manifest."""
        return self._signed(method, MANIFEST, manifest_id, manifest_id)

    def _signed(self, method: str, kind: str, path: str, *said: str) -> str:
        signature = self._signer.signature(PREFIX, method, kind, *said)
        return f"{self._base}{PREFIX}/{kind}/{path}?signature={signature}"


def is_signed(signer: AddressSigner, method: str, kind: str, said: list[str], given: str) -> bool:
    """Whether this server made the address."""
    return signer.is_signed(given, PREFIX, method, kind, *said)
