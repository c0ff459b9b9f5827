"""Makes the kelt run folder of a `.wandb` file (`kelt.import_folders`)."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kelt.checked_json import encode_checked
from kelt.errors import StorageError
from kelt.import_files import find_files, write_files
from kelt.import_folders import (
    IMPORTS_NAME,
    REPLACED_NUMBER,
    OtherWriter,
    file_name,
    manifest_of,
    replace_contents,
    source_facts,
    staging,
    write_journal,
)
from kelt.journal.segments import segment_numbers
from kelt.journal.spool_files import SpoolFiles
from kelt.private_files import replace_private
from kelt.run_folder import MANIFEST_NAME, WHOLE_NAME, RunManifest, folder_name
from kelt.state_dir import StateDir
from kelt.wandb_files.artifacts import write_artifacts
from kelt.wandb_files.reading import FILES_NAME, Sink, WandbContent, read_wandb_file, read_wandb_run
from kelt.wandb_files.row_building import BuiltRow
from kelt.wandb_files.run_facts import WandbRun
from kelt.wandb_files.translation import Control
from kelt_proto.v1.frames import Kind
from kelt_proto.v1.record_pb2 import Assertion, Loss

_MACHINE = "wandb"
_SOURCE_NAME = "wandb-source.json"


def folder_of(run: WandbRun, state_dir: StateDir) -> Path:
    """Where the run folder of a W&B run lies."""
    name = folder_name(file_name(run.run_id), run.writer_id, run.started_at, "online")
    return state_dir.root / IMPORTS_NAME / f"wandb-{name}"


def bring_in(
    path: Path,
    *,
    state_dir: StateDir,
    upstream: str,
    observe: Sink | None = None,
    on_begun: Callable[[Path], None] | None = None,
) -> tuple[Path, WandbContent | None]:
    """Makes or completes the run folder of a file.

    Args:
        path: the `.wandb` file.
        state_dir: whose daemon is to send it.
        upstream: where to, if the folder is not there yet.
        observe: is handed what is written, too.
        on_begun: is told of a new folder that takes more than a moment, once there is something in
            it: it can be sent while it grows. Without that it is there only when it is whole.

    Returns:
        The folder, and what the file holds; None where the file has not changed since it was read.

    Raises:
        WandbFileError: as `read_wandb_file`.
        StorageError: the folder cannot be made.
    """
    state_dir.create()
    try:
        with staging(state_dir) as staged:
            return _bring_in(
                path, staged, state_dir, upstream=upstream, observe=observe, on_begun=on_begun
            )
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            f"{path} cannot be taken over into {state_dir.root} ({error.strerror or error}); free "
            "some disk, or point KELT_DIR at a folder that can be written."
        ) from error


def _bring_in(
    path: Path,
    staged: Path,
    state_dir: StateDir,
    *,
    upstream: str,
    observe: Sink | None,
    on_begun: Callable[[Path], None] | None,
) -> tuple[Path, WandbContent | None]:
    run = read_wandb_run(path)
    folder = folder_of(run, state_dir)
    files = find_files(path.parent / FILES_NAME)
    version = _version(path) | {"files": files.signature}
    known = source_facts(folder, _SOURCE_NAME)
    is_new = not (folder / MANIFEST_NAME).exists()
    if not is_new and version.items() <= known.items():
        return folder, None
    place = _Place(staged, folder, manifest_of(run, machine_id=_MACHINE, upstream=upstream))
    content = _write_spool(path, place, observe, on_begun if is_new else None)
    if content.exit_code is None and not content.is_going_on:
        _write_witness(place.path, content)
    write_artifacts(place.path, content.artifacts)
    said = {"records": content.records, "lost_rows": content.lost_rows, **version}
    numbers = segment_numbers(folder, "journal")
    said["versions"] = write_files(
        place.path,
        content.run.writer_id,
        files,
        known.get("versions", {}),
        first_number=max([REPLACED_NUMBER, *numbers]) + 1,
    )
    if content.is_going_on:
        said["mtime_ns"] = 0  # a map may change without that
    replace_private(place.path / _SOURCE_NAME, encode_checked(said))
    if is_new:
        place.publish()
        (folder / WHOLE_NAME).touch()
    elif _is_more(said, known):
        replace_contents(staged, folder, _SOURCE_NAME)
    return folder, content


class _Place:
    """Where a folder is made: aside, until it is published.

    Attributes:
        path: where what belongs into it goes now.
    """

    def __init__(self, staged: Path, folder: Path, manifest: RunManifest) -> None:
        self.path = staged
        self._folder = folder
        self._manifest = manifest

    def publish(self) -> bool:
        """Moves it to where it belongs, unless that was done; it is not said to be whole."""
        if self.path == self._folder:
            return False
        staged, self.path = self.path, self._folder
        replace_private(staged / MANIFEST_NAME, encode_checked(asdict(self._manifest)))
        (staged / WHOLE_NAME).unlink()
        shutil.rmtree(self._folder, ignore_errors=True)
        staged.rename(self._folder)
        return True


def _write_spool(
    path: Path,
    place: _Place,
    observe: Sink | None,
    on_begun: Callable[[Path], None] | None,
) -> WandbContent:
    spool: SpoolFiles | None = None

    def begun() -> None:
        if on_begun is not None and spool is not None and place.publish():
            spool.folder = place.path
            on_begun(place.path)

    def write(run: WandbRun, record: Control | BuiltRow) -> None:
        nonlocal spool
        if spool is None:
            spool = SpoolFiles(folder=place.path, writer_id=run.writer_id, on_segment=begun)
        if observe is not None:
            observe(run, record)
        if isinstance(record, BuiltRow):
            spool.add_row(record.payload, record.schema, record.step)
        else:
            spool.add(record.kind, record.payload)

    content = read_wandb_file(path, write)
    if spool is not None:
        spool.close()
    return content


def _is_more(said: dict[str, Any], known: dict[str, Any]) -> bool:
    """Whether what was read now holds more than what was read before: files may be older copies."""
    order = ("records", "lost_rows")
    records, lost = (known.get(name, 0) for name in order)
    return bool(
        said["records"] > records or (said["records"] == records and said["lost_rows"] <= lost)
    )


def _version(path: Path) -> dict[str, Any]:
    status = path.stat()
    return {
        "path": os.fsencode(path).hex(),
        "size_bytes": status.st_size,
        "mtime_ns": status.st_mtime_ns,
    }


def _write_witness(staged: Path, content: WandbContent) -> None:
    """A journal with what nobody else says: that the run ended without a word, and its damage."""
    run, tail = content.run, content.tail
    seen = f"{content.records} {content.size_bytes} {content.is_tail_damaged}"
    digest = hashlib.sha256(run.writer_id + seen.encode()).digest()
    witness, journal_id = digest[:16], digest[16:]
    reason = "W&B's file ends without an exit: the process was killed, or its end is missing"
    said = Assertion(
        writer_id=run.writer_id, state=Assertion.CRASHED, reason=reason, at=content.ended_at
    )
    records = [(Kind.ASSERTION, said.SerializeToString(deterministic=True))]
    if tail is not None and content.is_tail_damaged:
        lost = Loss(
            writer_id=run.writer_id,
            reason=f"{tail.size_bytes} bytes at the end of W&B's file are damaged: {tail.reason}",
        )
        records.append((Kind.LOSS, lost.SerializeToString(deterministic=True)))
    write_journal(staged, [OtherWriter(writer_id=witness, records=records)], journal_id)
