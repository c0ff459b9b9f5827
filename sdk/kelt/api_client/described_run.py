"""What the server said of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kelt.api_client.filters import iso_time
from kelt.api_client.records import Ancestor, Loss, Writer, ancestor, loss, writer


class DescribedRun:
    """One run, or one archived branch of it, as it was when it was fetched.

    Args:
        data: a RUN of the read API.
    """

    def __init__(self, *, data: Mapping[str, Any]) -> None:
        self._data = data

    @property
    def id(self) -> str:
        """The run id: its name in the project's namespace."""
        return str(self._data["run_id"])

    @property
    def immutable_id(self) -> str:
        """The id of the branch, which no fork or rewind changes."""
        return str(self._data["immutable_id"])

    @property
    def entity(self) -> str:
        """Whose project it is in."""
        return str(self._data["entity"])

    @property
    def project(self) -> str:
        """The project."""
        return str(self._data["project"])

    @property
    def path(self) -> list[str]:
        """Entity, project and run id."""
        return [self.entity, self.project, self.id]

    @property
    def name(self) -> str:
        """The display name."""
        return str(self._data["name"])

    @property
    def notes(self) -> str:
        """Free text."""
        return str(self._data["notes"] or "")

    @property
    def group(self) -> str:
        """The group, or an empty text."""
        return str(self._data["group"] or "")

    @property
    def job_type(self) -> str:
        """The job type, or an empty text."""
        return str(self._data["job_type"] or "")

    @property
    def tags(self) -> list[str]:
        """The tags."""
        return list(self._data["tags"])

    @property
    def state(self) -> str:
        """`running`, `finished`, `failed`, `crashed`, or `killed`: stopped from the server."""
        return str(self._data["state"])

    @property
    def state_reason(self) -> str:
        """Why it is in that state: a sentence, or nothing for a plain finish."""
        return str(self._data["reason"] or "")

    @property
    def offline_since(self) -> str | None:
        """Since when a running run has been silent, or None."""
        return iso_time(self._data["offline_since"])

    @property
    def created_at(self) -> str | None:
        """When the run began (ISO 8601, UTC)."""
        return iso_time(self._data["created_at"])

    @property
    def heartbeat_at(self) -> str | None:
        """The last sign of life that the server saw (ISO 8601, UTC)."""
        return iso_time(self._data["heartbeat_at"])

    @property
    def runtime_s(self) -> float | None:
        """Seconds from the start to the last row, or None without rows."""
        value: float | None = self._data["runtime"]
        return value

    @property
    def config(self) -> dict[str, Any]:
        """The configuration."""
        return dict(self._data["config"])

    @property
    def summary(self) -> dict[str, Any]:
        """The summary: keys of nested metrics are joined with dots."""
        return dict(self._data["summary"])

    @property
    def rows(self) -> int:
        """How many rows the history has, inherited ones included."""
        return int(self._data["rows"])

    @property
    def last_step(self) -> int:
        """The highest step of the history; -1 without rows."""
        return int(self._data["last_step"])

    @property
    def lastHistoryStep(self) -> int:  # noqa: N802 # wandb's public name
        """The highest step of the history; -1 without rows."""
        return self.last_step

    @property
    def kind(self) -> str:
        """How its branch began: created, forked, rewound, continued, resumed or orphan."""
        return str(self._data["kind"])

    @property
    def lineage(self) -> list[Ancestor]:
        """The branches that its history comes from, nearest first."""
        return [ancestor(item) for item in self._data["lineage"]]

    @property
    def is_archived(self) -> bool:
        """Whether its name has moved on to another branch."""
        return bool(self._data["is_archived"])

    @property
    def losses(self) -> list[Loss]:
        """Records that were accepted and could not be delivered."""
        return [loss(item) for item in self._data["losses"]]

    @property
    def lost_rows(self) -> int:
        """How many rows the losses amount to."""
        return int(self._data["lost_rows"])

    @property
    def problems(self) -> list[str]:
        """What could not be settled, and what is odd, a sentence each."""
        return list(self._data["problems"])

    @property
    def host(self) -> str:
        """Where its newest session runs or ran."""
        return str(self._data["host"])

    @property
    def labels(self) -> list[str]:
        """The labels of the writers that share its history; none where nobody shared it."""
        return list(self._data.get("labels", ()))

    @property
    def writers(self) -> list[Writer]:
        """The processes that shared this run, each with its own state; the primary first."""
        found = [writer(item) for item in self._data["sessions"] if item.get("is_shared")]
        return sorted(found, key=lambda w: (not w.is_primary, len(w.label), w.label))

    @property
    def raw(self) -> Mapping[str, Any]:
        """The server's reply, as it came."""
        return self._data
