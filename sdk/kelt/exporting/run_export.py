"""One run into one folder or file."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kelt.api_client.json_values import encode_json
from kelt.exporting.formats import ExportFormat
from kelt.exporting.placing import ExportError, file_name, placed
from kelt.exporting.server_run import ServerRun
from kelt.exporting.table_files import TableWriter, write_console, write_files

if TYPE_CHECKING:
    from kelt.api_client import Run

#: Not `run.json`, which makes a run folder of kelt's own.
FACTS_NAME = "run-facts.json"
#: What changes from look to look, and says how the run came to the server.
_NOT_TOLD = ("sessions", "heartbeat_at", "offline_since", "held_by")


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What of a run is written, and how.

    Attributes:
        keys: only these metrics, and the rows that have any of them; None for all.
        has_files: the files that were saved for it.
        has_console: the lines of its console.
        has_system: its system samples.
        is_branch_kept: a fork names its parent where W&B's format can, and leaves its rows out.
        replaces: what is there already is replaced.
    """

    chosen: ExportFormat
    keys: Sequence[str] | None = None
    has_files: bool = False
    has_console: bool = False
    has_system: bool = False
    is_branch_kept: bool = False
    replaces: bool = False


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What came of a run.

    Attributes:
        path: the folder or file.
        rows: in it.
        remarks: what is not in it, a sentence each.
    """

    path: Path
    rows: int
    remarks: tuple[str, ...] = ()


def default_name(run: Run, chosen: ExportFormat) -> str:
    """The name of the folder that a run becomes, by default."""
    name = run.immutable_id if run.is_archived else run.id
    if chosen is ExportFormat.WANDB:
        began = time.gmtime(float(run.raw["created_at"] or 0.0))
        return f"offline-run-{time.strftime('%Y%m%d_%H%M%S', began)}-{file_name(name)}"
    return f"{file_name(run.project)}-{file_name(name)}"


def is_exported(run: Run, target: Path) -> bool:
    """Whether a target is there already, which it is only once it is whole.

    Raises:
        ExportError: it is there, and is another run's.
    """
    if not os.path.lexists(target):
        return False
    if target.is_dir():
        try:
            found = json.loads((target / FACTS_NAME).read_bytes())["immutable_id"]
        except (OSError, ValueError, KeyError, TypeError):
            found = None
        if found != run.immutable_id:
            raise ExportError(f"{target} is there already, and is no export of this run.")
    return True


def export_run(source: ServerRun, target: Path, options: ExportOptions) -> Exported:
    """Writes a run, as far as it has come.

    Args:
        source: the run.
        target: the folder to make, or, of a table's format, a file for the rows alone: its name
            ends as the format does.
        options: what of it, and how.

    Raises:
        ExportError: the target is there already or cannot be written, or a library is missing.
        KeltError: the run cannot be read.
    """
    facts = _facts(source)
    with placed(target, replaces=options.replaces) as made:
        if options.chosen is ExportFormat.WANDB:
            rows, remarks = _write_wandb(source, made, options)
        else:
            rows, remarks = _write_tables(source, made, options, facts), []
        if made.is_dir():
            (made / FACTS_NAME).write_text(json.dumps(json.loads(facts), indent=1) + "\n")
    return Exported(path=target, rows=rows, remarks=(*remarks, *_left_out(source, facts)))


def _write_wandb(source: ServerRun, made: Path, options: ExportOptions) -> tuple[int, list[str]]:
    from kelt.exporting.wandb_folder import write_folder  # noqa: PLC0415 # loads protobuf

    remarks, parent = [], None
    if options.is_branch_kept:
        parent = source.branch_point()
        if parent is None and any(found.kind == "forked" for found in source.run.lineage):
            remarks.append(
                "It is written whole: the run that it was forked from is not there under its "
                "name any more, or does not have these rows now."
            )
    rows = write_folder(
        made,
        source,
        keys=options.keys,
        parent=parent,
        has_files=options.has_files,
        has_console=options.has_console,
        has_system=options.has_system,
    )
    return rows, remarks


def _write_tables(source: ServerRun, made: Path, options: ExportOptions, facts: str) -> int:
    scratch = made.parent / ".scratch"
    scratch.mkdir()
    writer = TableWriter(chosen=options.chosen, scratch=scratch, about=facts)
    ending = f".{options.chosen.value}"
    if made.suffix == ending:
        return writer.history(made, source, options.keys)
    made.mkdir()
    rows = writer.history(made / f"history{ending}", source, options.keys)
    if options.has_system:
        writer.samples(made / f"system{ending}", source)
    if options.has_console:
        write_console(made / "console.jsonl", source)
    if options.has_files:
        write_files(made / "files", source)
    return rows


def _facts(source: ServerRun) -> str:
    """What is known of a run beside what it logged, as JSON."""
    found: dict[str, Any] = {k: v for k, v in source.run.raw.items() if k not in _NOT_TOLD}
    return encode_json(found | {"artifacts": source.artifacts()})


def _left_out(source: ServerRun, facts: str) -> list[str]:
    logged = json.loads(facts)["artifacts"]["logged"]
    remarks = []
    if logged:
        some = ", ".join(logged[:3]) + (", …" if len(logged) > 3 else "")  # noqa: PLR2004 # a few
        remarks.append(f"The content of the artifacts that it logged is not exported: {some}.")
    if source.run.state == "running":
        remarks.append("It is still running: what it logs from now on is not in there.")
    remarks += [f"{problem[:1].upper()}{problem[1:]}." for problem in source.run.problems]
    if source.run.lost_rows:
        remarks.append(f"Of its rows {source.run.lost_rows:,} had been lost before.")
    return remarks
