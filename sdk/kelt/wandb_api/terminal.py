"""`wandb.termlog` and its siblings: a line on standard error."""

from __future__ import annotations

from kelt.console import Console

CONSOLE = Console(silent=False)


def termlog(
    string: str = "", newline: bool = True, repeat: bool = True, prefix: bool = True
) -> None:
    """Says something; with `repeat=False` only once."""
    del newline, prefix
    if repeat:
        CONSOLE.say(string)
    else:
        CONSOLE.warn_once(string, string)


termwarn = termerror = termlog


def termsetup(*_args: object, **_named: object) -> None:
    """Nothing to set up."""
