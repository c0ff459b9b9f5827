"""What a run is called and where it is."""

from __future__ import annotations

from pathlib import Path

from kelt.console import Console, RunLabel
from kelt.local_runs import BranchRecord
from kelt.origins.origin import Origin
from kelt.records import RunFacts
from kelt.session import Session
from kelt.settings import Settings
from kelt.shared_mode import SharedWriter
from kelt.wandb_upstream import is_wandb, web_url


class RunIdentity:
    """The properties of a run that only look."""

    _settings: Settings
    _console: Console
    _origin: Origin
    _branch: BranchRecord
    _session: Session | None
    _facts: RunFacts
    _started_at: float
    _is_disabled: bool
    _shared: SharedWriter | None

    @property
    def id(self) -> str:
        """The run id: a name for a branch, unique in its project."""
        return self._branch.run_id

    @property
    def immutable_id(self) -> str:
        """The id of the branch that is written now; it never means anything else."""
        return self._branch.branch_id

    @property
    def project(self) -> str:
        """The project."""
        return self._branch.project

    @property
    def entity(self) -> str:
        """The entity; empty until the server's default one is known."""
        if self._branch.entity or self._session is None:
            return self._branch.entity
        return self._session.sender.state.default_entity

    @property
    def url(self) -> str | None:
        """Where the run can be seen; None where nothing is recorded, or that is not known yet."""
        upstream = self._settings.upstream
        # On a kelt server `-` is whose the key is, once the server knows.
        entity = self.entity or ("" if is_wandb(upstream) else "-")
        if self._is_disabled or not entity:
            return None
        return f"{web_url(upstream)}/{entity}/{self.project}/runs/{self.id}"

    @property
    def dir(self) -> Path | None:
        """The run folder, or None where nothing is recorded."""
        return None if self._session is None else self._session.folder

    @property
    def mode(self) -> str:
        """online, offline or disabled."""
        return "disabled" if self._is_disabled else self._settings.mode

    @property
    def shared(self) -> bool:
        """Whether this is one of several writers of the run at the same time."""
        return self._shared is not None

    @property
    def writer_label(self) -> str:
        """What tells this writer of a shared run from the others; empty in an ordinary run."""
        return "" if self._shared is None else self._shared.label

    @property
    def is_primary(self) -> bool:
        """Whether the run lives and ends with this process."""
        return self._shared is None or self._shared.is_primary

    @property
    def writer_id(self) -> str:
        """This process's hold on the run, in hex; empty where nothing is recorded (yet)."""
        return "" if self._session is None else self._session.manifest.writer_id

    @property
    def disabled(self) -> bool:
        """Whether nothing is recorded."""
        return self._is_disabled

    @property
    def resumed(self) -> bool:
        """Whether the run went on from an earlier session."""
        return self._origin.opening.kind == "resumed"

    @property
    def start_time(self) -> float:
        """When this session began, in Unix seconds."""
        return self._started_at

    @property
    def console(self) -> Console:
        """What speaks to the user for this run."""
        return self._console

    @property
    def settings(self) -> Settings:
        """What is in force for this run."""
        return self._settings

    @property
    def label(self) -> RunLabel:
        """How the run is named to people."""
        return RunLabel(
            run_id=self.id,
            name=self._facts.name or self.id,
            project=self.project,
            folder=self.dir or Path(),
            url=self.url,
        )
