"""What the composition root is told, checked and frozen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MEBIBYTE = 2**20


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Settings of one server. Port 0 is any free port."""

    folder: Path
    host: str = "127.0.0.1"
    http_port: int = 8470
    grpc_port: int = 8471
    default_entity: str = "local"
    lease_s: float = 1800.0
    api_key: str = ""
    ready_file: Path | None = None
    message_bytes_max: int = 16 * MEBIBYTE
    push_bytes_max: int = 8 * MEBIBYTE
    queue_bytes_max: int = 256 * MEBIBYTE
    group_bytes_max: int = 64 * MEBIBYTE
    metrics_memory_bytes_max: int = 2048 * MEBIBYTE
    drain_s: float = 8.0
    #: Both, or neither: then HTTP and gRPC are plain.
    tls_cert: Path | None = None
    tls_key: Path | None = None
    metadata_bytes_max: int = 8 * 1024
    #: Calls and questions at a time; who comes beyond is told to come later.
    calls_max: int = 1000
    metric_names_max: int = 10_000
    #: A file that a wandb client puts.
    file_bytes_max: int = 4096 * MEBIBYTE

    #: Files of runs and artifacts together.
    files_bytes_max: int = 256 * 1024 * MEBIBYTE
    #: What uploads leave free on the disk, for rows.
    disk_free_bytes_min: int = 1024 * MEBIBYTE

    @property
    def catalog_path(self) -> Path:
        """Facts, cursors and signs of life."""
        return self.folder / "catalog.sqlite"

    @property
    def files_path(self) -> Path:
        """Files that wandb clients put."""
        return self.folder / "files"

    @property
    def artifacts_path(self) -> Path:
        """Files of artifacts."""
        return self.folder / "artifacts"

    @property
    def objects_path(self) -> Path:
        """Pieces of files that came as records."""
        return self.folder / "objects"

    @property
    def metrics_path(self) -> Path:
        """Rows and points."""
        return self.folder / "metrics.duckdb"
