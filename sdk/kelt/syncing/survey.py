"""What run folders hold and what of it waits, from their files alone: no daemon, no server.

Nothing is written. What an upstream has is taken from the daemon's hint beside the journal, which
may be out of date; the sync itself goes by the upstream's word.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kelt.artifacts.logged import waiting as waiting_artifacts
from kelt.checked_json import decode_checked
from kelt.errors import KeltError
from kelt.journal.segments import segment_numbers, segment_path
from kelt.local_history import read_records
from kelt.replays import REPLAYS_NAME, home_of, read_destination
from kelt.run_folder import (
    MANIFEST_NAME,
    RunFolderError,
    RunManifest,
    boot_id,
    is_locked,
    machine_id,
    pid_start_ticks,
    read_manifest,
)
from kelt.spool_place import spool_place_of
from kelt.state_dir import StateDir
from kelt_proto.v1.frames import Kind
from kelt_proto.v1.record_pb2 import Exit, Loss
from kelt_proto.v1.rows import FLAG_RELATIVE_STEP, decode_row_header

if TYPE_CHECKING:
    from kelt.other_trackers.foreign_run import Source

_HINT_BYTES_MAX = 1024 * 1024
#: Folders of folders are looked into this deep.
_DEPTH_MAX = 6
_SEQ_END = 2**63
_STRETCHES_MAX = 64


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What lies between two of the trainer's records."""

    records: int = 0
    #: Rows of the history: parts of one row, logged under one step, count once.
    rows: int = 0
    lost_rows: int = 0


@dataclass(frozen=True, kw_only=True)
class RunOnDisk:
    """A run folder as it lies there.

    Attributes:
        path: the folder, links resolved.
        state: running, finished, failed, crashed, or unknown for a copy without an end.
        waiting: what the upstream is not known to have.
        committed: how far the upstream is known to be.
        size_bytes: of its segments, as far as they take room.
        is_waiting: whether there is anything to send.
        is_held: whether it waits for somebody to ask for it.
        problem: why it cannot be sent.
        wandb_file: W&B's file that it is to be made of (`kelt.wandb_files`); None for a run folder.
        foreign_path: likewise, where another tracker's run lies (`kelt.other_trackers`).
        source: that run; None where there is none that can be read.
        note: what else there is to say of it.
    """

    path: Path
    entity: str = ""
    project: str = ""
    run_id: str = ""
    upstream: str = ""
    mode: str = ""
    hostname: str = ""
    started_at: float = 0.0
    state: str = "unknown"
    waiting: Counts = Counts()
    committed: int = 0
    size_bytes: int = 0
    is_waiting: bool = True
    is_held: bool = False
    problem: str = ""
    wandb_file: Path | None = None
    foreign_path: Path | None = None
    source: Source | None = None
    note: str = ""

    @property
    def name(self) -> str:
        """The run, or the folder where it cannot be read."""
        named = "/".join(part for part in (self.entity, self.project, self.run_id) if part)
        return named or str(self.path)

    @property
    def original(self) -> Path | None:
        """What its run folder is to be made of; None where it is one."""
        return self.wandb_file or self.foreign_path


def find_run_folders(path: Path) -> list[Path]:
    """A run folder itself, or the run folders in a folder of them, to some depth; resolved."""
    return list(dict.fromkeys(_walk(path, _DEPTH_MAX)))


def _walk(path: Path, depth: int) -> Iterator[Path]:
    try:
        if (path / MANIFEST_NAME).exists():
            yield path.resolve()
            return
        children = sorted(p for p in path.iterdir() if p.is_dir()) if depth else []
    except OSError:
        return
    for child in children:
        # The daemon's own copies are no run folders, and links are followed only to those.
        if child.name != REPLAYS_NAME and (not child.is_symlink() or _is_run(child)):
            yield from _walk(child, depth - 1)


def _is_run(path: Path) -> bool:
    return (path / MANIFEST_NAME).exists()


def survey_all(state_dir: StateDir, *, upstream: str = "") -> list[RunOnDisk]:
    """The run folders that this state folder knows, in the order of their names."""
    entries = sorted(state_dir.runs.iterdir()) if state_dir.runs.is_dir() else []
    paths = [path.resolve() for path in entries if _is_run(path)]
    unique = dict.fromkeys(paths)
    return [survey(path, state_dir=state_dir, upstream=upstream) for path in unique]


def survey(path: Path, *, state_dir: StateDir, upstream: str = "") -> RunOnDisk:
    """What a run folder holds and what of it waits.

    Args:
        path: the run folder.
        state_dir: whose daemon has sent, or will send it.
        upstream: where it shall go, if not where it goes already.
    """
    try:
        manifest = read_manifest(path)
        home, hint, destination, committed = _sent(path, manifest, state_dir, upstream)
        waiting, goodbye = _read(path, committed)
    except (RunFolderError, KeltError, OSError, ValueError) as error:
        return RunOnDisk(path=path, problem=f"{error}. Mend or remove it.")
    state = _state(path, manifest, goodbye, hint, is_copy=home != path)
    is_held = manifest.mode == "offline" and home == path
    is_held = is_held and not (path / "sync-requested").exists()
    artifacts = len(waiting_artifacts(path, home))
    return RunOnDisk(
        path=path,
        entity=str(manifest.entity),
        project=str(manifest.project),
        run_id=str(manifest.run_id),
        upstream=destination,
        mode=str(manifest.mode),
        hostname=str(manifest.hostname),
        started_at=float(manifest.started_at),
        state=state,
        waiting=waiting,
        committed=committed,
        size_bytes=_size_bytes(path),
        is_waiting=bool(waiting.records or artifacts) or is_held or not hint or _has_words(hint),
        is_held=is_held,
        note=_artifacts_note(artifacts),
    )


def _artifacts_note(artifacts: int) -> str:
    if not artifacts:
        return ""
    return "with 1 artifact" if artifacts == 1 else f"with {artifacts} artifacts"


def sent_so_far(path: Path, *, state_dir: StateDir, upstream: str) -> tuple[str, int]:
    """Where a folder goes, and how far that upstream is known to be, without a look at its records.

    Raises:
        RunFolderError: it is no run folder.
    """
    _, _, destination, committed = _sent(path, read_manifest(path), state_dir, upstream)
    return destination, committed


def _sent(
    path: Path, manifest: RunManifest, state_dir: StateDir, upstream: str
) -> tuple[Path, dict[str, Any], str, int]:
    """The daemon's folder and hint, where the records go, and how far that upstream is."""
    replays = state_dir.root / REPLAYS_NAME
    home = home_of(path, manifest, machine_id=machine_id(), replays=replays)
    hint = _hint(home)
    destination = (read_destination(home) or manifest.upstream).rstrip("/")
    # What one upstream has says nothing of another.
    is_moved = upstream not in {"", destination}
    committed = 0 if is_moved else _number(hint.get("committed"), str(manifest.writer_id))
    return home, hint, destination, committed


def count(path: Path, *, after_seq: int, through_seq: int) -> Counts:
    """What a run folder holds of a range of the trainer's records."""
    return _read(path, after_seq, through_seq)[0]


def _read(path: Path, after_seq: int, through_seq: int = _SEQ_END) -> tuple[Counts, Exit | None]:
    steps = Steps()
    rows = lost = 0
    last_seq = before = 0
    goodbye = None
    for kind, first_seq, seq, payload, branch_id, _ in read_records(path):
        if seq > through_seq:
            break
        before, last_seq = last_seq, seq
        if kind == _ROW:
            header = decode_row_header(payload)
            is_new = steps.add((branch_id, header.flags & FLAG_RELATIVE_STEP), header.step)
            rows += is_new and seq > after_seq
        elif kind == Kind.EXIT:
            goodbye = Exit.FromString(payload)
        if seq <= after_seq:
            continue
        if kind == Kind.LOSS:
            lost += Loss.FromString(payload).rows
        elif first_seq - 1 > before:
            lost += first_seq - 1 - max(before, after_seq)
    records = max(0, last_seq - after_seq)
    return Counts(records=records, rows=rows, lost_rows=lost), goodbye


#: Looking a name up in an enumeration takes as long as reading a row's header.
_ROW = int(Kind.ROW)


class Steps:
    """Which steps were logged, in little room: stretches of steps at even distance.

    Where steps jump about a set is kept instead.
    """

    def __init__(self) -> None:
        self._stretches: dict[object, list[range]] = {}
        self._scattered: dict[object, set[int]] = {}
        self._highest: dict[object, int] = {}

    def add(self, branch: object, step: int) -> bool:
        """Takes a step; returns whether it is new."""
        if (scattered := self._scattered.get(branch)) is not None:
            is_new = step not in scattered
            scattered.add(step)
            return is_new
        known = self._stretches.setdefault(branch, [])
        if step > self._highest.get(branch, -1):
            self._highest[branch] = step
        elif any(step in stretch for stretch in known):
            return False
        last = known[-1] if known else range(0)
        if not last or step < last[-1]:
            known.append(range(step, step + 1))
        elif len(last) == 1 or step - last[-1] == last.step:
            known[-1] = range(last[0], step + 1, step - last[-1])
        else:
            known.append(range(step, step + 1))
        if len(known) > _STRETCHES_MAX:
            self._scattered[branch] = {each for stretch in known for each in stretch}
        return True


def _hint(home: Path) -> dict[str, Any]:
    try:
        with (home / "cursors.json").open("rb") as file:
            return decode_checked(file.read(_HINT_BYTES_MAX), is_required=False)
    except (OSError, ValueError):
        return {}


def _number(numbers: object, writer_id: str) -> int:
    found = numbers.get(writer_id, 0) if isinstance(numbers, dict) else 0
    return found if isinstance(found, int) and 0 <= found < _SEQ_END else 0


def _has_words(hint: dict[str, Any]) -> bool:
    """Whether the daemon has something of its own to say that is not upstream yet."""
    durable = hint.get("durable")
    writers: Iterable[str] = durable if isinstance(durable, dict) else ()
    return any(_number(durable, w) > _number(hint.get("committed"), w) for w in writers)


def _state(
    path: Path,
    manifest: RunManifest,
    goodbye: Exit | None,
    hint: dict[str, Any],
    *,
    is_copy: bool,
) -> str:
    if goodbye is not None:
        return "failed" if goodbye.exit_code or goodbye.signal else "finished"
    ended = hint.get("ended")
    if isinstance(ended, dict) and isinstance(ended.get("state"), str):
        return str(ended["state"])
    if is_copy:
        return "unknown"
    is_same_boot = manifest.boot_id in {"", boot_id()}
    is_there = pid_start_ticks(int(manifest.pid)) == manifest.pid_start_ticks != 0
    if is_same_boot and is_there:
        return "running"
    try:
        return "running" if is_locked(spool_place_of(path)) else "crashed"
    except OSError:  # a filesystem without locks: the process is not here, and more is not known
        return "crashed"


def _size_bytes(path: Path) -> int:
    """The room that the segments take: they are made larger than what is in them so far."""
    total = 0
    for stem, folder in (("journal", path), ("spool", spool_place_of(path))):
        for number in segment_numbers(folder, stem):
            try:
                status = os.stat(segment_path(folder, stem, number))  # noqa: PTH116 # blocks too
            except OSError:
                continue
            total += min(status.st_size, status.st_blocks * 512)
    return total
