"""Makes the kelt run folder of a `.wandb` file (`kelt.import_folders`)."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kelt.checked_json import decode_checked, encode_checked
from kelt.errors import StorageError
from kelt.import_folders import (
    IMPORTS_NAME,
    REPLACED_NUMBER,
    OtherWriter,
    file_name,
    replace_contents,
    staging,
    write_journal,
)
from kelt.journal.segments import segment_numbers
from kelt.journal.spool_files import SpoolFiles
from kelt.private_files import replace_private
from kelt.run_folder import MANIFEST_NAME, RunManifest, folder_name
from kelt.state_dir import StateDir
from kelt.wandb_files.artifacts import write_artifacts
from kelt.wandb_files.reading import Sink, WandbContent, read_wandb_file, read_wandb_run
from kelt.wandb_files.row_building import BuiltRow
from kelt.wandb_files.run_facts import WandbRun
from kelt.wandb_files.run_files import find_files, write_files
from kelt.wandb_files.translation import Control
from kelt_proto.v1.frames import Kind
from kelt_proto.v1.record_pb2 import Assertion, Loss

#: Names no machine: nobody here judges whether the run's process lives.
_MACHINE = "wandb"
_SOURCE_NAME = "wandb-source.json"


def folder_of(run: WandbRun, state_dir: StateDir) -> Path:
    """Where the run folder of a W&B run lies."""
    name = folder_name(file_name(run.run_id), run.writer_id, run.started_at, "online")
    return state_dir.root / IMPORTS_NAME / f"wandb-{name}"


def bring_in(
    path: Path, *, state_dir: StateDir, upstream: str, observe: Sink | None = None
) -> tuple[Path, WandbContent | None]:
    """Makes or completes the run folder of a file.

    Args:
        path: the `.wandb` file.
        state_dir: whose daemon is to send it.
        upstream: where to, if the folder is not there yet.
        observe: is handed what is written, too.

    Returns:
        The folder, and what the file holds; None where the file has not changed since it was read.

    Raises:
        WandbFileError: as `read_wandb_file`.
        StorageError: the folder cannot be made.
    """
    state_dir.create()
    try:
        with staging(state_dir) as staged:
            return _bring_in(path, staged, state_dir, upstream, observe)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            f"{path} cannot be taken over into {state_dir.root} ({error.strerror or error}); free "
            "some disk, or point KELT_DIR at a folder that can be written."
        ) from error


def _bring_in(
    path: Path, staged: Path, state_dir: StateDir, upstream: str, observe: Sink | None
) -> tuple[Path, WandbContent | None]:
    folder = folder_of(read_wandb_run(path), state_dir)
    files = find_files(path)
    version = _version(path) | {"files": files.signature}
    known = _source(folder)
    if (folder / MANIFEST_NAME).exists() and version.items() <= known.items():
        return folder, None
    content = _write_spool(path, staged, observe)
    if content.exit_code is None and not content.is_going_on:
        _write_witness(staged, content)
    write_artifacts(staged, content.artifacts)
    said = {"records": content.records, "lost_rows": content.lost_rows, **version}
    numbers = segment_numbers(folder, "journal")
    said["versions"] = write_files(
        staged,
        content.run,
        files,
        known.get("versions", {}),
        first_number=max([REPLACED_NUMBER, *numbers]) + 1,
    )
    if content.is_going_on:
        said["mtime_ns"] = 0  # a map may change without that
    replace_private(staged / _SOURCE_NAME, encode_checked(said))
    if not (folder / MANIFEST_NAME).exists():
        manifest = _manifest(content.run, upstream)
        replace_private(staged / MANIFEST_NAME, encode_checked(asdict(manifest)))
        shutil.rmtree(folder, ignore_errors=True)
        staged.rename(folder)
        staged.mkdir(mode=0o700)
    elif _is_more(said, known):
        replace_contents(staged, folder, _SOURCE_NAME)
    return folder, content


def _write_spool(path: Path, staged: Path, observe: Sink | None) -> WandbContent:
    spool: SpoolFiles | None = None

    def write(run: WandbRun, record: Control | BuiltRow) -> None:
        nonlocal spool
        if spool is None:
            spool = SpoolFiles(folder=staged, writer_id=run.writer_id)
        if observe is not None:
            observe(run, record)
        if isinstance(record, Control):
            spool.add(record.kind, record.payload)
        else:
            spool.add_row(record.payload, record.schema, record.step)

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


def _source(folder: Path) -> dict[str, Any]:
    try:
        return decode_checked((folder / _SOURCE_NAME).read_bytes())
    except (OSError, ValueError):
        return {}


def _manifest(run: WandbRun, upstream: str) -> RunManifest:
    return RunManifest(
        writer_id=run.writer_id.hex(),
        entity=run.entity,
        project=run.project,
        run_id=run.run_id,
        branch_id=run.branch_id,
        mode="offline",
        upstream=upstream,
        started_at=run.started_at,
        hostname=run.host,
        machine_id=_MACHINE,
        boot_id="",
        pid=0,
        pid_start_ticks=0,
    )


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
