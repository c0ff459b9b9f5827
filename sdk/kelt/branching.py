"""Fork, rewind and resume points: parsing what the user wrote, and checking what can be checked.

A point is written `ID?_step=N`: history up to and including step N stays, the next step is N + 1.
ID is a run id or an immutable id. N may be any step from 0 to the highest of the run, logged or
not.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass

from kelt.errors import BranchPointError, UsageError
from kelt_proto.v1.rows import STEP_MAX

_EXAMPLE = "ID?_step=200"


@dataclass(frozen=True)
class Point:
    """A step of a run, as the user named it."""

    run: str
    step: int


def parse_point(text: object, argument: str) -> Point:
    """The point in `ID?_step=N`.

    Args:
        text: what the user gave.
        argument: `fork_from` or `resume_from`, for the message.

    Raises:
        BranchPointError: it is not one; the message says what is wrong and what would do.
    """
    if not isinstance(text, str):
        raise BranchPointError(
            f"{argument} must be a text such as '{_EXAMPLE}', not {type(text).__name__}."
        )
    run, mark, condition = text.partition("?")
    axis, equals, number = condition.partition("=")
    if not mark or not equals:
        raise BranchPointError(
            f"{argument}={text!r} names no step; write it as '{run or 'ID'}?_step=N'."
        )
    if not run.strip():
        raise BranchPointError(f"{argument}={text!r} names no run; write it as '{_EXAMPLE}'.")
    if axis != "_step":
        raise BranchPointError(
            f"{argument}={text!r} uses the axis {axis!r}; only '_step' can be used: "
            f"write it as '{run}?_step=N'."
        )
    try:
        step = int(number)
    except ValueError:
        raise BranchPointError(
            f"{argument}={text!r}: the step {number!r} is not a whole number; "
            f"write it as '{run}?_step=N'."
        ) from None
    return Point(run, checked_point_step(step, f"{argument}={text!r}"))


def checked_point_step(step: object, what: str) -> int:
    """The step of a point, if it can be one at all.

    Raises:
        BranchPointError: it is negative, too large or no whole number.
    """
    try:
        number = -1 if isinstance(step, bool) else operator.index(step)  # type: ignore[arg-type] # that is asked
    except TypeError:
        raise BranchPointError(f"{what}: the step {step!r} is not a whole number.") from None
    if not 0 <= number <= STEP_MAX:
        raise BranchPointError(f"{what}: the step must be 0 or more, and at most {STEP_MAX}.")
    return number


def check_within(step: int, last_step: int, what: str) -> None:
    """Checks a point against the end of the run that it names.

    Raises:
        BranchPointError: it lies beyond.
    """
    if step <= last_step:
        return
    if last_step < 0:
        raise BranchPointError(f"{what}: that run has no rows yet; start a new run instead.")
    raise BranchPointError(
        f"{what}: that run ends at step {last_step}; choose a step from 0 to {last_step}."
    )


def checked_open_point(step: object, what: str, *, last_step: int, is_relative: bool) -> int:
    """A point of a run that is open here.

    Args:
        step: what the user gave.
        what: the call, for messages.
        last_step: the highest step so far.
        is_relative: whether that counts from an end that is not known here.

    Raises:
        BranchPointError: it is no step, or the run has none such.
    """
    what = f"{what}({step!r})"
    number = checked_point_step(step, what)
    if is_relative:
        raise BranchPointError(
            f"{what}: this run went on from a step that is not known here; "
            "log one row with step=… first."
        )
    check_within(number, last_step, what)
    return number


def check_exclusive(
    *, resume: str | None, fork_from: object | None, resume_from: object | None
) -> None:
    """Checks that at most one way of going on was asked for.

    Raises:
        UsageError: there are several.
    """
    given = [
        name
        for name, value in (
            ("resume", resume),
            ("fork_from", fork_from),
            ("resume_from", resume_from),
        )
        if value is not None
    ]
    if len(given) > 1:
        raise UsageError(
            f"kelt.init takes only one of resume, fork_from and resume_from; got "
            f"{' and '.join(given)}."
        )
