"""What of the journals is deleted, and when: only what is committed, and only past the limits.

A journal is kept a while after it was committed, so that a server restored from a backup, or
another one, can be filled again. The first segment of a run that is not over stays, as it says
which run it is; the segments of a run that is over go together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import anyio
import structlog

from kelt_daemon.config import DaemonConfig
from kelt_daemon.cursors import Cursors, write_trimmed
from kelt_daemon.journal_segments import Segment
from kelt_daemon.registry import Registry
from kelt_daemon.run_folders import RunFolder

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Kept:
    """Segments that are committed and would be deleted together."""

    key: int
    modified_at: float
    size_bytes: int


def choose(
    kept: Iterable[Kept], *, now: float, age_s: float, total_bytes: int, bytes_max: int
) -> list[int]:
    """Which of them to delete: the old ones, then the oldest while all journals take too much.

    Args:
        kept: what could be deleted.
        now: Unix seconds.
        age_s: how long to keep it in any case where there is room.
        total_bytes: what all journals take, including what cannot be deleted.
        bytes_max: what they may take.
    """
    chosen: list[int] = []
    for item in sorted(kept, key=lambda item: item.modified_at):
        if now - item.modified_at <= age_s and total_bytes <= bytes_max:
            break
        chosen.append(item.key)
        total_bytes -= item.size_bytes
    return chosen


class Retention:
    """Trims journals at even intervals.

    Args:
        registry: the run folders.
        config: the limits.
    """

    def __init__(self, *, registry: Registry, config: DaemonConfig) -> None:
        self._registry = registry
        self._config = config

    async def run(self) -> None:
        """Ends by cancellation."""
        while True:
            await anyio.sleep(self._config.retention_interval_s)
            await self.trim()

    async def trim(self) -> None:
        """Looks once."""
        folders = list(self._registry.folders.values())
        candidates = [pair for folder in folders for pair in self._droppable(folder)]
        kept = [
            Kept(index, _modified_at(segments), sum(s.end_bytes for s in segments))
            for index, (_, segments) in enumerate(candidates)
        ]
        chosen = choose(
            kept,
            now=self._registry.host.now(),
            age_s=self._config.retention_age_s,
            total_bytes=sum(folder.journal.used_bytes for folder in folders),
            bytes_max=self._config.retention_bytes,
        )
        for index in chosen:
            folder, segments = candidates[index]
            # Another upstream, or this one restored, may lack by now what was committed above.
            if not self._is_droppable(folder, segments):
                continue
            try:
                await self._registry.host.in_thread(_drop, folder, segments)
            except OSError as error:
                log.warning("trim_failed", folder=str(folder.path), reason=str(error))

    def _is_droppable(self, folder: RunFolder, segments: list[Segment]) -> bool:
        now = [segment for _, some in self._droppable(folder) for segment in some]
        return all(segment in now for segment in segments)

    def _droppable(self, folder: RunFolder) -> list[tuple[RunFolder, list[Segment]]]:
        committed = {w: c.committed for w, c in folder.writers.items()}
        segments = tuple(folder.journal.segments)
        closed = [s for s in segments if s.number != folder.journal.open_number]
        done = [s for s in closed if _is_committed(s, committed)]
        if folder.is_over:
            # What cannot be read holds nothing that the upstream lacks: it was told as lost.
            done = [s for s in closed if s.crc_seed is None or s in done]
            is_all = folder.is_committed and len(done) == len(segments)
            return [(folder, done)] if is_all and done else []
        first = min((s.number for s in closed), default=0)
        return [(folder, [s]) for s in done if s.number != first]


def _is_committed(segment: Segment, committed: dict[bytes, int]) -> bool:
    return segment.crc_seed is not None and all(
        last <= committed.get(writer, 0) for writer, (_, last) in segment.ranges.items()
    )


def _modified_at(segments: list[Segment]) -> float:
    times = [0.0]
    for segment in segments:
        try:
            times.append(segment.path.stat().st_mtime)
        except OSError:
            continue
    return max(times)


def _drop(folder: RunFolder, segments: list[Segment]) -> None:
    """In a thread. What was in them is written down, for good, before they go."""
    trimmed = dict(folder.cursors.trimmed)
    for segment in segments:
        for writer, (_, last) in segment.ranges.items():
            trimmed[writer] = max(trimmed.get(writer, 0), last)
    folder.cursors.trimmed = trimmed
    ended = folder.life if folder.is_over else None
    told = Cursors(trimmed=trimmed, ended=ended, lost_rows=folder.lost_rows)
    write_trimmed(folder.home, told, filesystem=folder.journal.filesystem)
    for segment in segments:
        folder.journal.drop(segment)
    log.info("journal_trimmed", folder=folder.path.name, segments=len(segments))
