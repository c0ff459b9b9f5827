"""Reading a run folder at adoption: manifest, hints, journal. Blocking; for worker threads."""

from __future__ import annotations

import os
from pathlib import Path

from kelt.artifacts.logged import waiting as artifacts_waiting
from kelt.run_folder import RunFolderError, RunManifest
from kelt_daemon.config import DaemonConfig
from kelt_daemon.cursors import (
    is_released,
    keep_folder,
    load_manifest,
    read_cursors,
    sweep,
    take_witness_id,
)
from kelt_daemon.errors import FolderProblemError
from kelt_daemon.filesystem import Filesystem
from kelt_daemon.homes import make_home
from kelt_daemon.host import Host
from kelt_daemon.journal import Journal, new_journal_id
from kelt_daemon.journal_reader import Recovered, recover
from kelt_daemon.links import UpstreamLink
from kelt_daemon.liveness import Life, Phase, said_goodbye
from kelt_daemon.quota import JournalUsage
from kelt_daemon.run_folders import RunFolder
from kelt_proto.v1.record_pb2 import Assertion

PHASES = {
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
    home: Path,
    host: Host,
    config: DaemonConfig,
    filesystem: Filesystem,
    usage: JournalUsage,
    link: UpstreamLink,
) -> RunFolder:
    """The state of a run folder as its files tell it.

    Raises:
        FolderProblemError: it cannot be used; the message says why and what to do.
    """
    writer_id = bytes.fromhex(manifest.writer_id)
    try:
        if home != path:
            make_home(home, path)
        sweep(home, filesystem=filesystem)
        found = recover(home, writer_id=writer_id, files=filesystem)
        cursors = read_cursors(home, filesystem=filesystem)
        if not found.segments and not cursors.trimmed:  # nothing was ever acknowledged here
            keep_folder(home, manifest if home == path else None, filesystem=filesystem)
        witness_id = take_witness_id(home, machine_id=host.machine_id, filesystem=filesystem)
        journal = Journal(
            folder=home,
            filesystem=filesystem,
            first_segment_bytes=config.first_segment_bytes,
            segment_bytes_max=config.segment_bytes_max,
            journal_id=new_journal_id(home, files=filesystem),
            segments=found.segments,
            usage=usage,
        )
        journal.make_sure()
    except OSError as error:
        raise FolderProblemError(
            f"{path} cannot be used now ({error.strerror or error}); mend that: it is tried again "
            "by itself, or at once with `kelt sync`.",
            is_temporary=True,
        ) from error
    folder = RunFolder(
        path=path,
        home=home,
        manifest=manifest,
        writer_id=writer_id,
        witness_id=witness_id,
        journal=journal,
        link=link,
        cursors=cursors,
        is_on_this_machine=home == path,
        is_released=is_released(path),
        lost_rows=max(found.lost_rows, cursors.lost_rows),
        untold_losses_told=found.untold_losses_told,
        told_losses=found.unknown_losses,
        must_stop=cursors.must_stop,
        artifacts_waiting=len(artifacts_waiting(path, home)),
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
        return load_manifest(path)
    except RunFolderError as error:
        # Also where it was not there yet a moment ago, or only half: it may just be copied here.
        raise FolderProblemError(
            f"{error}. Mend or remove it; it is looked at again by itself.", is_temporary=True
        ) from error
    except OSError as error:
        raise FolderProblemError(
            f"{path} cannot be read ({error.strerror}): not a run folder.", is_temporary=True
        ) from error


def _restore(folder: RunFolder, found: Recovered) -> None:
    cursors = folder.cursors
    writers = {*found.durable, *cursors.trimmed, *cursors.durable}
    is_cut_short = False
    for writer_id in {*writers, folder.writer_id, folder.witness_id}:
        cursor = folder.cursor(writer_id)
        held = max(found.durable.get(writer_id, 0), cursors.trimmed.get(writer_id, 0))
        # What was durable and is not there any more is looked for in the spool, or said to be lost.
        cursor.accepted = cursor.durable = max(held, cursors.durable.get(writer_id, 0))
        is_cut_short |= cursor.durable > held
        cursor.committed = cursors.committed.get(writer_id, 0)
    folder.is_damaged = bool(found.damages) or is_cut_short
    if found.tail_damage is not None and not is_cut_short:
        # More may have followed than any number tells.
        damage = found.tail_damage
        folder.lost_tail = f"damage at the end of {damage.path.name}: {damage.reason}"
    if found.exit is not None:
        folder.take_exit(found.exit)
    assertion = found.assertion
    if assertion is not None and assertion.state in PHASES:
        folder.life = Life(
            phase=PHASES[assertion.state],
            reason=assertion.reason,
            at=assertion.at,
            exit_code=assertion.exit_code,
            signal=assertion.signal,
        )
    elif folder.goodbye is not None:
        folder.life = said_goodbye(folder.life, folder.goodbye)
    elif cursors.ended is not None:
        folder.life = cursors.ended
