"""`wandb-<digest>-output.jsonl` in a run folder: what becomes `output.log` when the run ends.

    [0,12,"loss 0.5"]

How many branches the session had written, a line's number, its text; a line that comes again counts
for the one before. What was noted before a death, and not kept as folded, is noted again; a line
that was torn then is passed by. Nothing is synced: W&B has the lines themselves.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from kelt.private_files import replace_private
from kelt_daemon.upstream.wandb.progress_file import progress_path

#: Beyond it lies, as a rule, what progress bars have replaced.
_BYTES_MAX = 32 * 1024 * 1024
#: What is kept then of the newest lines.
_KEPT_BYTES_MAX = _BYTES_MAX // 2


class OutputLog:
    """That of one run and one server.

    Args:
        home: the run folder.
        url: the server's address.
    """

    def __init__(self, home: Path, url: str) -> None:
        beside = progress_path(home, url)
        self._path = beside.with_name(f"{beside.stem}-output.jsonl")

    def add(self, branch: int, lines: Mapping[int, str]) -> None:
        """Notes lines.

        Raises:
            OSError: they cannot be written.
        """
        noted = "".join(f"\n{_encoded(branch, *line)}" for line in lines.items())
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab") as target:
            target.write(noted.encode())
            size_bytes = target.tell()
        if size_bytes > _BYTES_MAX:
            self._shorten(branch)

    def text(self, branch: int) -> str:
        """All lines of a branch as a file has them."""
        lines = self._lines(branch)
        return "".join(f"{lines[number]}\n" for number in sorted(lines))

    def remove(self) -> None:
        """It is needed no more."""
        self._path.unlink(missing_ok=True)

    def _lines(self, branch: int) -> dict[int, str]:
        found: dict[int, str] = {}
        with contextlib.suppress(OSError), self._path.open("rb") as source:
            for line in source:
                with contextlib.suppress(ValueError, TypeError):
                    its_branch, number, text = json.loads(line)
                    if its_branch == branch:
                        found[int(number)] = str(text)
        return found

    def _shorten(self, branch: int) -> None:
        kept: list[str] = []
        room_bytes = _KEPT_BYTES_MAX
        for line in sorted(self._lines(branch).items(), reverse=True):
            kept.append(_encoded(branch, *line))
            room_bytes -= len(kept[-1]) + 1
            if room_bytes < 0:
                break
        replace_private(self._path, "\n".join(reversed(kept)).encode())


def _encoded(branch: int, number: int, text: str) -> str:
    return json.dumps([branch, number, text], separators=(",", ":"))
