"""How much the journals of this host may take together, and what is said as that fills up.

At the bound rows wait, unacknowledged, in their trainers' spools, where each run's own policy
holds; nothing that is acknowledged is touched. Behind the bound lies a reserve for batches with
control records and for what the daemon says itself, so that a run can still end. Room comes back as
the upstream commits and retention trims.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import structlog

from kelt_daemon.config import DaemonConfig
from kelt_daemon.errors import JournalFullError

log = structlog.get_logger()
_ALARM_PART = 0.8
_ALL_CLEAR_PART = 0.7


class JournalUsage:
    """Bytes that journals take. Added to and taken from in several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bytes = 0

    def add(self, added_bytes: int) -> None:
        """More, or, negative, less."""
        with self._lock:
            self._bytes += added_bytes

    @property
    def used_bytes(self) -> int:
        """All of it."""
        return self._bytes


@dataclass(slots=True)
class Alarm:
    """Says once when a bound comes near, and once when that is over."""

    is_on: bool = False

    def look(self, used: int, limit: int) -> bool | None:
        """Returns True where the alarm begins, False where it ends, None where nothing is new."""
        if not self.is_on and used >= limit * _ALARM_PART:
            self.is_on = True
            return True
        if self.is_on and used < limit * _ALL_CLEAR_PART:
            self.is_on = False
            return False
        return None


class JournalQuota:
    """The bound.

    Args:
        config: the bound and the reserve.
    """

    def __init__(self, *, config: DaemonConfig) -> None:
        self._config = config
        self._alarm = Alarm()
        self.usage = JournalUsage()
        #: How often the bound held something back, since the start.
        self.met = 0

    @property
    def limit_bytes(self) -> int:
        """The bound for rows."""
        return self._config.journal_bytes_max

    def has_room(self, added_bytes: int, *, is_control: bool) -> bool:
        """Whether so much more may be written."""
        reserve_bytes = self._config.journal_reserve_bytes if is_control else 0
        return self.usage.used_bytes + added_bytes <= self.limit_bytes + reserve_bytes

    def refusal(self) -> JournalFullError:
        """What to say of records that found no room."""
        self.met += 1
        return JournalFullError(
            f"The journals on this host take the {self.limit_bytes >> 20} MiB that they may; what "
            "is logged stays in the trainers' spools until the upstream has taken some of it. "
            "Check the upstream with `kelt status`."
        )

    def look(self) -> None:
        """Logs when the bound comes near."""
        used_bytes, limit_bytes = self.usage.used_bytes, self.limit_bytes
        news = self._alarm.look(used_bytes, limit_bytes)
        if news:
            log.warning("journals_nearly_full", used_bytes=used_bytes, limit_bytes=limit_bytes)
        elif news is False:
            log.info("journals_have_room", used_bytes=used_bytes, limit_bytes=limit_bytes)

    @property
    def is_near(self) -> bool:
        """Whether the alarm is on."""
        return self._alarm.is_on
