"""One run at the server: read from, stopped, deleted. What was said of it is in `described_run`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from kelt.api_client import output
from kelt.api_client.artifacts import StoredArtifact
from kelt.api_client.connection import Connection
from kelt.api_client.described_run import DescribedRun
from kelt.api_client.files import File, read_files
from kelt.api_client.frames import frame_of
from kelt.api_client.history import HistoryQuery, chosen_keys, read_joined_rows, read_rows
from kelt.api_client.paths import RunPath
from kelt.api_client.records import Bucket, bucket
from kelt.errors import RunNotFoundError

if TYPE_CHECKING:
    import pandas as pd


class Run(DescribedRun):
    """One run, or one archived branch of it, as it was when it was fetched; `load()` looks again.

    Args:
        connection: to the server.
        data: a RUN of the read API.
    """

    def __init__(self, *, connection: Connection, data: Mapping[str, Any]) -> None:
        super().__init__(data=data)
        self._connection = connection

    def __repr__(self) -> str:
        return f"<Run {'/'.join(self.path)} ({self.state})>"

    def load(self) -> Run:
        """Fetches the run again, by its immutable id, and returns it."""
        self._data = self._connection.get(self.route)
        return self

    @property
    def archived(self) -> list[Run]:
        """The branches of its name that a rewind archived, newest first."""
        if not self._data["archived"]:
            return []
        found = self._connection.get(f"{self._route(self.id)}/archived")["runs"]
        return [Run(connection=self._connection, data=item) for item in found]

    @property
    def forks(self) -> list[Run]:
        """The runs that were forked from it, newest first: 1000 at most."""
        route = f"{self._route(self.immutable_id)}/forks"
        try:
            found = self._connection.get(route, [("limit", 1000)])["runs"]
        except RunNotFoundError:  # by a server that does not know of them yet
            return []
        return [Run(connection=self._connection, data=item) for item in found]

    @property
    def url(self) -> str:
        """The address of its page."""
        return f"{self._connection.upstream}/{quote(self.entity)}/{quote(self.project)}/runs/" + (
            quote(self.immutable_id if self.is_archived else self.id)
        )

    @property
    def connection(self) -> Connection:
        """To the server, for what reads more of it than is here."""
        return self._connection

    @property
    def route(self) -> str:
        """Of this branch in the read API."""
        return self._route(self.immutable_id)

    def stop(self) -> None:
        """Asks the run's processes to stop, as Ctrl-C would; `state` tells when they have.

        A process hears of it with its daemon's next heartbeat, within about 15 seconds. It may save
        a checkpoint first, or go on (`stoppable=False`). Once it has ended badly, its state is
        `killed`.

        Raises:
            NotRunningError: nothing of it runs.
        """
        self._connection.post(f"{self.route}/stop")

    def delete(self, delete_artifacts: bool = False) -> None:  # noqa: ARG002 # wandb's signature
        """Deletes the run on the server, with all branches of its name and its files.

        Its id is free at once. Runs that were forked from it keep what they inherit. What a process
        still writes of it is refused there, and stays on its host.

        Args:
            delete_artifacts: as wandb has it; artifacts are not touched.

        Raises:
            RunNotFoundError: it was deleted already.
            QueryError: it is an archived branch, which goes with the run.
        """
        self._connection.delete(self.route)

    def keys(self, label: str | None = None) -> list[str]:
        """The names of all that the history holds, sorted; with a label, of what it logged."""
        arguments: list[tuple[str, str | int]] = [("label", label)] if label else []
        route = f"{self.route}/keys"
        return list(self._connection.get(route, arguments)["keys"])

    def scan_history(
        self,
        keys: Sequence[str] | None = None,
        page_size: int = 1000,
        min_step: int | None = None,
        max_step: int | None = None,
        *,
        label: str | None = None,
    ) -> Iterator[dict[str, Any]]:
        """All rows, one plain dict each, page by page, with the values exactly as they were logged.

        In a shared run, rows of several writers at one step come as one, except where they have a
        key in common: these come one after the other.

        Args:
            keys: keep the rows that have all of these, and of each row only these; by default
                whole rows, with `_step`, `_timestamp` and `_runtime`.
            page_size: rows a request, at most 10000.
            min_step: the first step to give.
            max_step: the last step to give (inclusive, like every "up to" in kelt).
            label: only the rows of the writers of a shared run that have this label.
        """
        query = HistoryQuery(
            keys=chosen_keys(keys),
            page_rows=page_size,
            min_step=min_step,
            max_step=max_step,
            label=label,
        )
        return self._rows(query)

    def history(
        self,
        keys: Sequence[str] | None = None,
        samples: int = 500,
        *,
        pandas: bool = True,
        stream: Literal["default", "system"] = "default",
        label: str | None = None,
    ) -> pd.DataFrame | list[dict[str, Any]]:
        """At most `samples` rows, evenly chosen, to look at; `scan_history()` gives all.

        Args:
            keys: as for `scan_history()`; `_step` is always there.
            samples: how many rows at most.
            label: as for `scan_history()`.
            stream: `system` for what was measured of the machine: it has times and no steps.
            pandas: a DataFrame where pandas is installed; else, and without it, a list of dicts.
        """
        chosen = chosen_keys(keys)
        if chosen is not None:
            place = "_timestamp" if stream == "system" else "_step"
            chosen = tuple(dict.fromkeys((place, *chosen)))
        query = HistoryQuery(keys=chosen, samples=samples, label=label, stream=stream)
        rows = list(self._rows(query))
        return frame_of(rows) if pandas else rows

    def buckets(
        self,
        keys: Sequence[str],
        buckets: int = 1000,
        min_step: int | None = None,
        max_step: int | None = None,
        *,
        label: str | None = None,
    ) -> dict[str, list[Bucket]]:
        """Minimum, maximum and mean of metrics by equal ranges of steps, for drawing.

        Args:
            keys: the metrics.
            buckets: how many ranges; those without numbers are left out.
            min_step: the first step of the range, by default the history's.
            max_step: the last step of the range, by default the history's.
            label: only what the writers of a shared run with this label logged.
        """
        arguments: list[tuple[str, str | int]] = [("key", key) for key in chosen_keys(keys) or ()]
        arguments.append(("buckets", buckets))
        arguments += [
            (name, step)
            for name, step in (("min_step", min_step), ("max_step", max_step))
            if step is not None
        ]
        if label is not None:
            arguments.append(("label", label))
        reply = self._connection.get(f"{self.route}/buckets", arguments)
        return {key: [bucket(item) for item in items] for key, items in reply["keys"].items()}

    def console_logs(
        self, per_page: int = 1000, last: int | None = None, *, label: str | None = None
    ) -> Iterator[output.ConsoleLogLine]:
        """Lines of the console, page by page, those of a progress bar as they stood last.

        Args:
            per_page: lines a request, at most 10000.
            last: only the last so many.
            label: only of the writers of a shared run that have this label.
        """
        return output.read_lines(
            self._connection, self.route, last=last, per_page=per_page, label=label or ""
        )

    def console_chunk(
        self, *, last: int | None = None, begin: str | None = None, limit: int, label: str = ""
    ) -> output.ConsoleChunk:
        """Some lines of the console: the last ones, or from the place of one on."""
        return output.read_chunk(
            self._connection, self.route, last=last, begin=begin, limit=limit, label=label
        )

    def files(self) -> list[File]:
        """The files that were saved for the run, by path."""
        route = f"{self.route}/files"
        return list(read_files(self._connection, route, route))

    def logged_artifacts(self) -> list[StoredArtifact]:
        """The artifacts that the run logged."""
        return self._artifacts("logged")

    def used_artifacts(self) -> list[StoredArtifact]:
        """The artifacts that the run used."""
        return self._artifacts("used")

    def _artifacts(self, how: str) -> list[StoredArtifact]:
        found = self._connection.get(f"{self.route}/artifacts")[how]
        return [StoredArtifact(connection=self._connection, data=data) for data in found]

    def _rows(self, query: HistoryQuery) -> Iterator[dict[str, Any]]:
        is_joined = self.labels and query.label is None and query.stream == "default"
        read = read_joined_rows if is_joined else read_rows
        return read(self._connection, self.route, query)

    def _route(self, run: str) -> str:
        return RunPath(self.entity, self.project, run).route
