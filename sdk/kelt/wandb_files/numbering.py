"""Which number a W&B record gets, whatever of its file can be read. Pure."""

from __future__ import annotations

#: A record takes at least so many bytes in the file, its chunk's header included.
_RECORD_BYTES_MIN = 9


class Numbering:
    """Gives W&B records numbers that follow from W&B's own count (`Record.num`).

    That count is taken at its word for what damage has taken, within what the damaged bytes can
    have held. Where it does not count up by one for any other reason, the order in the file counts.
    """

    def __init__(self) -> None:
        self.last_seq = 0
        self._num = 0
        self._damaged_bytes = 0

    def start(self, num: int) -> None:
        """The first `run` record, which gives two."""
        self.last_seq, self._num, self._damaged_bytes = 2, num, 0

    @property
    def next_num(self) -> int:
        """W&B's count of the next record, if nothing is missing."""
        return self._num + 1

    def damage(self, size_bytes: int) -> None:
        """What lies here holds no whole record."""
        self._damaged_bytes += size_bytes

    def place(self, num: int) -> int:
        """Gives the next record the number `last_seq`; how many are missing right before it."""
        missing = 0
        if self._damaged_bytes:
            gap = num - self._num - 1
            is_likely = 0 <= gap <= self._damaged_bytes // _RECORD_BYTES_MIN + 1
            missing = gap if is_likely else 1
            self._damaged_bytes = 0
        self._num = num
        self.last_seq += missing + 1
        return missing
