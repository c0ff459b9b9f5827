"""`wandb.Run`, over a kelt run: what a script does with it is done, left out, or refused by name.

Left out with one warning is what adds something beside the rows (pictures, `watch`, `save`,
`alert` …): a training goes on without it, and nothing that it has on disk is lost. Refused is what
a script relies on afterwards.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from kelt.active import active
from kelt.active_run import Run as KeltRun
from kelt.artifacts import Artifact
from kelt.errors import KeltError, UsageError
from kelt.metric_definitions import MetricDefinition
from kelt.wandb_api.carrying import carried_row, is_plain
from kelt.wandb_api.describing import Config, Summary
from kelt.wandb_api.media import Table
from kelt.wandb_api.missing import missing_method
from kelt.wandb_api.run_tables import artifact_of, split_tables
from kelt.wandb_api.settings import Settings

if TYPE_CHECKING:
    from typing_extensions import Self

    from kelt.api_client.artifacts import StoredArtifact

_PASSED_ON = frozenset(
    (
        "id", "name", "notes", "group", "job_type", "tags", "project", "entity", "url", "resumed",
        "disabled", "start_time", "step",
    )
)  # fmt: skip
_ASSIGNED = frozenset(("name", "notes", "group", "job_type", "tags"))


class Run:
    """An open run, as scripts written for wandb use it.

    Attributes:
        kelt: the run itself, for what wandb has no name for (`run.kelt.rewind(120)`).
        config: what the run was given.
        summary: one value a metric.
    """

    kelt: KeltRun
    config: Config
    summary: Summary
    _files: str
    #: Those that were logged, with their keys.
    _tables: weakref.WeakKeyDictionary[Table, str]

    def __init__(self, kelt: KeltRun) -> None:
        vars(self).update(
            kelt=kelt,
            config=Config(kelt.config, self._left_out),
            summary=Summary(kelt.summary, self._left_out),
            starting_step=kelt.step,
            _files="",
            _tables=weakref.WeakKeyDictionary(),
        )

    def __getattr__(self, name: str) -> Any:
        if name in _PASSED_ON:
            return getattr(self.kelt, name)
        raise AttributeError(f"wandb.Run has no {name!r} here; see docs/from-wandb.md")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _ASSIGNED:
            setattr(self.kelt, name, value)
        elif name in {"config", "summary", "kelt"} or name in _PASSED_ON:
            raise AttributeError(f"wandb.Run.{name} cannot be assigned")
        else:
            super().__setattr__(name, value)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kelt.__exit__(kind, error, traceback)

    def __repr__(self) -> str:
        return f"<wandb.Run {self.kelt.id}, by kelt>"

    # -- logging ---------------------------------------------------------------------------------

    def log(
        self,
        data: Mapping[str, Any],
        step: int | None = None,
        commit: bool | None = None,
        sync: bool | None = None,
    ) -> None:
        """Writes one row, or a part of one.

        As with wandb, a row whose step is given stays open: what is logged next without a step
        belongs to it.

        Raises:
            UsageError: `data` is no dict of names, or the run is finished; any other row that
                cannot be kept is left out with a warning.
        """
        del sync
        if not isinstance(data, Mapping):
            raise UsageError("wandb.log must be passed a dictionary")
        if not all(isinstance(key, str) for key in data):
            raise UsageError("Key values passed to `wandb.log` must be strings.")
        closes = step is None if commit is None else commit
        if not is_plain(data):
            data, tables = split_tables(data)
            for key, table in tables:
                self._log_table(key, table)
        row = carried_row(data, self._left_out)
        try:
            self.kelt.log(row, step, closes)
        except UsageError as error:
            if self.kelt not in active.all:  # it is finished
                raise
            self._say_once("row", f"a row is left out: {error} (said once)")

    def _log_table(self, key: str, table: Table) -> None:
        """A table of a row, whole: the row has its beginning only."""
        if table in self._tables and table.log_mode == "IMMUTABLE":
            return
        self._tables[table] = key
        try:
            self.kelt.log_artifact(artifact_of(self.kelt.id, key, table))
        except KeltError as error:
            self._say_once("table", f"a table is in its row alone: {error} (said once)")

    def define_metric(  # noqa: PLR0917 # wandb's order
        self,
        name: str,
        step_metric: Any = None,
        step_sync: bool | None = None,
        hidden: bool | None = None,
        summary: str | None = None,
        overwrite: bool | None = None,
        goal: str | None = None,
    ) -> MetricDefinition:
        """Says how a metric is summarised and drawn; "copy" is what a metric has anyway."""
        del overwrite
        kinds = [kind.strip().lower() for kind in (summary or "").split(",")]
        summary = ",".join(kind for kind in kinds if kind not in ("", "copy"))
        if goal is not None:
            goal = {"min": "minimize", "max": "maximize"}.get(goal[:3].lower(), goal)
        return self.kelt.define_metric(name, step_metric, step_sync, hidden, summary, goal)

    # -- artifacts -------------------------------------------------------------------------------

    def log_artifact(
        self,
        artifact_or_path: Artifact | str | Path,
        name: str | None = None,
        type: str | None = None,  # noqa: A002 # wandb's name
        aliases: Sequence[str] | None = None,
        tags: Sequence[str] | None = None,
    ) -> Artifact:
        """Logs an artifact, or what lies at a path as one."""
        return self.kelt.log_artifact(artifact_or_path, name, type, aliases, tags)

    def use_artifact(
        self,
        artifact_or_name: Artifact | StoredArtifact | str,
        type: str | None = None,  # noqa: A002 # wandb's name
        aliases: Sequence[str] | None = None,
        use_as: str | None = None,
    ) -> StoredArtifact:
        """A version that the server has."""
        return self.kelt.use_artifact(artifact_or_name, type, aliases, use_as)

    def log_model(
        self, path: str | Path, name: str | None = None, aliases: Sequence[str] | None = None
    ) -> None:
        """Logs a file or a folder as an artifact of the type "model"."""
        self.kelt.log_model(path, name, aliases)

    def use_model(self, name: str) -> str:
        """Downloads a model; returns its folder, or its only file."""
        return self.kelt.use_model(name)

    # -- the end ---------------------------------------------------------------------------------

    def finish(self, exit_code: int | None = None, quiet: bool | None = None) -> None:
        """Ends the run."""
        self.kelt.finish(exit_code, quiet)

    join = finish

    # -- where and what it is --------------------------------------------------------------------

    @property
    def path(self) -> str:
        """entity/project/run id."""
        return f"{self.kelt.entity or 'local'}/{self.kelt.project}/{self.kelt.id}"

    @property
    def project_url(self) -> str | None:
        """Where the project can be seen."""
        url = self.kelt.url
        return None if url is None else url.rpartition("/runs/")[0]

    @property
    def dir(self) -> str:
        """A folder for the script's own files, beside the run's records; kelt leaves it alone."""
        if not self._files:
            folder = self.kelt.dir
            files = Path(tempfile.mkdtemp()) if folder is None else folder / "files"
            files.mkdir(exist_ok=True)
            self._files = str(files)
        return self._files

    @property
    def sync_dir(self) -> str:
        """The run folder."""
        return str(self.kelt.dir or "")

    @property
    def offline(self) -> bool:
        """Whether the run waits for `kelt sync`."""
        return self.kelt.mode == "offline"

    @property
    def config_static(self) -> dict[str, Any]:
        """A copy of the config."""
        return self.config.as_dict()

    @property
    def sweep_id(self) -> None:
        """There are no sweeps."""
        return

    sweep_url = sweep_id

    @property
    def settings(self) -> Settings:
        """What the run was started with, under wandb's names."""
        run = self.kelt
        mode = "shared" if run.shared else run.mode
        return Settings(
            run_id=run.id, run_name=run.name, run_group=run.group, project=run.project,
            entity=run.entity or None, mode=mode, resumed=run.resumed,
            base_url=run.settings.upstream,
        )  # fmt: skip

    def status(self) -> Settings:
        """Nothing is waited for."""
        return Settings(sync_items_total=0, sync_items_pending=0)

    def display(self, height: int = 420, hidden: bool = False) -> bool:
        """Notebooks are shown nothing."""
        del height, hidden
        return False

    def to_html(self, height: int = 420, hidden: bool = False) -> str:
        """A link to the run's page."""
        del height, hidden
        return f'<a href="{self.kelt.url}">{self.kelt.name}</a>'

    def _label(self, *_args: Any, **_named: Any) -> None:
        """What integrations call to be counted: nobody counts here."""

    # -- what is left out ------------------------------------------------------------------------

    def watch(self, *_args: Any, **_named: Any) -> None:
        """Left out: gradients and parameters are not drawn."""
        self._left_out("wandb.watch (gradients and parameters)")

    def unwatch(self, *_args: Any, **_named: Any) -> None:
        """Nothing is watched."""

    def save(self, glob_str: Any = None, *_args: Any, **_named: Any) -> list[str]:
        """Left out: files stay where they are."""
        self._say_once(
            "save",
            f"wandb.save({str(glob_str)!r}): kelt keeps no files, it stays there (said once)",
        )
        return []

    def alert(self, title: str = "", text: str = "", *_args: Any, **_named: Any) -> None:
        """Said on standard error alone."""
        self.kelt.console.warn(f"alert: {title}: {text} (nobody is sent it)")

    def log_code(self, *_args: Any, **_named: Any) -> None:
        """Left out: no code is kept."""
        self._left_out("the code (log_code)")

    def mark_preempting(self) -> None:
        """Left out: the daemon says how the process ended."""

    def pin_config_keys(self, keys: Sequence[str] = ()) -> None:
        """Left out: pages show all of the config."""

    def write_logs(self, text: str) -> None:
        """Left out: no console is kept."""
        del text
        self._left_out("console output")

    def _left_out(self, kind: str) -> None:
        self._say_once(
            kind, f"{kind} is not carried by kelt and is left out; all else is logged (said once)"
        )

    def _say_once(self, topic: str, text: str) -> None:
        self.kelt.console.warn_once(topic, text)

    # -- what is refused -------------------------------------------------------------------------

    upsert_artifact = missing_method("wandb.Run.upsert_artifact")
    finish_artifact = missing_method("wandb.Run.finish_artifact")
    link_artifact = missing_method("wandb.Run.link_artifact")
    link_model = missing_method("wandb.Run.link_model")
    restore = missing_method("wandb.Run.restore")


class RunDisabled:
    """wandb's name for the type of a disabled run, which here is a `Run` like any other."""


SummaryDisabled = RunDisabled
