"""A run as a folder of W&B's, as its client leaves one offline (`kelt.wandb_files.writing`)."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

from kelt.exporting.columns import Row
from kelt.exporting.placing import file_name
from kelt.exporting.server_run import BranchPoint, ServerRun
from kelt.exporting.table_files import with_any, write_files
from kelt.wandb_files.log_writing import LogWriter
from kelt.wandb_files.writing import WrittenLine, WrittenParts, WrittenRun, file_records

_EXIT_CODES = {"finished": 0, "failed": 1, "killed": 1}
_FILES = "files"
_CONSOLE_NAME = "output.log"


def write_folder(
    folder: Path,
    source: ServerRun,
    *,
    keys: Sequence[str] | None,
    parent: BranchPoint | None,
    has_files: bool,
    has_console: bool,
    has_system: bool,
) -> int:
    """Writes the folder, and returns how many rows are in its file.

    Args:
        folder: a new one.
        source: the run.
        keys: only these metrics, and the rows that have any of them.
        parent: only what lies behind it is written, and it itself, for a server that has the rest.
        has_files: whether the run's files are written.
        has_console: likewise, of the console.
        has_system: likewise, of the system samples.
    """
    files = folder / _FILES
    files.mkdir(parents=True)
    if has_files:
        write_files(files, source)
    names = sorted(path.relative_to(files).as_posix() for path in _files_in(files))
    rows = source.rows(is_own=parent is not None)
    count = 0

    def counted() -> Iterator[Row]:
        nonlocal count
        for count, row in enumerate(  # noqa: B007 # the last number is wanted
            rows if keys is None else with_any(rows, keys), start=1
        ):
            yield row

    parts = WrittenParts(
        rows=counted(),
        console=_console(source, files / _CONSOLE_NAME) if has_console else (),
        samples=source.samples() if has_system else (),
        files=names,
    )
    version = _version(source.run.raw, [str((parent, keys, has_console, has_system)), *names])
    said = _said(source, parent, version)
    with (folder / f"run-{file_name(said.run_id)}.wandb").open("xb") as out:
        writer = LogWriter(out)
        for record in file_records(said, parts):
            writer.add(record)
    return count


def _files_in(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _console(source: ServerRun, log: Path) -> Iterator[WrittenLine]:
    """The lines, which go into the log file too, as W&B's client has it, if none was saved."""
    is_saved = log.exists()
    with nullcontext() if is_saved else log.open("x", encoding="utf-8", errors="replace") as out:
        for line in source.console():
            if out is not None:
                out.write(f"{line.content}\n")
            yield WrittenLine(
                text=line.content,
                is_error=line.level == "error",
                at=0.0 if line.timestamp is None else line.timestamp.timestamp(),
            )


def _said(source: ServerRun, parent: BranchPoint | None, version: str) -> WrittenRun:
    run = source.run
    return WrittenRun(
        run_id=run.immutable_id if run.is_archived else run.id,
        project=run.project,
        parent=parent,
        version=version,
        name=run.name,
        notes=run.notes,
        group=run.group,
        job_type=run.job_type,
        tags=tuple(run.tags),
        host=run.host,
        started_at=float(run.raw["created_at"] or 0.0),
        runtime_s=run.runtime_s or 0.0,
        config=run.config,
        summary=run.summary,
        definitions=tuple(run.raw["definitions"]),
        exit_code=_EXIT_CODES.get(run.state),
    )


def _version(run: Mapping[str, object], more: Sequence[str]) -> str:
    """Tells one export of a run from another: what is still written is another each time."""
    if run["state"] == "running":
        return secrets.token_hex(16)
    kept = ("immutable_id", "state", "state_at", "rows", "config", "summary", "name", "tags")
    said = json.dumps([[run.get(name) for name in kept], *more], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:32]
