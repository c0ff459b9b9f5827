"""Following a run's rows as the server commits them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kelt.api_client.errors import ServerFaultError, UnreachableError
from kelt.cli.terminal import note
from kelt.cli.wording import count

if TYPE_CHECKING:
    from kelt.api_client import Api, Run

#: How long an upstream may be away before following it is given up.
OUTAGE_S_MAX = 60.0


class Tail:
    """The newest rows of a run, then those that come, wherever its name moves.

    Args:
        api: the server.
        path: the run, as people name it.
        keys: only these metrics; none: whole rows.
        interval_s: how long to wait between looks.
        sleep: waits.

    Raises:
        RunNotFoundError: there is no such run.
    """

    def __init__(
        self,
        *,
        api: Api,
        path: str,
        keys: Sequence[str],
        interval_s: float,
        sleep: Callable[[float], None],
    ) -> None:
        self._api = api
        self._path = path
        self._keys = ["_step", *(key for key in keys if key != "_step")] if keys else None
        self._interval_s = interval_s
        self._sleep = sleep
        self._seen_step = -1
        #: What was shown of that step: writers of a shared run may have a row each.
        self._seen_rows: set[str] = set()
        self._went_down = 0
        self.run = api.run(path)

    def rows(self, *, last: int, follow: bool) -> Iterator[dict[str, Any]]:
        """The last rows that are there, then, while the run runs, those that come."""
        self._went_down = self.run.raw["rows_step_went_down"]
        yield from self._newest(last)
        while follow and self.run.state == "running":
            self._sleep(self._interval_s)
            # The state first: rows that came before the end are then found below.
            self._look_again()
            yield from self._arrived()

    def _newest(self, last: int) -> list[dict[str, Any]]:
        self._seen_step = self.run.last_step
        if self.run.last_step < 0:
            return []
        steps = max(1, last)
        while True:
            first = max(0, self.run.last_step - steps + 1)
            found = deque(self.run.scan_history(self._keys, min_step=first), maxlen=max(1, last))
            if len(found) >= last or first == 0:
                break
            # Steps may lie far apart.
            steps *= 8
        if found:
            self._seen_step = found[-1]["_step"]
            self._seen_rows = {repr(row) for row in found if row["_step"] == self._seen_step}
        return list(found) if last else []

    def _look_again(self) -> None:
        away_s = 0.0
        while True:
            try:
                run = self._api.run(self._path)
                break
            except (UnreachableError, ServerFaultError) as error:
                if away_s >= OUTAGE_S_MAX:
                    raise
                if away_s == 0.0:
                    note(f"{error} Waiting for it up to {OUTAGE_S_MAX:g} s.")
                self._sleep(self._interval_s)
                away_s += self._interval_s
        self._note_changes(self.run, run)
        self.run = run

    def _note_changes(self, before: Run, now: Run) -> None:
        if now.immutable_id != before.immutable_id and now.lineage:
            step = now.lineage[0].fork_step
            where = "" if step is None else f" from step {step}"
            note(f"{now.id} goes on{where} on a new branch, {now.immutable_id}.")
            if step is not None and step < self._seen_step:
                self._seen_step, self._seen_rows = step, set()
        if (went_down := now.raw["rows_step_went_down"]) > self._went_down:
            came = count(went_down - self._went_down, "row")
            note(f"{came} came with a step below one already shown.")
            self._went_down = went_down

    def _arrived(self) -> Iterator[dict[str, Any]]:
        step, has_seen = self._seen_step, bool(self._seen_rows)
        for row in self.run.scan_history(self._keys, min_step=max(0, self._seen_step)):
            text = repr(row)
            is_inherited = row["_step"] == step and not has_seen
            if text not in self._seen_rows and not is_inherited:
                yield row
            if row["_step"] != self._seen_step:
                self._seen_step, self._seen_rows = row["_step"], set()
            self._seen_rows.add(text)
