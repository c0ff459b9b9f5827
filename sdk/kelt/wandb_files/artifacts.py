"""Artifacts that a `.wandb` file tells of: an offline run's, whose files W&B has copied aside.

W&B's client keeps those copies until it syncs them. Where they are still there, the artifact comes
into the run folder (`kelt.artifacts`), under the id by which W&B's client would log it: so it is
one version, whoever syncs it, and however often. Its place among the others is the number of its
record. They are linked or copied; the server checks their digests.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kelt.artifacts.adding import checked_path
from kelt.artifacts.logged import LoggedArtifact, manifest_md5, write_artifact
from kelt.artifacts.manifest import Entry
from kelt.errors import UsageError
from kelt_proto.wandb.wandb_record_pb2 import Artifact

#: Of one file: how many artifacts, and entries of all of them, are kept in memory.
ARTIFACTS_MAX = 10_000
ENTRIES_MAX = 1_000_000
_MD5_CHARS = 32


@dataclass(frozen=True, kw_only=True)
class WandbArtifact:
    """One that is to be carried.

    Attributes:
        number: of its record.
        contents: where W&B has copied its files, by MD5.
    """

    number: int
    said: LoggedArtifact
    entries: dict[str, Entry]
    contents: dict[str, Path]

    @property
    def is_there(self) -> bool:
        """Whether all of its files still are, as large as they were."""
        sizes = {entry.md5: entry.size_bytes for entry in self.entries.values() if entry.md5}
        return all(_size(self.contents[md5]) == size for md5, size in sizes.items())


def _size(path: Path) -> int | None:
    """None where it cannot be read."""
    try:
        is_there = path.is_file() and os.access(path, os.R_OK)
        return path.stat().st_size if is_there else None
    except (OSError, ValueError):  # a path with NUL
        return None


class ArtifactRecords:
    """Takes the records of a file. Mutable state: what was found and, by reason, left out."""

    def __init__(self) -> None:
        self.found: list[WandbArtifact] = []
        self.left_out: Counter[str] = Counter()
        self._entries = 0

    def take(self, raw: bytes, number: int) -> None:
        """One record.

        Raises:
            DecodeError: it is no message.
        """
        said = Artifact.FromString(raw)
        self._entries += len(said.manifest.contents)
        if len(self.found) >= ARTIFACTS_MAX or self._entries > ENTRIES_MAX:
            self.left_out["surplus artifact"] += 1
        elif not said.finalize or said.incremental_beta1 or said.manifest.manifest_file_path:
            self.left_out["partial artifact"] += 1
        elif (artifact := _artifact(said, number)) is None:
            self.left_out["unusable artifact"] += 1
        else:
            self.found.append(artifact)

    def not_carried(self) -> Counter[str]:
        """How many are not, by reason, as it is now."""
        gone = sum(not artifact.is_there for artifact in self.found)
        return self.left_out + Counter({"vanished artifact": gone})


def _artifact(said: Artifact, number: int) -> WandbArtifact | None:
    entries: dict[str, Entry] = {}
    contents: dict[str, Path] = {}
    try:
        json.loads(said.metadata or "{}")
        for one in said.manifest.contents:
            size_bytes = None if one.ref and not one.size else one.size
            entry = Entry(
                path=checked_path(one.path), digest=one.digest, size_bytes=size_bytes, ref=one.ref
            )
            entries[entry.path] = entry
            if entry.md5:
                contents[entry.md5] = Path(one.local_path)
        if any(len(md5) != _MD5_CHARS for md5 in contents):
            return None
    except (UsageError, ValueError, RecursionError):
        return None
    if said.manifest.version != 1 or not said.client_id:
        return None
    logged = LoggedArtifact(
        id=said.client_id,
        name=said.name,
        type=said.type,
        description=said.description,
        metadata_json=said.metadata or "{}",
        aliases=tuple(alias for alias in said.aliases if alias != "latest"),
        tags=tuple(said.tags),
        step=-1,
        manifest_md5=manifest_md5(entries),
    )
    return WandbArtifact(number=number, said=logged, entries=entries, contents=contents)


def write_artifacts(folder: Path, found: Iterable[WandbArtifact]) -> None:
    """Puts those whose files are there into a folder.

    Raises:
        StorageError: there is no room.
    """
    for artifact in found:
        if artifact.is_there:
            write_artifact(
                folder,
                artifact.said,
                entries=artifact.entries,
                contents=artifact.contents,
                number=artifact.number,
            )
