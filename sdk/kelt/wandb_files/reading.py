"""One `.wandb` file from beginning to end: what it holds, told or handed on record by record."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from kelt.errors import KeltError
from kelt.import_files import find_files
from kelt.journal.files import open_regular
from kelt.wandb_files.artifacts import WandbArtifact
from kelt.wandb_files.finding import is_being_written
from kelt.wandb_files.log_blocks import (
    FILE_HEADER_BYTES,
    Damage,
    LogReader,
    NotAWandbFileError,
    check_file_header,
)
from kelt.wandb_files.row_building import BuiltRow
from kelt.wandb_files.run_facts import WandbRun
from kelt.wandb_files.translation import Control, Translator

#: In the run folder, beside the `.wandb` file.
FILES_NAME = "files"


class WandbFileError(KeltError, ValueError):
    """A file that cannot be taken over; the message names it, the reason and the remedy."""


@dataclass(frozen=True, kw_only=True)
class WandbContent:
    """What a file holds.

    Attributes:
        records: kelt's, and W&B's less one or two.
        lost_rows: about how many rows damage has taken.
        exit_code: None where nothing was said at the end.
        tail: what could not be read at the end.
        is_tail_damaged: whether that is more than a record cut short.
        is_going_on: somebody still writes the file.
        artifacts: those that can be carried, their files or not.
        not_carried: a sentence about what kelt does not carry; empty where that is nothing.
        state: running, finished, failed or crashed.
    """

    run: WandbRun
    records: int
    rows: int
    lost_rows: int
    exit_code: int | None
    ended_at: float
    tail: Damage | None
    is_tail_damaged: bool
    is_going_on: bool
    artifacts: tuple[WandbArtifact, ...]
    not_carried: str
    size_bytes: int

    @property
    def state(self) -> str:
        """How the run stands."""
        if self.exit_code is not None:
            return "failed" if self.exit_code else "finished"
        return "running" if self.is_going_on else "crashed"


Sink = Callable[[WandbRun, Control | BuiltRow], None]


def read_wandb_run(path: Path) -> WandbRun:
    """The run that a file is of, from its beginning alone.

    Raises:
        WandbFileError: as `read_wandb_file`.
    """
    translator = Translator()
    reader: LogReader | None = None
    with _errors_named(path), open_regular(path) as file:
        check_file_header(file.read(FILE_HEADER_BYTES))
        reader = LogReader(file)
        for item in reader:
            for _ in translator.take(item):
                pass
            if translator.run is not None:
                break
    return _checked_run(path, translator, reader)


def read_wandb_file(path: Path, sink: Sink | None = None) -> WandbContent:
    """Reads a file, and hands each record on.

    Raises:
        WandbFileError: it is no such file, or its run is not known.
    """
    translator = Translator()
    reader: LogReader | None = None
    is_going_on = False
    with _errors_named(path), open_regular(path) as file:
        check_file_header(file.read(FILE_HEADER_BYTES))
        reader = LogReader(file)
        take, run = translator.take, None
        for item in chain(reader, (None,)):
            for record in take(item):
                if sink is not None:
                    run = run or _run_of(translator)
                    sink(run, record)
        if translator.exit_code is None:
            # What was closed only after it had been read to its end is longer than that.
            is_going_on = is_being_written(path) or path.stat().st_size != _read_bytes(reader)
    return WandbContent(
        run=_checked_run(path, translator, reader),
        records=translator.last_seq,
        rows=translator.rows,
        lost_rows=translator.lost_rows,
        exit_code=translator.exit_code,
        ended_at=translator.ended_at,
        tail=None if reader is None else reader.tail,
        is_tail_damaged=reader is not None and reader.is_tail_damaged,
        is_going_on=is_going_on,
        artifacts=tuple(translator.artifacts.found),
        not_carried=_not_carried(translator, path),
        size_bytes=path.stat().st_size,
    )


def _run_of(translator: Translator) -> WandbRun:
    """It is known before there is a record."""
    if translator.run is None:
        raise AssertionError
    return translator.run


def _read_bytes(reader: LogReader) -> int:
    return reader.end_bytes + (0 if reader.tail is None else reader.tail.size_bytes)


@contextlib.contextmanager
def _errors_named(path: Path) -> Iterator[None]:
    try:
        yield
    except NotAWandbFileError as error:
        raise WandbFileError(
            f"{path} cannot be taken over: {error}. Name a .wandb file that W&B wrote, or copy "
            "it again."
        ) from error
    except OSError as error:
        reason = error.strerror or error
        raise WandbFileError(f"{path} cannot be read ({reason}); mend that.") from error


def _checked_run(path: Path, translator: Translator, reader: LogReader | None) -> WandbRun:
    run = translator.run
    if reader is None or run is None or not run.run_id:
        raise WandbFileError(
            f"{path} does not say which run it is of: {_why_no_run(reader)}. Sync it once there "
            "is more in it, or copy it again."
        )
    return run


def _why_no_run(reader: LogReader | None) -> str:
    if reader is None:
        return "it cannot be read"
    if reader.tail is not None and reader.is_tail_damaged:
        return f"its beginning is damaged ({reader.tail.reason})"
    if reader.end_bytes <= FILE_HEADER_BYTES:
        return "nothing but its header was written before its process was killed"
    return "no record of it does"


def _not_carried(translator: Translator, path: Path) -> str:
    found = Counter(translator.not_carried) + translator.artifacts.not_carried()
    if (path.parent / FILES_NAME).is_dir():  # those that rows name are among them
        found += find_files(path.parent / FILES_NAME).left_out
    else:
        found["media file"] = translator.media
    counts = [
        f"{number:,} {kind}{'' if number == 1 else 's'}"
        for kind, number in sorted(found.items())
        if number
    ]
    return f"not carried over: {', '.join(counts)}" if counts else ""
