"""Settings: arguments beat the environment, which beats the config file, which beats defaults.

Every setting has one name. As an argument or in `kelt.init(settings={...})` and in the config file
it is written as it is (`finish_timeout_s`), in the environment in capitals with `KELT_` in front
(`KELT_FINISH_TIMEOUT_S`). `state_dir` is the exception: its variable is `KELT_DIR`.

The config file is TOML, at `KELT_CONFIG` or `$XDG_CONFIG_HOME/kelt/config.toml`; one that holds
`api_key` must be readable by its owner alone.

`mode="shared"` says how a run is written (by many at a time) and not how it travels: it leaves
`online`, `offline` or `disabled` as the environment or the config file has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, cast

from kelt.config_file import config_file_path, read_config_file
from kelt.errors import SettingsError
from kelt.setting_values import DEFAULT_UPSTREAM, PARSERS, SHARED
from kelt.spool_policy import DROP_COUNTED
from kelt.state_dir import StateDir, default_state_dir
from kelt.wandb_upstream import is_wandb, wandb_key

DEFAULT_PROJECT = "Uncategorized"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that configures a run and its way upstream."""

    #: The state folder: run folders, socket, locks.
    state_dir: StateDir
    #: The server's HTTP address.
    upstream: str = DEFAULT_UPSTREAM
    #: Sent to the daemon, which keeps it in memory; written nowhere.
    api_key: str | None = field(default=None, repr=False)
    #: Certificate authorities (PEM) that are trusted beside the system's, for an https upstream.
    ca_file: Path | None = None
    #: The HTTP proxy to the upstream, or "none"; None: as HTTPS_PROXY and the like say.
    proxy: str | None = field(default=None, repr=False)
    #: None: the server's default entity.
    entity: str | None = None
    project: str = DEFAULT_PROJECT
    mode: str = "online"
    #: One of several writers of a run at the same time: what `mode="shared"` sets.
    shared: bool = False
    #: Tells a shared run's writers apart, for people; None: by rank, else by host and process.
    label: str | None = None
    #: Whether the run lives as long as this writer of it; None: see `kelt.shared_mode`.
    primary: bool | None = None
    run_id: str | None = None
    name: str | None = None
    notes: str | None = None
    group: str | None = None
    job_type: str | None = None
    tags: tuple[str, ...] | None = None
    #: None: a new run.
    resume: str | None = None
    #: What a second `kelt.init` does while a run is open.
    reinit: str = "default"
    #: Where this run's folder lies; None: in the state folder.
    run_dir: Path | None = None
    #: How long `init` waits for the upstream where its answer changes the run.
    init_timeout_s: float = 5.0
    #: How long `finish` waits until everything is committed upstream.
    finish_timeout_s: float = 30.0
    #: No messages on standard error.
    silent: bool = False
    #: Whether the process is interrupted, as by Ctrl-C, when somebody stops the run at the server.
    stoppable: bool = True
    #: Whether what Python prints is kept as the run's console: "auto", "wrap", or "off".
    console: str = "auto"
    #: No system metrics.
    disable_stats: bool = False
    #: How often the machine is measured.
    stats_sampling_interval_s: float = 15.0
    #: How much spool may wait for the daemon on this host's disk.
    spool_bytes_max: int = 1024 * 1024 * 1024
    #: What becomes of a row beyond that, or on a full disk: "drop_counted" (lost, counted, told),
    #: "block" (it waits for room at most `spool_block_max_ms`, also written "block(250)", and is
    #: then lost, counted, told) or "raise" (`kelt.SpoolFullError`, and the row is not logged).
    spool_policy: str = DROP_COUNTED
    spool_block_max_ms: float = 1000.0
    #: The folder on a disk of this machine where spools lie apart from their run folders; None:
    #: where a run folder is on a network filesystem, in /var/tmp or the like.
    spool_dir: Path | None = None


def variable_of(setting: str) -> str:
    """The environment variable of a setting."""
    return "KELT_DIR" if setting == "state_dir" else f"KELT_{setting.upper()}"


def known_variables() -> list[str]:
    """Every environment variable that a run reads."""
    return ["KELT_CONFIG", *map(variable_of, PARSERS)]


def load_settings(overrides: Mapping[str, object], environ: Mapping[str, str]) -> Settings:
    """The settings in force.

    Args:
        overrides: the caller's arguments by setting name; None stands for "not given".
        environ: the environment.

    Raises:
        SettingsError: a name or value that cannot be understood, wherever it came from.
    """
    chosen: dict[str, object] = {"state_dir": default_state_dir(environ)}
    path = config_file_path(environ)
    for name, value in read_config_file(path, is_named="KELT_CONFIG" in environ).items():
        _require_setting(name, f" (in {path})")
        _choose(chosen, name, _parsed(name, value, f"'{name}' in {path}"))
    for name in PARSERS:
        variable = variable_of(name)
        if value := environ.get(variable):
            _choose(chosen, name, _parsed(name, value, variable))
    for name, value in overrides.items():
        _require_setting(name)
        if value is not None:
            _choose(chosen, name, _parsed(name, value, f"'{name}'"))
    found = Settings(**cast("dict[str, Any]", chosen))
    if is_wandb(found.upstream) and not overrides.get("api_key"):
        return replace(found, api_key=wandb_key(found.upstream, found.api_key, environ) or None)
    return found


def _require_setting(name: str, where: str = "") -> None:
    if name not in PARSERS:
        raise SettingsError(
            f"There is no setting '{name}'{where}; the settings are {', '.join(PARSERS)}."
        )


def _choose(chosen: dict[str, object], name: str, value: object) -> None:
    if name == "mode":
        chosen["shared"] = value == SHARED
    if (name, value) != ("mode", SHARED):
        chosen[name] = value


def _parsed(name: str, value: object, source: str) -> object:
    try:
        return PARSERS[name](value)
    except ValueError as error:
        is_secret = name in {"api_key", "proxy"} or "@" in str(value)
        shown = "this value" if is_secret else repr(value)
        raise SettingsError(f"{source} cannot be {shown}: it must be {error}.") from None


# One parser a setting; `shared` is said by the mode.
assert {*PARSERS, "shared"} == {f.name for f in fields(Settings)}  # noqa: S101
