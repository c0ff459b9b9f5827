"""Minds the room of a run's spool: prepares segments, says when there is none, tells losses.

A loss is said at once, and again with the new total at most once a minute while it goes on. The
record of it is written when it takes no room from what a run needs to end; until then, losses add
up. Called by the background thread alone.
"""

from __future__ import annotations

from kelt import records
from kelt.console import Console
from kelt.journal.errors import NoSpaceError
from kelt.journal.spool import SpoolWriter

LOSS_RECORD_INTERVAL_S = 5.0
SAY_AGAIN_S = 60.0
PREPARE_RETRY_S = 1.0
#: From which part of the quota on people are told, and from which on it is forgotten.
ALARM_AT, ALARM_OFF = 0.8, 0.6
_MIB = 1024 * 1024


class SpoolWatch:
    """Watches one spool.

    Args:
        spool: the run's writer.
        console: told what people should know.
    """

    def __init__(self, *, spool: SpoolWriter, console: Console) -> None:
        self._spool = spool
        self._console = console
        self._next_prepare = self._next_record = self._next_say = 0.0
        self._said_rows = self._said_controls = 0
        #: Rows lost before the shortage that goes on now; None where there is none.
        self._short_since: int | None = None
        self._is_alarmed = False

    def look(self, now_s: float, *, is_last: bool) -> None:
        """Does what is due.

        Args:
            now_s: the monotonic time.
            is_last: whether the run ends.
        """
        has_room = self._prepare(now_s)
        self._say_alarm()
        self._say_losses(now_s, has_room=has_room, is_last=is_last)
        if self._spool.dropped_rows > self._spool.told_rows and (
            is_last or now_s >= self._next_record
        ):
            self._record_losses(now_s, is_last=is_last)

    def _prepare(self, now_s: float) -> bool:
        """Makes the next segment where one is needed; whether there is room now."""
        if not self._spool.needs_preparation:
            return True
        if now_s < self._next_prepare:
            return False
        try:
            self._spool.prepare()
        except NoSpaceError as error:
            self._next_prepare = now_s + PREPARE_RETRY_S
            self._console.warn_once(
                "space",
                f"there is little room left for rows ({error.reason}); free some disk, or raise "
                "KELT_SPOOL_BYTES_MAX",
            )
            return False
        self._console.forget("space")
        return True

    def _say_alarm(self) -> None:
        used, quota = self._spool.unreleased_bytes, self._spool.quota_bytes
        if self._is_alarmed:
            self._is_alarmed = used > quota * ALARM_OFF
        elif used > quota * ALARM_AT:
            self._is_alarmed = True
            self._console.warn(
                f"{used // _MIB} of {quota // _MIB} MiB that rows may take on this host are used, "
                "as the daemon has not taken them yet; what comes after the last is handled as "
                "spool_policy says"
            )

    def _say_losses(self, now_s: float, *, has_room: bool, is_last: bool) -> None:
        spool = self._spool
        rows, controls = spool.dropped_rows, spool.dropped_controls
        is_new = (rows, controls) != (self._said_rows, self._said_controls)
        if is_new:
            if self._short_since is None:
                self._short_since = self._said_rows
                self._next_say = now_s
            if now_s >= self._next_say or is_last:
                self._next_say = now_s + SAY_AGAIN_S
                others = f" and {controls} records of config or the like" if controls else ""
                self._console.warn(
                    f"no room for {rows} row{'' if rows == 1 else 's'}{others}, lost for good "
                    f"({spool.shortage}); free some disk, or raise KELT_SPOOL_BYTES_MAX"
                )
                self._said_rows, self._said_controls = rows, controls
        elif has_room and self._short_since is not None:
            lost = rows - self._short_since
            self._short_since = None
            self._console.say(f"there is room for rows again; {lost} were lost meanwhile")

    def _record_losses(self, now_s: float, *, is_last: bool) -> None:
        self._next_record = now_s + LOSS_RECORD_INTERVAL_S
        rows = self._spool.dropped_rows - self._spool.told_rows
        reason = f"no room on the run's host: {self._spool.shortage}"
        payload = records.lost_rows(self._spool.writer_id, rows, reason)
        self._spool.append_loss(payload, rows=rows, is_last=is_last)
