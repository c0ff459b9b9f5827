"""A run of a kelt server, to be exported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from kelt.api_client.history import (
    PAGE_ROWS_MAX,
    Getter,
    HistoryQuery,
    read_joined_rows,
    read_rows,
)
from kelt.errors import RunNotFoundError
from kelt.exporting.columns import Row

if TYPE_CHECKING:
    from kelt.api_client import Ancestor, Api, ConsoleLogLine, File, Run

#: So many values a page, as far as the number of keys tells: it is held in memory.
_PAGE_VALUES_MAX = 200_000
_FORKED = "forked"


class BranchPoint(NamedTuple):
    """Where a run leaves another of its project: the rows up to `step` are the other's."""

    run_id: str
    step: int


class ServerRun:
    """What an export reads of a run. What is read raises KeltError.

    Args:
        api: where from.
        run: it.
    """

    def __init__(self, *, api: Api, run: Run) -> None:
        self._api = api
        self._run = run
        self._has_arrow = find_spec("pyarrow") is not None

    @property
    def run(self) -> Run:
        """What is known of it beside what it logged."""
        return self._run

    def rows(self, *, is_own: bool = False) -> Iterator[Row]:
        """The history, as `scan_history` gives it.

        Args:
            is_own: only what lies behind the point where it left another run.
        """
        getter = self._getter()
        if is_own and (fork := self._fork()) is not None:
            getter = _Own(getter, self._own_branches(fork))
        read = read_joined_rows if self._run.labels else read_rows
        return read(getter, self._run.route, HistoryQuery(page_rows=self._page_rows()))

    def arrow_pages(self) -> Iterator[bytes] | None:
        """The same rows as pages of the read API in Arrow; None where there are none such."""
        if not self._has_arrow or self._run.labels:  # those of several writers are joined
            return None
        from kelt.exporting.arrow_pages import ArrowGetter  # noqa: PLC0415 # optional

        query = HistoryQuery(page_rows=self._page_rows())
        getter = ArrowGetter(self._run.connection)
        return getter.bodies(f"{self._run.route}/history", query.arguments(None))

    def branch_point(self) -> BranchPoint | None:
        """Where the run left another whose name still has the rows up to there; None: nowhere."""
        run, fork = self._run, self._fork()
        if fork is None or fork.fork_step is None or fork.is_deleted or not fork.is_known:
            return None
        if (fork.entity, fork.project) != (run.entity, run.project) or fork.run_id == run.id:
            return None  # W&B's format names the parent by its run id alone
        try:
            parent = self._api.run(f"{fork.entity}/{fork.project}/{fork.run_id}")
        except RunNotFoundError:
            return None
        step = fork.fork_step
        if parent.immutable_id != fork.immutable_id:
            for ancestor in parent.lineage:
                # As far as it has what lies on that branch: the least of what was left on the way.
                if ancestor.fork_step is not None and ancestor.fork_step < step:
                    return None
                if ancestor.immutable_id == fork.immutable_id:
                    break
            else:
                return None
        return BranchPoint(fork.run_id, step)

    def samples(self) -> Iterator[Row]:
        """System samples, with `_timestamp` and `_runtime`."""
        query = HistoryQuery(page_rows=PAGE_ROWS_MAX, stream="system")
        return read_rows(self._getter(), self._run.route, query)

    def console(self) -> Iterator[ConsoleLogLine]:
        """The lines of the console."""
        return self._run.console_logs(per_page=PAGE_ROWS_MAX)

    def files(self) -> Sequence[File]:
        """Its files, by path."""
        return self._run.files()

    def artifacts(self) -> Mapping[str, Sequence[str]]:
        """The names of the artifacts that it logged and used."""
        logged, used = self._run.logged_artifacts(), self._run.used_artifacts()
        return {"logged": [found.name for found in logged], "used": [found.name for found in used]}

    def _getter(self) -> Getter:
        if not self._has_arrow:
            return self._run.connection
        from kelt.exporting.arrow_pages import ArrowGetter  # noqa: PLC0415 # optional

        return ArrowGetter(self._run.connection)

    def _page_rows(self) -> int:
        return min(PAGE_ROWS_MAX, max(1, _PAGE_VALUES_MAX // max(1, len(self._run.keys()))))

    def _fork(self) -> Ancestor | None:
        """The nearest ancestor that was left by a fork."""
        return next((found for found in self._run.lineage if found.kind == _FORKED), None)

    def _own_branches(self, fork: Ancestor) -> set[str]:
        own = {self._run.immutable_id}
        for ancestor in self._run.lineage:
            if ancestor.immutable_id == fork.immutable_id:
                break
            own.add(ancestor.immutable_id)
        return own


class _Own:
    """Of the pages of a history the rows that lie on some branches."""

    def __init__(self, getter: Getter, branches: set[str]) -> None:
        self._getter = getter
        self._branches = branches

    def get(self, route: str, arguments: list[tuple[str, str | int]] | None = None) -> Any:
        """As `Getter`."""
        page = self._getter.get(route, arguments or [])
        rows = [row for row in page["rows"] if row["immutable_id"] in self._branches]
        return {**page, "rows": rows}
