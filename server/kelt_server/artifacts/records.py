"""What the catalog says of artifacts, as values."""

from __future__ import annotations

from dataclasses import dataclass

from kelt_server.branch_names import Name

PENDING, COMMITTED, DELETED = "PENDING", "COMMITTED", "DELETED"
#: Logged with the content of a version that was there: it stands for that one (`same_as`).
MERGED = "MERGED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """All versions of one name in a project."""

    id: int
    entity: str
    project: str
    name: str
    type: str
    description: str | None
    tags: tuple[str, ...]
    created_at: float
    updated_at: float
    #: How many were ever committed: the number of the next.
    versions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One version, or what may become one. `version` is None until it is committed."""

    id: int
    collection: Collection
    state: str
    version: int | None
    digest: str
    description: str | None
    metadata: str | None
    tags: tuple[str, ...]
    #: Seconds from `created_at`; None: for ever.
    ttl_s: int | None
    size_bytes: int
    file_count: int
    history_step: int | None
    created_at: float
    updated_at: float
    #: The run that logged it; None where somebody else did.
    logged_by: Name | None
    #: Empty until it is committed.
    manifest_id: str
    wanted_aliases: tuple[str, ...]
    aliases: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As people call it."""
        return f"{self.collection.name}:{'pending' if self.version is None else f'v{self.version}'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactFile:
    """One entry of a committed manifest. `md5` (hex) is empty where it is a reference."""

    path: str
    digest: str
    md5: str
    size_bytes: int
    ref: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRecord:
    """A manifest that a client announced. `digest` (base64) is empty where it did not say it."""

    id: str
    artifact_id: int
    kind: str
    base_id: int | None
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewArtifact:
    """What a client says when it begins to log an artifact."""

    entity: str
    project: str
    type: str
    name: str
    digest: str
    description: str | None
    metadata: str | None
    aliases: tuple[str, ...]
    tags: tuple[str, ...]
    ttl_s: int | None
    history_step: int | None
    logged_by: Name | None
    client_id: str
    distributed_id: str
