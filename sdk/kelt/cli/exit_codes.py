"""How `kelt` exits: one table, for the help text, the documentation and the tests."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum


class ExitCode(IntEnum):
    """What the process says at its end."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    INTERRUPTED = 130


MEANINGS: Mapping[ExitCode, str] = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "something failed; one sentence on stderr names it",
    ExitCode.USAGE: "wrong usage",
    ExitCode.UNREACHABLE: "the daemon or the upstream cannot be reached",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C)",
}


class CliError(Exception):
    """Ends the command with a sentence for people: the thing, the reason, the remedy."""

    def __init__(self, sentence: str, *, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(sentence)
        self.code = code
