"""What an upstream refused for good, of one run folder: set aside, counted, and marked as lost."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from kelt_daemon.batch import Outgoing, Push
from kelt_daemon.config import DaemonConfig
from kelt_daemon.dead_letters import (
    DEAD_LETTERS_NAME,
    DeadLetter,
    append_dead_letter,
    read_dead_letters,
)
from kelt_daemon.host import Host
from kelt_daemon.records import encode_loss
from kelt_daemon.run_folders import RunFolder

log = structlog.get_logger()
_REASON_CHARS_MAX = 500


class Refusals:
    """The records of a run folder that its upstream does not take.

    Args:
        folder: the run folder.
        host: time of day and threads.
        config: how many refusals in a row are no accident.
    """

    def __init__(self, *, folder: RunFolder, host: Host, config: DaemonConfig) -> None:
        self._folder = folder
        self._host = host
        self._config = config
        self._server_id: str | None = None
        self._in_row = 0
        #: By writer and first number: what is sent in the place of those records.
        self.markers: Mapping[tuple[bytes, int], Outgoing] = {}

    async def load(self, server_id: str) -> None:
        """What this very server refused before; another one is offered everything."""
        if server_id == self._server_id:
            return
        letters = await self._host.in_thread(read_dead_letters, self._folder.home)
        self._server_id = server_id
        self._folder.refused_records = sum(x.last_seq - x.first_seq + 1 for x in letters)
        self.markers = {
            (x.writer_id, x.first_seq): _marker(x) for x in letters if x.server_id == server_id
        }

    def taken(self, push: Push) -> None:
        """The upstream took a push: not everything is refused."""
        if any((b.writer_id, b.first_seq) not in self.markers for b in push.batches):
            self._in_row = 0

    async def set_aside(self, push: Push, reason: str) -> str:
        """Keeps what cannot be made smaller as a dead letter, and a marker for its place.

        Returns:
            Why the folder cannot go on, or an empty text.
        """
        folder = self._folder
        known = [b for b in push.batches if (b.writer_id, b.first_seq) in self.markers]
        self._in_row += 1
        if known or self._in_row > self._config.refused_in_row_max:
            await self._take_back(known)
            self._in_row = 0
            return (
                f"The upstream refuses record after record ({reason}); they stay on this host. "
                "`kelt sync` tries again, a newer kelt may help."
            )
        for batch in push.batches:
            letter = DeadLetter(
                writer_id=batch.writer_id,
                first_seq=batch.first_seq,
                last_seq=batch.last_seq,
                server_id=self._server_id or "",
                reason=reason[:_REASON_CHARS_MAX],
                at=self._host.now(),
                frames=batch.frames or b"",
            )
            try:
                await self._host.in_thread(append_dead_letter, folder.home, letter)
            except OSError as error:
                return (
                    f"The upstream refuses a record ({reason}), and it cannot be set aside in "
                    f"{folder.home / DEAD_LETTERS_NAME} ({error.strerror or error}); mend that, "
                    "then run `kelt sync`."
                )
            self.markers = {**self.markers, (batch.writer_id, batch.first_seq): _marker(letter)}
            folder.refused_records += letter.last_seq - letter.first_seq + 1
            log.warning(
                "records_refused",
                folder=str(folder.path),
                file=DEAD_LETTERS_NAME,
                writer_id=batch.writer_id.hex(),
                first_seq=batch.first_seq,
                last_seq=batch.last_seq,
                reason=reason,
            )
        return ""

    async def _take_back(self, markers: list[Outgoing]) -> None:
        """Where even the marker is refused, its records are offered again next time."""
        folder = self._folder
        for marker in markers:
            letter = DeadLetter(
                writer_id=marker.writer_id,
                first_seq=marker.first_seq,
                last_seq=marker.last_seq,
                server_id=self._server_id or "",
                reason="its marker was refused too",
                at=self._host.now(),
                frames=b"",
                taken_back=True,
            )
            try:
                await self._host.in_thread(append_dead_letter, folder.home, letter)
            except OSError:
                continue  # it stays set aside
            key = (marker.writer_id, marker.first_seq)
            self.markers = {k: v for k, v in self.markers.items() if k != key}
            folder.refused_records -= marker.last_seq - marker.first_seq + 1


def _marker(letter: DeadLetter) -> Outgoing:
    reason = f"refused by the server: {letter.reason}"
    frames = encode_loss(letter.writer_id, letter.first_seq, letter.last_seq, reason)
    return Outgoing(letter.writer_id, letter.first_seq, letter.last_seq, frames)
