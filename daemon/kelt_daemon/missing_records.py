"""Records that a run folder's journal does not yield: taken from its spool, or said to be lost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import structlog

from kelt_daemon.batch import Outgoing, Push, without_refused
from kelt_daemon.records import encode_loss
from kelt_daemon.run_folders import RunFolder
from kelt_daemon.spool_import import read_range

log = structlog.get_logger()


def beyond_journal(folder: RunFolder, sent: Mapping[bytes, int]) -> Push:
    """Durable records that the journal no longer yields, at its end: lost, or in the spool."""
    push = Push(sent_through=dict(sent))
    for writer_id, cursor in folder.writers.items():
        through = sent.get(writer_id, 0)
        if cursor.durable > through:
            push.batches.append(Outgoing(writer_id, through + 1, cursor.durable, None))
            push.sent_through[writer_id] = cursor.durable
    return push


def filled(
    batches: Iterable[Outgoing],
    *,
    folder: RunFolder,
    markers: Mapping[tuple[bytes, int], Outgoing],
) -> list[Outgoing]:
    """In a thread: what the journal lacks comes from the spool, or is said to be lost.

    Args:
        batches: to be sent, without frames where their records are missing.
        folder: whose journal and spool.
        markers: what is sent in the place of records that the upstream refused before.

    Raises:
        OSError: the spool cannot be read now.
    """
    found: list[Outgoing] = []
    for batch in batches:
        if batch.frames is None:
            found += _from_spool(folder, batch)
        else:
            found += without_refused(batch, markers) if markers else [batch]
    return found


def _from_spool(folder: RunFolder, missing: Outgoing) -> list[Outgoing]:
    writer_id, through = missing.writer_id, missing.first_seq - 1
    found: list[Outgoing] = []
    if writer_id == folder.writer_id:
        for cut in read_range(folder.spool_path, missing.first_seq, missing.last_seq):
            found += _lost(folder, writer_id, through + 1, cut.first_seq - 1)
            found.append(Outgoing(writer_id, cut.first_seq, cut.last_seq, cut.frames))
            through = cut.last_seq
    return found + _lost(folder, writer_id, through + 1, missing.last_seq)


def _lost(folder: RunFolder, writer_id: bytes, first_seq: int, last_seq: int) -> list[Outgoing]:
    if first_seq > last_seq:
        return []
    trimmed = folder.cursors.trimmed.get(writer_id, 0)
    reason = (
        "deleted after another server, or this one before it was restored, had committed them"
        if last_seq <= trimmed
        else "damaged in the journal on the run's host"
    )
    log.warning(
        "records_lost",
        folder=str(folder.path),
        writer_id=writer_id.hex(),
        first_seq=first_seq,
        last_seq=last_seq,
        reason=reason,
    )
    frames = encode_loss(writer_id, first_seq, last_seq, reason)
    return [Outgoing(writer_id, first_seq, last_seq, frames)]
