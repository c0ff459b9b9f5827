"""What a client posts to `file_stream`, read. Pure.

Nothing here refuses a post for its content: what does not fit is told as a bad line, because an
answer that says "never again" ends the client's stream for the rest of the run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from kelt_proto.v1.rows import STEP_MAX
from kelt_server.wandb_api.history_lines import HistoryLine, RowLine, Stamp, read_line
from kelt_server.wandb_api.output_lines import Output, read_output

HISTORY, SUMMARY = "wandb-history.jsonl", "wandb-summary.json"
EVENTS, CONSOLE = "wandb-events.jsonl", "output.log"
_KNOWN = (HISTORY, SUMMARY, EVENTS, CONSOLE)
_NO_OUTPUT = Output()
#: Before the label of a writer of a shared run, in the names of its system metrics.
_LABEL_MARK = "/l:"
_LABEL_CHARS_MAX = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """One post. `summary` is None where it says none; `exit_code` where the run goes on."""

    offset: int = 0
    lines: tuple[HistoryLine, ...] = ()
    summary: Mapping[str, Any] | None = None
    exit_code: int | None = None
    faults: tuple[str, ...] = ()
    output: Output = _NO_OUTPUT
    #: Of other files, which kelt has no place for, and what cannot be read of the output.
    lines_elsewhere: int = 0
    is_empty: bool = False
    #: Of a writer of a shared run, where it says so.
    label: str = ""

    @property
    def last_row(self) -> Stamp | None:
        """Step and time of the row that its sender logged last, where it says them."""
        for line in reversed(self.lines):
            if isinstance(line, RowLine) and line.stamp is not None:
                return line.stamp
        said = self.summary or {}
        step, at = said.get("_step"), said.get("_timestamp")
        if _is_number(step) and _is_number(at) and abs(step) <= STEP_MAX:
            return int(step), float(at)
        return None


def read_post(body: bytes) -> Post:
    """The content of a post."""
    try:
        said = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        return Post(faults=(f"a post that cannot be read: {error}"[:200],))
    if not isinstance(said, dict):
        return Post(faults=("a post that is no JSON object",))
    given = said.get("files")
    files: Mapping[str, Any] = given if isinstance(given, dict) else {}
    offset, lines = _chunk(files.get(HISTORY))
    summary, faults = _summary(files.get(SUMMARY))
    output = read_output(_chunk(files.get(CONSOLE)), _chunk(files.get(EVENTS)))
    elsewhere = sum(len(_chunk(part)[1]) for name, part in files.items() if name not in _KNOWN)
    return Post(
        offset=offset,
        lines=tuple(read_line(line) for line in lines),
        summary=summary,
        exit_code=_exit_code(said),
        faults=faults,
        output=output,
        lines_elsewhere=elsewhere + output.unread,
        is_empty=not said,
        label=_label(_chunk(files.get(EVENTS))[1]),
    )


def with_bad_line(reason: str) -> Post:
    """A post of which nothing can be had but that it came."""
    return Post(faults=(reason,))


def _chunk(part: object) -> tuple[int, list[Any]]:
    if not isinstance(part, dict):
        return 0, []
    content, offset = part.get("content"), part.get("offset")
    if not isinstance(offset, int) or isinstance(offset, bool):
        offset = 0
    return offset, content if isinstance(content, list) else []


def _summary(part: object) -> tuple[Mapping[str, Any] | None, tuple[str, ...]]:
    _, content = _chunk(part)
    if not content:
        return None, ()
    try:
        said = json.loads(content[-1])
    except (ValueError, TypeError, RecursionError) as error:
        return None, (f"a summary that cannot be read: {error}"[:200],)
    if not isinstance(said, dict):
        return None, ("a summary that is no JSON object",)
    return said, ()


def _label(events: Sequence[object]) -> str:
    for line in events[:1]:
        try:
            said = json.loads(line) if isinstance(line, str) else None
        except (ValueError, RecursionError):
            said = None
        for key in said if isinstance(said, dict) else ():
            _, mark, label = key.partition(_LABEL_MARK)
            if mark:
                return str(label)[:_LABEL_CHARS_MAX]
    return ""


def _is_number(said: object) -> TypeGuard[float]:
    return isinstance(said, int | float) and not isinstance(said, bool) and math.isfinite(said)


def _exit_code(said: Mapping[str, Any]) -> int | None:
    if said.get("complete") is not True:
        return None
    code = said.get("exitcode")
    if isinstance(code, bool) or not isinstance(code, int):
        return 1
    return code if -(2**31) <= code < 2**31 else 1
