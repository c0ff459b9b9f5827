"""How people name projects and runs: `[entity/]project`, `[entity/]project/run`."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from kelt.api_client.errors import QueryError

#: How a route spells "the server's default entity".
DEFAULT_ENTITY = "-"


@dataclass(frozen=True, slots=True)
class RunPath:
    """Where a run is; without a project, `run` is an immutable id."""

    entity: str
    project: str
    run: str

    @property
    def route(self) -> str:
        """The run's place under `/api/v1`."""
        if not self.project:
            return f"/branches/{_segment(self.run)}"
        names = (self.entity or DEFAULT_ENTITY, self.project, self.run)
        return "/runs/" + "/".join(_segment(name) for name in names)

    def __str__(self) -> str:
        return "/".join(part for part in (self.entity, self.project, self.run) if part)


def parse_run_path(path: str) -> RunPath:
    """`[entity/]project/run`, an immutable id alone, or the address of a run's page.

    Raises:
        QueryError: it is none of these; the message says what would do.
    """
    parts = _parts(path)
    if len(parts) == 4 and parts[2] == "runs":  # noqa: PLR2004 # entity/project/runs/run
        del parts[2]
    if not 1 <= len(parts) <= 3 or not all(parts):  # noqa: PLR2004 # entity/project/run
        raise QueryError(
            f"{path!r} does not name a run. Write [entity/]project/run, or an immutable id."
        )
    entity, project, run = ["", "", *parts][-3:]
    return RunPath(entity, project, run)


def parse_project_path(path: str) -> tuple[str, str]:
    """Entity (empty: the default one) and project of `[entity/]project`.

    Raises:
        QueryError: it is not of that form; the message says so.
    """
    parts = _parts(path)
    if not 1 <= len(parts) <= 2 or not all(parts):  # noqa: PLR2004 # entity/project
        raise QueryError(f"{path!r} does not name a project. Write [entity/]project.")
    entity, project = ["", *parts][-2:]
    return entity, project


def _parts(path: str) -> list[str]:
    if path.startswith(("http://", "https://")):
        path = urlsplit(path).path
    return path.strip().strip("/").split("/")


def _segment(text: str) -> str:
    return quote(text, safe="")
