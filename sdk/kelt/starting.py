"""`kelt.init`: from arguments to an open run."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kelt.active import ActiveRuns
from kelt.active_run import Run
from kelt.branching import check_exclusive
from kelt.console import Console
from kelt.errors import StorageError, UsageError
from kelt.exit_hooks import Ending, ExitHooks
from kelt.origins.asking import asking
from kelt.origins.creating import create_disabled
from kelt.origins.finding import find_origin
from kelt.origins.origin import Origin
from kelt.origins.remote import Describe
from kelt.origins.shared import find_shared_origin
from kelt.run_config import checked_config
from kelt.run_facts import facts_at_start
from kelt.run_home import RunHome
from kelt.run_identity import RunIdentity
from kelt.session import open_session
from kelt.settings import Settings, known_variables, load_settings
from kelt.shared_mode import SharedWriter, let_go, writer_of
from kelt.state_dir import StateDirError
from kelt.unknown_variables import unknown_variables

#: Arguments of `kelt.init` whose setting has another name.
_SETTING_OF = {"id": "run_id", "dir": "run_dir"}
_NOT_FOR_FORKS = (
    "fork_from",
    "resume_from",
    "resume",
    "reinit",
    "project",
    "entity",
    "mode",
    "label",
    "primary",
)
_SETTLE_S = 2.0


class RunStarter:
    """Opens runs in this process.

    Args:
        active: the runs that are open.
        environ: the environment.
    """

    def __init__(self, *, active: ActiveRuns, environ: Mapping[str, str]) -> None:
        self._active = active
        self._environ = environ
        self._has_checked_environ = False
        self._inherited: list[Run] = []
        #: This process was forked with gRPC loaded, or loading: what uses it here fails or hangs.
        self._is_without_grpc = False
        self._hooks = ExitHooks(finish_all=self._finish_all, settle=self._settle)
        os.register_at_fork(after_in_child=self._after_fork)

    def init(
        self,
        overrides: Mapping[str, object],
        *,
        config: Any = None,
        fork_from: object | None = None,
        resume_from: object | None = None,
    ) -> Run:
        """Opens a run, or gives the one that is open, as `reinit` says.

        Raises:
            UsageError: an argument that cannot be.
        """
        settings = load_settings(overrides, self._environ)
        current = self._active.current
        if settings.reinit == "default" and any(run is current for run in self._inherited):
            current = None  # a forked child that calls `init` wants a run of its own
        if current is not None:
            if settings.reinit in {"default", "return_previous"}:
                return self._returned(current, config)
            if settings.reinit == "finish_previous":
                current.finish()
        given_resume = settings.resume if overrides.get("resume") is not None else None
        check_exclusive(resume=given_resume, fork_from=fork_from, resume_from=resume_from)
        return self._open(
            settings,
            checked_config(config),
            fork_from=fork_from,
            resume_from=resume_from,
            make_current=settings.reinit != "create_new" or current is None,
        )

    @staticmethod
    def _returned(run: Run, config: Any) -> Run:
        run.console.warn_once(
            "reinit",
            f"kelt.init: run {run.id!r} is still open and is returned; finish it first, or pass "
            "reinit='finish_previous' or reinit='create_new' for another",
        )
        if config is not None:
            run.config.update(config)
        return run

    def fork(self, parent: RunIdentity, step: int, init: Mapping[str, Any]) -> Run:
        """Opens a run that leaves an open one; it becomes current.

        Raises:
            UsageError: an argument that cannot be.
        """
        named = {_SETTING_OF.get(key, key): value for key, value in init.items()}
        config = named.pop("config", None)
        for key in _NOT_FOR_FORKS:
            if named.pop(key, None) is not None:
                raise UsageError(f"run.fork does not take {key}: a fork has it from its parent.")
        own = {"name": None, "run_id": None, "resume": None, "shared": False}
        settings = replace(parent.settings, **own)  # type: ignore[arg-type] # plain fields
        chosen = load_settings(named, {"KELT_CONFIG": os.devnull})
        given = {key: getattr(chosen, key) for key, value in named.items() if value is not None}
        return self._open(
            replace(settings, **given),
            checked_config(config),
            fork_from=f"{parent.immutable_id}?_step={step}",
            resume_from=None,
            make_current=True,
        )

    def _open(
        self,
        settings: Settings,
        config: dict[str, Any],
        *,
        fork_from: object | None,
        resume_from: object | None,
        make_current: bool,
    ) -> Run:
        console = Console(silent=settings.silent)
        self._check_environ(console)
        started_at = time.time()
        try:
            if settings.mode != "disabled":
                settings.state_dir.create()
        except StateDirError as error:
            settings = _unrecorded(settings, console, error)
        home = RunHome(settings=settings, starter=self)
        writer, primacy = writer_of(settings, self._environ)
        session = None
        with contextlib.ExitStack() as undo:
            undo.callback(let_go, primacy.hold_fd)
            origin = _origin(settings, home, writer, fork_from=fork_from, resume_from=resume_from)
            facts = facts_at_start(settings, origin, home.local)
            origin = replace(origin, branch=replace(origin.branch, name=facts.name or ""))
            try:
                if settings.mode != "disabled":
                    session = open_session(
                        settings=settings,
                        branch=origin.branch,
                        opening=origin.opening,
                        facts=facts,
                        config=config,
                        highest_step=origin.steps.highest,
                        console=console,
                        started_at=started_at,
                        sends=not self._is_without_grpc,
                        hold_fd=primacy.hold_fd,
                    )
                    undo.pop_all()
            except StorageError as error:
                settings = _unrecorded(settings, console, error)
        run = Run(
            settings=settings,
            console=console,
            origin=origin,
            facts=facts,
            session=session,
            lifecycle=home,
            config=config,
            started_at=started_at,
        )
        run.begin()
        if primacy.warning:
            console.warn(primacy.warning)
        self._active.add(run, make_current=make_current)
        self._hooks.install()
        return run

    def _check_environ(self, console: Console) -> None:
        """Says once which variables look like settings and are none."""
        if not self._has_checked_environ:
            self._has_checked_environ = True
            for sentence in unknown_variables(self._environ, known_variables()):
                console.warn(sentence)

    def asking(self, settings: Settings) -> Describe | None:
        """What asks the upstream; None where it cannot be asked."""
        is_able = settings.mode == "online" and not self._is_without_grpc
        return asking(settings) if is_able else None

    # -- the end ---------------------------------------------------------------------------------

    def finished(self, run: Run) -> None:
        """A run has ended."""
        self._active.remove(run)
        if not self._active.all:
            self._hooks.uninstall()

    def _finish_all(self, ending: Ending, timeout_s: float | None) -> None:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        for run in reversed(self._active.all):
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            run.end(ending, timeout_s=left)

    def _settle(self) -> None:
        for run in self._active.all:
            run.settle(timeout_s=_SETTLE_S)

    def _after_fork(self) -> None:
        self._inherited = self._active.all
        # A run's thread may have been loading gRPC: whoever imports that here waits for ever.
        self._is_without_grpc |= "grpc" in sys.modules or any(
            run.mode == "online" for run in self._inherited
        )
        for run in self._active.all:
            run.after_fork()


def _origin(
    settings: Settings,
    home: RunHome,
    writer: SharedWriter | None,
    *,
    fork_from: object | None,
    resume_from: object | None,
) -> Origin:
    runs = home.known_runs(settings)
    if runs is None:
        return create_disabled(settings, fork_from=fork_from, resume_from=resume_from)
    if writer is None:
        return find_origin(runs, fork_from=fork_from, resume_from=resume_from)
    return find_shared_origin(runs, writer, fork_from=fork_from, resume_from=resume_from)


def _unrecorded(settings: Settings, console: Console, error: Exception) -> Settings:
    console.warn(f"{error} Until then this run is not recorded, and the training goes on.")
    return replace(settings, mode="disabled")
