"""One run from the server into one file or folder."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kelt.api_client.history import PAGE_ROWS_MAX
from kelt.api_client.json_values import encode_json
from kelt.exporting.columns import ROW_COLUMNS
from kelt.exporting.formats import ExportFormat
from kelt.exporting.placing import placed
from kelt.exporting.tables import read_jsonl, write_csv, write_jsonl, write_parquet

if TYPE_CHECKING:
    from kelt.api_client import Run
    from kelt.wandb_files.writing import WrittenRun

#: So many values a page, as far as the number of keys tells: it is held in memory.
_PAGE_VALUES_MAX = 200_000
_NAME_CHARS_MAX = 100
#: What is not told in a table's metadata: how the run came to the server.
_NOT_TOLD = ("sessions", "heartbeat_at", "offline_since", "held_by")


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What came of a run.

    Attributes:
        path: the file, or W&B's run folder.
        rows: in it.
    """

    path: Path
    rows: int


def default_name(run: Run, chosen: ExportFormat) -> str:
    """The name of the file or folder that a run becomes, by default."""
    name = run.immutable_id if run.is_archived else run.id
    if chosen is ExportFormat.WANDB:
        stamp = time.strftime("%Y%m%d_%H%M%S", time.gmtime(_started_at(run)))
        return f"offline-run-{stamp}-{_file_name(name)}"
    return f"{_file_name(run.project)}-{_file_name(name)}.{chosen.value}"


def _file_name(text: str) -> str:
    kept = "".join(c if c.isalnum() or c in "._-" else "_" for c in text)
    return kept[:_NAME_CHARS_MAX]


def export_run(
    run: Run,
    *,
    chosen: ExportFormat,
    target: Path,
    replaces: bool = False,
    keys: Sequence[str] | None = None,
) -> Exported:
    """Writes a run, as far as the server has it now.

    Args:
        run: of `kelt.Api`.
        chosen: the format.
        target: the file or folder to make.
        replaces: whether it may be there already.
        keys: only these metrics, and all rows that have any of them; by default all.

    Raises:
        ExportError: the target is there already or cannot be written, or a library is missing.
        UpstreamError: the server cannot be read.
    """
    rows = read_rows(run, keys)
    with placed(target, replaces=replaces) as made:
        if chosen is ExportFormat.WANDB:
            count = _write_wandb(run, made, rows)
        else:
            count = _write_table(run, made, rows, chosen, keys)
    return Exported(path=target, rows=count)


def read_rows(run: Run, keys: Sequence[str] | None) -> Iterator[dict[str, Any]]:
    """The rows of a run, those of them that have any of some keys, with these alone."""
    page_rows = min(PAGE_ROWS_MAX, max(1, _PAGE_VALUES_MAX // max(1, len(run.keys()))))
    rows = run.scan_history(page_size=page_rows)
    if keys is None:
        return rows
    wanted = set(keys)
    kept = wanted.union(ROW_COLUMNS)
    return (
        {name: value for name, value in row.items() if name in kept}
        for row in rows
        if not wanted.isdisjoint(row)
    )


def _write_table(
    run: Run,
    made: Path,
    rows: Iterator[dict[str, Any]],
    chosen: ExportFormat,
    keys: Sequence[str] | None,
) -> int:
    if chosen is ExportFormat.JSONL:
        return write_jsonl(made, rows)[0]
    lines = made.with_name("rows")
    count, types = write_jsonl(lines, rows)
    columns = types.settled(keys)
    if chosen is ExportFormat.CSV:
        write_csv(made, read_jsonl(lines), columns)
    else:
        about = {key: value for key, value in run.raw.items() if key not in _NOT_TOLD}
        write_parquet(made, read_jsonl(lines), columns, encode_json(about))
    return count


def _write_wandb(run: Run, made: Path, rows: Iterator[dict[str, Any]]) -> int:
    from kelt.wandb_files.log_writing import LogWriter  # noqa: PLC0415 # loads protobuf
    from kelt.wandb_files.writing import file_records  # noqa: PLC0415 # as above

    count = 0

    def counted() -> Iterator[Mapping[str, Any]]:
        nonlocal count
        for count, row in enumerate(rows, start=1):  # noqa: B007 # the last number is wanted
            yield row

    (made / "files").mkdir(parents=True)
    said = _said(run)
    with (made / f"run-{_file_name(said.run_id)}.wandb").open("xb") as out:
        writer = LogWriter(out)
        for record in file_records(said, counted()):
            writer.add(record)
    return count


def _said(run: Run) -> WrittenRun:
    from kelt.wandb_files.writing import WrittenRun  # noqa: PLC0415 # loads protobuf

    return WrittenRun(
        run_id=run.immutable_id if run.is_archived else run.id,
        project=run.project,
        name=run.name,
        notes=run.notes,
        group=run.group,
        job_type=run.job_type,
        tags=tuple(run.tags),
        host=run.host,
        started_at=_started_at(run),
        runtime_s=run.runtime_s or 0.0,
        config=run.config,
        summary=run.summary,
        definitions=tuple(run.raw["definitions"]),
        exit_code={"finished": 0, "failed": 1}.get(run.state),
    )


def _started_at(run: Run) -> float:
    return float(run.raw["created_at"] or 0.0)
