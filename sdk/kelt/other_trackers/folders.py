"""Makes the kelt run folder of another tracker's run (`kelt.import_folders`).

Its journal has what the rows' writer does not say: the facts, as a session without rows, and a
witness's word of the end and of damage.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from kelt import records
from kelt.checked_json import encode_checked
from kelt.errors import StorageError
from kelt.import_files import write_files
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
from kelt.other_trackers.foreign_run import Facts, ForeignRun, ForeignRunError, Source, Tally
from kelt.private_files import replace_private
from kelt.run_folder import MANIFEST_NAME, folder_name
from kelt.state_dir import StateDir
from kelt.wandb_files.row_building import BuiltRow
from kelt.wandb_files.translation import Control
from kelt_proto.v1 import record_pb2
from kelt_proto.v1.frames import Kind

_SOURCE_NAME = "import-source.json"
#: Names no machine: nobody here judges whether the run's process lives.
_MACHINE = "import"
_EDITIONS_MAX = 1000
#: So much later than the rows' session the facts' one began: of two, the newest holds the state.
_LATER_S = 0.001
_EDITION_S = 0.01
_CONFIG_ITEMS = 200
_WRITER_ID_BYTES = 16

Sink = Callable[[ForeignRun, Control | BuiltRow], None]


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a source holds.

    Attributes:
        records: of the rows' writer.
    """

    run: ForeignRun
    records: int
    tally: Tally


def folder_of(run: ForeignRun, state_dir: StateDir) -> Path:
    """Where the run folder of another tracker's run lies."""
    name = folder_name(file_name(run.run_id), run.writer_id, run.started_at, "online")
    return state_dir.root / IMPORTS_NAME / f"import-{name}"


def known_run(source: Source, state_dir: StateDir) -> ForeignRun:
    """The run in the edition in which it was taken over last.

    Raises:
        ForeignRunError: as `Source.run`.
        OSError: as `Source.run`.
    """
    for edition in range(_EDITIONS_MAX):
        run = source.run(edition)
        if edition:  # the newest holds the name
            run = replace(run, started_at=run.started_at + edition * _EDITION_S)
        if not source_facts(folder_of(run, state_dir), _SOURCE_NAME).get("is_superseded"):
            return run
    raise ForeignRunError(
        f"{source.path} was changed in its middle again and again since it was first taken over; "
        "delete its folders in KELT_DIR/imports."
    )


def bring_in(
    source: Source, *, state_dir: StateDir, upstream: str, observe: Sink | None = None
) -> tuple[Path, Found | None]:
    """Makes or completes the run folder of a source.

    Args:
        source: the run.
        state_dir: whose daemon is to send it.
        upstream: where to, if the folder is not there yet.
        observe: is handed what is written, too.

    Returns:
        The folder, and what the source holds; None where it has not changed since it was read.

    Raises:
        ForeignRunError: it cannot be taken over.
        StorageError: the folder cannot be made.
    """
    state_dir.create()
    try:
        with staging(state_dir) as staged:
            while True:
                run = known_run(source, state_dir)
                folder = folder_of(run, state_dir)
                known = source_facts(folder, _SOURCE_NAME)
                version = {"path": str(source.path).encode(errors="surrogateescape").hex()}
                version |= {key: str(value) for key, value in source.version().items()}
                if (folder / MANIFEST_NAME).exists() and version.items() <= known.items():
                    return folder, None
                found = _write(source, run, staged, known, observe)
                if found is not None and found.records < known.get("records", 0):
                    return folder, found  # an older copy takes nothing back
                if found is not None:
                    _write_files(found, staged, folder, known)
                    _put(found, staged, folder, known | version, upstream)
                    return folder, found
                # Its beginning is not what it was: from now on it is another edition.
                _write_source(folder, known | {"is_superseded": True})
                shutil.rmtree(staged)
                staged.mkdir(mode=0o700)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            f"{source.path} cannot be taken over into {state_dir.root} "
            f"({error.strerror or error}); mend that, free some disk, or point KELT_DIR at a "
            "folder that can be written."
        ) from error


def read_source(source: Source, run: ForeignRun, scratch: Path, observe: Sink) -> Found:
    """Reads a source, and hands each record on.

    Raises:
        ForeignRunError: it cannot be taken over.
        OSError: it cannot be read.
    """
    tally = Tally()
    count = 0
    for record in _all_records(source, run, tally, scratch):
        observe(run, record)
        count += 1
    return Found(run=run, records=count, tally=tally)


def _all_records(
    source: Source, run: ForeignRun, tally: Tally, scratch: Path
) -> Iterator[Control | BuiltRow]:
    yield Control(Kind.RUN_OPENED, _opened(source.tracker, run))
    yield from source.records(run, tally, scratch)


def _opened(tracker: str, run: ForeignRun, *, is_fact: bool = False) -> bytes:
    info = records.RunFacts(name=run.name or None, group=run.group or None)
    message = record_pb2.RunOpened(
        entity=run.entity,
        project=run.project,
        run_id=run.run_id,
        branch_id=run.branch_id,
        started_at=run.started_at + (_LATER_S if is_fact else 0.0),
        info=None if is_fact else info.to_proto(),
        host=record_pb2.Host(hostname=run.host),
        sdk_version=tracker,
    )
    if is_fact or run.is_going_on:
        message.resumed.last_step = -1
        message.resumed.mode = "allow"
    elif run.rewound is not None:
        message.rewound.CopyFrom(run.rewound)
    elif run.forked is not None:
        message.forked.CopyFrom(run.forked)
    else:
        message.created.SetInParent()
    return message.SerializeToString(deterministic=True)


def _write(
    source: Source, run: ForeignRun, staged: Path, known: dict[str, Any], observe: Sink | None
) -> Found | None:
    """Writes the spool; None where its beginning is not that of the folder that is there."""
    spool = SpoolFiles(folder=staged, writer_id=run.writer_id)
    digest = hashlib.sha256()
    before = known.get("records", 0)

    def write(_: ForeignRun, record: Control | BuiltRow) -> None:
        if observe is not None:
            observe(run, record)
        if isinstance(record, Control):
            spool.add(record.kind, record.payload)
        else:
            spool.add_row(record.payload, record.schema, record.step)
            digest.update(record.payload)
        is_checked = spool.seq == before and not source.is_append_only
        if is_checked and digest.hexdigest() != known.get("digest"):
            raise _BeginsOtherwiseError

    scratch = staged / "scratch"
    scratch.mkdir()
    try:
        found = read_source(source, run, scratch, write)
    except _BeginsOtherwiseError:
        return None
    finally:
        shutil.rmtree(scratch)
    spool.close()
    if found.records < before and not source.is_append_only:
        return None
    said = {"records": found.records, "digest": digest.hexdigest()}
    _write_source(staged, said | _write_others(source, found, staged, known))
    return found


class _BeginsOtherwiseError(Exception):
    """What is read is not what was taken over before, and more."""


def _write_others(
    source: Source, found: Found, staged: Path, known: dict[str, Any]
) -> dict[str, Any]:
    """The journal; returns what is to be remembered of it."""
    run, tally = found.run, found.tally
    writers = []
    said = {}
    if tally.facts is not None:
        facts_id = _facts_id(run, tally.facts, known)
        said["facts"] = facts_id.hex()
        fact_records = list(_fact_records(source.tracker, run, tally.facts))
        writers.append(OtherWriter(writer_id=facts_id, records=fact_records))
    if witness := _witness_records(source.tracker, run, tally):
        digest = hashlib.sha256(run.writer_id + repr(witness).encode()).digest()
        writers.append(OtherWriter(writer_id=digest[:_WRITER_ID_BYTES], records=witness))
    if writers:
        ids = b"".join(writer.writer_id for writer in writers)
        write_journal(staged, writers, hashlib.sha256(ids).digest()[:_WRITER_ID_BYTES])
    return said


def _facts_id(run: ForeignRun, facts: Facts, known: dict[str, Any]) -> bytes:
    """Of the facts' writer: by time, and the same where they are what they were."""
    said = repr((facts.config, facts.info, facts.exit_code, facts.reason, facts.ended_at))
    digest = hashlib.sha256(run.writer_id + said.encode("utf-8", "backslashreplace")).digest()[:8]
    before = bytes.fromhex(known.get("facts", ""))
    if before.endswith(digest):
        return before
    return facts.changed_at_ns.to_bytes(8, "big") + digest


def _fact_records(tracker: str, run: ForeignRun, facts: Facts) -> Iterator[tuple[Kind, bytes]]:
    yield Kind.RUN_OPENED, _opened(tracker, run, is_fact=True)
    items = iter(facts.config.items())
    while some := dict(islice(items, _CONFIG_ITEMS)):
        yield Kind.CONFIG, records.config(some, (), run.started_at)
    yield Kind.RUN_INFO, records.run_info(facts.info)
    if facts.exit_code is not None:
        yield (
            Kind.EXIT,
            records.exited(
                exit_code=facts.exit_code, reason=facts.reason, signal=0, at=facts.ended_at
            ),
        )


def _witness_records(tracker: str, run: ForeignRun, tally: Tally) -> list[tuple[Kind, bytes]]:
    """The end, where the source tells none, and damage that has no place among the records."""
    found: list[tuple[Kind, bytes]] = []
    if tally.facts is None and not tally.is_going_on:
        said = record_pb2.Assertion(
            writer_id=run.writer_id,
            state=record_pb2.Assertion.FAILED if tally.is_failed else record_pb2.Assertion.FINISHED,
            reason=f"{tracker} says that it failed" if tally.is_failed else "",
            at=tally.ended_at,
        )
        found.append((Kind.ASSERTION, said.SerializeToString(deterministic=True)))
    untold = tally.lost_rows - tally.told_in_place
    if untold or (tally.damage and not tally.told_in_place):
        lost = record_pb2.Loss(writer_id=run.writer_id, rows=untold, reason=tally.damage)
        found.append((Kind.LOSS, lost.SerializeToString(deterministic=True)))
    return found


def _write_files(found: Found, staged: Path, folder: Path, known: dict[str, Any]) -> None:
    """Versions of files that are new, behind the segments that the folder has."""
    numbers = segment_numbers(folder, "journal")
    versions = write_files(
        staged,
        found.run.writer_id,
        found.tally.files,
        known.get("versions", {}),
        first_number=max([REPLACED_NUMBER, *numbers]) + 1,
    )
    _write_source(staged, source_facts(staged, _SOURCE_NAME) | {"versions": versions})


def _put(found: Found, staged: Path, folder: Path, version: dict[str, Any], upstream: str) -> None:
    said = version | source_facts(staged, _SOURCE_NAME)
    if found.tally.is_going_on:
        said["path"] = ""  # it may change without another size or time
    _write_source(staged, said)
    if (folder / MANIFEST_NAME).exists():
        replace_contents(staged, folder, _SOURCE_NAME)
        return
    manifest = manifest_of(found.run, machine_id=_MACHINE, upstream=upstream)
    replace_private(staged / MANIFEST_NAME, encode_checked(asdict(manifest)))
    shutil.rmtree(folder, ignore_errors=True)
    staged.rename(folder)
    staged.mkdir(mode=0o700)


def _write_source(folder: Path, said: dict[str, Any]) -> None:
    replace_private(folder / _SOURCE_NAME, encode_checked(said))
