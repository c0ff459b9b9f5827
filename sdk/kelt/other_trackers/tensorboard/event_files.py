"""The event files of a folder, as sources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from kelt.journal.files import open_regular
from kelt.other_trackers.foreign_run import (
    ForeignRun,
    ForeignRunError,
    Tally,
    Target,
    branch_id,
    run_name,
    writer_id,
)
from kelt.other_trackers.tensorboard.event_records import EventTranslator
from kelt.other_trackers.tensorboard.tfrecords import HEADER_BYTES, TFRecordReader
from kelt.wandb_files.finding import is_being_written
from kelt.wandb_files.row_building import BuiltRow
from kelt.wandb_files.translation import Control
from kelt_proto.tensorboard.event_pb2 import Event
from kelt_proto.v1.record_pb2 import BranchPoint

TRACKER = "TensorBoard"
_DEFAULT_PROJECT = "tensorboard"
_IN_NAME = "tfevents"
_SESSION_START = 1
#: Beside the event files: profiles and what else plugins keep for themselves.
_PLUGINS, _PLUGIN_FILE = "plugins", "file of a plugin"
#: Where a writer says that it voids what came before, if it does.
_EVENTS_LOOKED_AT = 3


def is_event_file(path: Path) -> bool:
    """Whether a path is named as TensorBoard's files are; it looks for no others itself."""
    return _IN_NAME in path.name and path.is_file()


@dataclass(frozen=True, slots=True)
class _Beginning:
    """When a file begins, and from which step on it voids what was logged before it."""

    at: float
    voids_from: int | None


@dataclass(frozen=True, kw_only=True)
class EventFile:
    """One file, behind those of the same folder that are older.

    Attributes:
        earlier: these files.
        place: the folder's path from the log folder that was named, as TensorBoard names the run.
        beginnings: what was read of the files of the folder so far.
    """

    path: Path
    earlier: tuple[Path, ...]
    place: str
    target: Target
    beginnings: dict[Path, _Beginning]
    tracker: str = TRACKER
    is_append_only: bool = True

    def run(self, edition: int) -> ForeignRun:
        """As in `Source`."""
        run_id = run_name(self.place, "run")
        project = self.target.project or _DEFAULT_PROJECT
        own = self._writer_id(self.path, edition)
        branch, rewound = "", None
        for path in (*self._readable_earlier(), self.path):
            # Each file goes on where the one before it stood, or begins a branch of its own.
            voids_from, rewound = self._beginning(path).voids_from, None
            if branch and voids_from is None:
                continue
            if branch and voids_from is not None:
                rewound = BranchPoint(
                    entity=self.target.entity, project=project, run_id=run_id, branch_id=branch,
                    step=voids_from - 1,
                )  # fmt: skip
            branch = branch_id(self._writer_id(path, edition))
        return ForeignRun(
            writer_id=own,
            branch_id=branch,
            entity=self.target.entity,
            project=project,
            run_id=run_id,
            name=self.place,
            group=self.place.rpartition("/")[0],
            started_at=self._beginning(self.path).at,
            is_going_on=branch != branch_id(own),
            rewound=rewound,
        )

    def _readable_earlier(self) -> Iterator[Path]:
        """Of the earlier files, those with anything in them."""
        for path in self.earlier:
            with suppress(ForeignRunError, OSError):
                self._beginning(path)
                yield path

    def _beginning(self, path: Path) -> _Beginning:
        if path not in self.beginnings:
            self.beginnings[path] = _read_beginning(path)
        return self.beginnings[path]

    def _writer_id(self, path: Path, edition: int) -> bytes:
        # A name holds time, host and process; a copy keeps it, from whichever folder it is named.
        return writer_id(TRACKER, [path.parent.name, path.name], self.target, edition)

    def version(self) -> dict[str, int]:
        """As in `Source`."""
        status = self.path.stat()
        return {"size_bytes": status.st_size, "mtime_ns": status.st_mtime_ns}

    def records(
        self, run: ForeignRun, tally: Tally, _scratch: Path
    ) -> Iterator[Control | BuiltRow]:
        """As in `Source`."""
        translator = EventTranslator(run, tally)
        with open_regular(self.path) as file:
            reader = TFRecordReader(file)
            for item in reader:
                yield from translator.take(item)
            yield from translator.finish()
        if reader.tail is not None and reader.is_tail_damaged:
            tally.lost_rows += 1
            tally.damage = (
                f"{reader.tail.size_bytes} bytes at the end of TensorBoard's file are damaged: "
                f"{reader.tail.reason}"
            )
        elif reader.tail is not None:
            tally.remarks.append(f"its last {reader.tail.size_bytes} bytes are no whole record")
        if not self.earlier:  # once a run
            plugins = self.path.with_name(_PLUGINS).rglob("*")
            tally.not_carried[_PLUGIN_FILE] += sum(path.is_file() for path in plugins)
        tally.is_going_on = is_being_written(self.path)


def event_files(paths: Sequence[Path], place: str, target: Target) -> list[EventFile]:
    """The sources in a folder: by age, as their names tell it."""
    ordered = sorted(paths, key=_age)
    beginnings: dict[Path, _Beginning] = {}
    return [
        EventFile(
            path=path, earlier=tuple(ordered[:index]), place=place, target=target,
            beginnings=beginnings,
        )
        for index, path in enumerate(ordered)
    ]  # fmt: skip


def _age(path: Path) -> tuple[int, str]:
    digits = path.name.partition(f"{_IN_NAME}.")[2].partition(".")[0]
    return (int(digits) if digits.isdigit() else 0, path.name)


def _read_beginning(path: Path) -> _Beginning:
    at, voids_from = 0.0, None
    for event in _first_events(path):
        at = at or event.wall_time
        if event.session_log.status == _SESSION_START:
            voids_from = event.step
    return _Beginning(at, voids_from)


def _first_events(path: Path) -> Iterator[Event]:
    is_known = False
    with open_regular(path) as file:
        if file.seek(0, 2) < HEADER_BYTES:
            raise ForeignRunError(
                f"{path} is empty: nothing reached the disk before its process ended."
            )
        items: Any = iter(TFRecordReader(file))
        for _, item in zip(range(_EVENTS_LOOKED_AT), items, strict=False):
            if not isinstance(item, bytes):
                continue
            try:
                event = Event.FromString(item)
            except DecodeError:
                continue
            is_known = True
            yield event
    if not is_known:
        raise ForeignRunError(
            f"{path} cannot be taken over: it does not begin as TensorBoard's files do, or its "
            "beginning is damaged. Copy it again."
        )
