"""Artifacts in a run folder (format: the package's page): written here, carried elsewhere."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from kelt.artifacts.manifest import Entry, encode_manifest
from kelt.artifacts.staging import link_or_copy
from kelt.checked_json import decode_checked, encode_checked
from kelt.errors import StorageError
from kelt.journal.files import open_regular
from kelt.private_files import replace_private

ARTIFACTS_NAME = "artifacts"
_SAID, _END, _FILES = "artifact.json", "end.json", "files"
_NAME = re.compile(r"(\d{6,})-([0-9a-f]{32})")
_MD5 = re.compile(r"[0-9a-f]{32}")
_POLL_S = 0.05
_SAID_BYTES_MAX = 16 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class LoggedArtifact:
    """What was said of an artifact when it was logged."""

    id: str
    name: str
    type: str
    description: str
    metadata_json: str
    aliases: tuple[str, ...]
    tags: tuple[str, ...]
    step: int
    manifest_md5: str


@dataclass(frozen=True, kw_only=True)
class End:
    """What became of an artifact: its version, or why there is none."""

    version: str = ""
    problem: str = ""


def write_artifact(
    run_folder: Path,
    said: LoggedArtifact,
    *,
    entries: Mapping[str, Entry],
    contents: Mapping[str, Path],
    number: int | None = None,
) -> Path:
    """Puts an artifact into a run folder, all of it or nothing; returns its own folder.

    Only the process that writes the run calls this; of two calls at a time either may be the first.

    Args:
        run_folder: of the run that logs it.
        said: what is said of it.
        entries: what is in it, by path.
        contents: where nobody changes them, by MD5: those that the server may lack.
        number: its place among the run's artifacts; the next one without it.

    Raises:
        StorageError: there is no room, or the folder cannot be written.
    """
    parent = run_folder / ARTIFACTS_NAME
    key = hashlib.md5(said.id.encode(), usedforsecurity=False).hexdigest()
    aside = parent / f".{key}"
    try:
        parent.mkdir(mode=0o700, exist_ok=True)
        (aside / _FILES).mkdir(mode=0o700, parents=True)
        for md5, path in contents.items():
            link_or_copy(path, aside / _FILES / md5)
        replace_private(aside / _FILES / said.manifest_md5, encode_manifest(entries))
        replace_private(aside / _SAID, encode_checked(asdict(said)))
        if number is None:
            number = 1 + max((number for number, _ in _numbered(parent)), default=0)
        folder = parent / f"{number:06d}-{key}"
        aside.rename(folder)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise StorageError(
            f"The artifact {said.name!r} cannot be kept in {run_folder} "
            f"({error.strerror or error}); make room there, then log it again."
        ) from error
    return folder


def manifest_md5(entries: Mapping[str, Entry]) -> str:
    """Under which a manifest is kept."""
    return hashlib.md5(encode_manifest(entries), usedforsecurity=False).hexdigest()


def artifact_folders(run_folder: Path) -> list[Path]:
    """The folders of a run's artifacts, in the order in which they were logged."""
    return [path for _, path in sorted(_numbered(run_folder / ARTIFACTS_NAME))]


def _numbered(parent: Path) -> Iterator[tuple[int, Path]]:
    paths: list[Path] = []
    with contextlib.suppress(OSError):
        paths = list(parent.iterdir())
    for path in paths:
        if (found := _NAME.fullmatch(path.name)) is not None:
            yield int(found[1]), path


def read_said(folder: Path) -> LoggedArtifact:
    """What was said of an artifact.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged.
    """
    with open_regular(folder / _SAID) as file:
        data = decode_checked(file.read(_SAID_BYTES_MAX))
    try:
        known: dict[str, Any] = {field.name: data[field.name] for field in fields(LoggedArtifact)}
        for name in ("aliases", "tags"):
            known[name] = tuple(map(str, known[name]))
        return LoggedArtifact(**known)
    except (KeyError, TypeError) as error:
        raise ValueError(f"it lacks {error}") from error


def is_content_name(name: str) -> bool:
    """Whether a content may have the name; an upstream could ask for anything."""
    return _MD5.fullmatch(name) is not None


def content_path(folder: Path, md5: str) -> Path:
    """Where a content of an artifact lies."""
    return folder / _FILES / md5


def end_path(home: Path, folder: Path) -> Path:
    """Where it is said what became of an artifact.

    Args:
        home: the daemon's folder of the run, which is the run folder unless that is a copy.
        folder: of the artifact.
    """
    return home / ARTIFACTS_NAME / folder.name / _END


def read_end(home: Path, folder: Path) -> End | None:
    """What became of an artifact; None while it is not known."""
    try:
        data = decode_checked(end_path(home, folder).read_bytes())
        return End(version=str(data["version"]), problem=str(data["problem"]))
    except (OSError, ValueError, KeyError):
        return None


def write_end(home: Path, folder: Path, end: End) -> None:
    """Says what became of an artifact, so that it survives a power loss.

    Raises:
        OSError: it cannot be written.
    """
    path = end_path(home, folder)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_private(path, encode_checked(asdict(end)), is_synced=True)


def remove_contents(folder: Path) -> None:
    """Frees the room of an artifact that the server has."""
    shutil.rmtree(folder / _FILES, ignore_errors=True)


def sweep_ended(run_folder: Path) -> None:
    """Frees what a daemon that was killed had not freed any more."""
    for folder in artifact_folders(run_folder):
        end = read_end(run_folder, folder)
        if end is not None and end.version:
            remove_contents(folder)


def waiting(run_folder: Path, home: Path) -> list[Path]:
    """The artifacts of which it is not known what became of them."""
    return [path for path in artifact_folders(run_folder) if read_end(home, path) is None]


def wait_for_ends(places: Sequence[Path], *, timeout_s: float) -> int:
    """Waits until it is known what became of artifacts; returns of how many it is not.

    An interrupt ends the waiting alone.
    """
    deadline = time.monotonic() + timeout_s
    left = len(places)
    with contextlib.suppress(KeyboardInterrupt):
        while left := sum(read_end(place.parents[1], place) is None for place in places):
            if time.monotonic() >= deadline:
                break
            time.sleep(_POLL_S)
    return left
