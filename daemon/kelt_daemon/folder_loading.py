"""Reading a run folder at adoption: manifest, hints, journal. Blocking; for worker threads."""

from __future__ import annotations

import os
from pathlib import Path

from kelt.run_folder import RunFolderError, RunManifest, read_manifest
from kelt_daemon.config import DaemonConfig
from kelt_daemon.cursors import is_released, read_cursors, take_witness_id
from kelt_daemon.errors import FolderProblemError
from kelt_daemon.filesystem import Filesystem
from kelt_daemon.host import Host
from kelt_daemon.journal import Journal, new_journal_id
from kelt_daemon.journal_reader import Recovered, recover
from kelt_daemon.links import UpstreamLink
from kelt_daemon.liveness import Life, Phase
from kelt_daemon.run_folders import RunFolder
from kelt_proto.v1.frames import WRITER_ID_BYTES
from kelt_proto.v1.record_pb2 import Assertion

_PHASES = {
    Assertion.RUNNING: Phase.RUNNING,
    Assertion.STALLED: Phase.STALLED,
    Assertion.FINISHED: Phase.FINISHED,
    Assertion.FAILED: Phase.FAILED,
    Assertion.CRASHED: Phase.CRASHED,
}


def load_folder(
    path: Path,
    manifest: RunManifest,
    *,
    host: Host,
    config: DaemonConfig,
    filesystem: Filesystem,
    link: UpstreamLink,
) -> RunFolder:
    """The state of a run folder as its files tell it.

    Raises:
        FolderProblemError: it cannot be used; the message says why and what to do.
    """
    writer_id = bytes.fromhex(manifest.writer_id)
    try:
        witness_id = take_witness_id(path, machine_id=host.machine_id)
        cursors = read_cursors(path)
        found = recover(path, writer_id=writer_id)
        journal = Journal(
            folder=path,
            filesystem=filesystem,
            first_segment_bytes=config.first_segment_bytes,
            segment_bytes_max=config.segment_bytes_max,
            journal_id=new_journal_id(path),
            segments=found.segments,
        )
    except OSError as error:
        raise FolderProblemError(
            f"{path} cannot be used ({error.strerror or error}); mend that, then run `kelt sync`."
        ) from error
    folder = RunFolder(
        path=path,
        manifest=manifest,
        writer_id=writer_id,
        witness_id=witness_id,
        journal=journal,
        link=link,
        cursors=cursors,
        is_on_this_machine=manifest.machine_id == host.machine_id,
        is_released=is_released(path),
        lost_rows=max(found.lost_rows, cursors.lost_rows),
    )
    _restore(folder, found)
    return folder


def checked_manifest(path: Path) -> RunManifest:
    """A run folder's manifest, whose values are of the right kind.

    Raises:
        FolderProblemError: as `load_folder`.
    """
    try:
        if path.stat().st_uid != os.getuid():
            raise FolderProblemError(
                f"{path} belongs to somebody else; copy it to a folder of yours."
            )
        manifest = read_manifest(path)
    except RunFolderError as error:
        raise FolderProblemError(f"{error}. Mend or remove it.") from error
    except OSError as error:
        raise FolderProblemError(
            f"{path} cannot be read ({error.strerror}): not a run folder."
        ) from error
    try:
        is_sound = len(bytes.fromhex(manifest.writer_id)) == WRITER_ID_BYTES
    except (ValueError, TypeError):
        is_sound = False
    texts = (manifest.upstream, manifest.mode, manifest.machine_id, manifest.run_id)
    numbers = (manifest.pid, manifest.pid_start_ticks)
    if (
        not is_sound
        or not all(isinstance(text, str) for text in texts)
        or not all(isinstance(number, int) for number in numbers)
        or not manifest.upstream.startswith(("http://", "https://"))
    ):
        raise FolderProblemError(
            f"{path}/run.json holds values of the wrong kind. Mend or remove it."
        )
    return manifest


def _restore(folder: RunFolder, found: Recovered) -> None:
    cursors = folder.cursors
    folder.is_damaged = bool(found.damages)
    for writer_id in {*found.durable, *cursors.trimmed, folder.writer_id, folder.witness_id}:
        cursor = folder.cursor(writer_id)
        durable = max(found.durable.get(writer_id, 0), cursors.trimmed.get(writer_id, 0))
        cursor.accepted = cursor.durable = durable
        cursor.committed = cursors.committed.get(writer_id, 0)
    if found.exit is not None:
        folder.take_exit(found.exit)
    assertion = found.assertion
    if assertion is not None and assertion.state in _PHASES:
        folder.life = Life(
            phase=_PHASES[assertion.state],
            reason=assertion.reason,
            at=assertion.at,
            exit_code=assertion.exit_code,
            signal=assertion.signal,
        )
    elif cursors.ended is not None and found.exit is None:
        folder.life = cursors.ended
