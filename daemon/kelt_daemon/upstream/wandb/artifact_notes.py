"""`wandb-<digest>.json` in an artifact's folder: how far the W&B server of that address has it.

As the run's own book (`progress_file`) it is replaced whole and synced after what it tells was
acknowledged, and damaged it is as if not there: the artifact begins anew, which the server knows by
its client's id and its content.
"""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass
from pathlib import Path

from kelt.checked_json import decode_checked, encode_checked
from kelt.private_files import replace_private
from kelt_daemon.upstream.wandb.progress_file import progress_path


@dataclass(frozen=True, kw_only=True)
class ArtifactNote:
    """How far it is.

    Attributes:
        artifact_id: the server's; empty until it has begun.
        files_put: so many of its files are there, in the order of their paths.
        tries: how often it was refused for what it is.
    """

    artifact_id: str = ""
    files_put: int = 0
    tries: int = 0


def read_note(notes: Path, url: str) -> ArtifactNote:
    """What was noted in an artifact's folder."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return ArtifactNote(**decode_checked(progress_path(notes, url).read_bytes()))
    return ArtifactNote()


def write_note(notes: Path, url: str, note: ArtifactNote) -> None:
    """Replaces it, synced.

    Raises:
        OSError: it cannot be written.
    """
    notes.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_private(progress_path(notes, url), encode_checked(asdict(note)), is_synced=True)
