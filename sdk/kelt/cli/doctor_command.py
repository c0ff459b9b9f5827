"""`kelt doctor`: what could keep runs from arriving, and what to do about it."""

from __future__ import annotations

import os
import textwrap

from kelt.cli.exit_codes import CliError
from kelt.cli.options import AsJson, UpstreamOption
from kelt.cli.terminal import console, say, say_json
from kelt.cli.wording import count, plain

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}
#: Where the sentences of the lines begin.
_INDENT = 20


def doctor(*, upstream: UpstreamOption = None, as_json: AsJson = False) -> None:
    """Check this host, the daemon and the upstream.

    A line a check, with the remedy.

    Exit code 1 where a check fails; warnings leave it at 0. --json prints a check a line.
    """
    from kelt.cli.doctor_host import check_host  # noqa: PLC0415 # only here
    from kelt.cli.doctor_peers import check_peers  # noqa: PLC0415 # loads HTTP and gRPC

    failed = 0
    screen = console()
    for check in (c for checks in (check_host, check_peers) for c in checks(upstream, os.environ)):
        failed += check.level == "fail"
        if as_json:
            say_json({"check": check.name, "level": check.level, "text": check.text})
            continue
        # Sentences are for reading: they go on below rather than being cut.
        screen.print(f"{check.level:<4}", style=_STYLES[check.level], end="")
        say(f"  {check.name:<12}  {_wrapped(check.text, width=screen.width - _INDENT)}")
    if failed:
        raise CliError(f"{count(failed, 'check')} failed; the lines above name the remedies.")


def _wrapped(text: str, *, width: int) -> str:
    lines = textwrap.wrap(
        plain(text), max(width, _INDENT), break_long_words=False, break_on_hyphens=False
    )
    return ("\n" + " " * _INDENT).join(lines)
