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

import stat
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from kelt.addresses import has_user
from kelt.errors import SettingsError
from kelt.spool_policy import DROP_COUNTED, checked_block_ms, checked_policy
from kelt.state_dir import StateDir, default_state_dir

DEFAULT_UPSTREAM = "http://127.0.0.1:8470"
DEFAULT_PROJECT = "Uncategorized"
MODES = ("online", "offline", "disabled")
SHARED = "shared"
RESUME_MODES = ("allow", "must", "never", "auto")
REINIT_MODES = ("default", "return_previous", "finish_previous", "create_new")
NAME_CHARS_MAX = 128
#: What cannot stand in a project's name or a run's id, because both are part of paths and URLs.
FORBIDDEN_IN_NAMES = '/\\#?%:"<>|*'

#: As in `kelt.proxies`, which `import kelt` does not load.
_NO_PROXY = "none"
_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off", "")


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
    #: How much spool may wait for the daemon on this host's disk.
    spool_bytes_max: int = 1024 * 1024 * 1024
    #: What becomes of a row beyond that, or on a full disk: "drop_counted" (lost, counted, told),
    #: "block" (it waits for room at most `spool_block_max_ms`, also written "block(250)", and is
    #: then lost, counted, told) or "raise" (`kelt.SpoolFullError`, and the row is not logged).
    spool_policy: str = DROP_COUNTED
    spool_block_max_ms: float = 1000.0


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a text that is not empty")
    return value


def _name(value: object) -> str:
    text = _text(value)
    bad = [c for c in text if c in FORBIDDEN_IN_NAMES or not c.isprintable()]
    if bad or text != text.strip() or text in {".", ".."} or len(text) > NAME_CHARS_MAX:
        raise ValueError(
            f"at most {NAME_CHARS_MAX} printable characters without {FORBIDDEN_IN_NAMES}"
        )
    return text


def _url(value: object) -> str:
    text = _text(value)
    if not text.startswith(("http://", "https://")) or not text.partition("://")[2].strip("/"):
        raise ValueError(f"an address such as {DEFAULT_UPSTREAM}")
    if has_user(text):
        raise ValueError("an address without a user or key in it; a key belongs in KELT_API_KEY")
    return text.rstrip("/")


def _proxy(value: object) -> str:
    text = _text(value)
    if text == _NO_PROXY:
        return text
    if not text.startswith("http://") or not urlsplit(text).hostname:
        raise ValueError(f"an address such as http://proxy:3128, or {_NO_PROXY!r}")
    return text.rstrip("/")


def _label(value: object) -> str:
    text = _text(value)
    if not text.isprintable() or text != text.strip() or len(text) > NAME_CHARS_MAX:
        raise ValueError(f"at most {NAME_CHARS_MAX} printable characters")
    return text


def _choice(allowed: tuple[str, ...]) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if value not in allowed:
            raise ValueError(" or ".join(repr(a) for a in allowed))
        return str(value)

    return parse


def _resume(value: object) -> str | None:
    if isinstance(value, bool):
        return "auto" if value else None
    return _choice(RESUME_MODES)(value)


def _reinit(value: object) -> str:
    if isinstance(value, bool):
        return "finish_previous" if value else "return_previous"
    if isinstance(value, str) and value.lower() in (*_TRUE, *_FALSE):
        return "finish_previous" if value.lower() in _TRUE else "return_previous"
    return _choice(REINIT_MODES)(value)


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).lower()
    if text not in (*_TRUE, *_FALSE):
        raise ValueError("true or false")
    return text in _TRUE


def _seconds(value: object) -> float:
    if isinstance(value, bool):
        raise ValueError("a number of seconds, 0 or more")  # noqa: TRY004 # one kind of error here
    try:
        seconds = float(cast("Any", value))
    except (TypeError, ValueError):
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ValueError("a number of seconds, 0 or more")
    return seconds


def _bytes(value: object) -> int:
    try:
        size = int(cast("Any", value))
    except (TypeError, ValueError):
        size = 0
    if isinstance(value, bool) or size < 1024 * 1024:
        raise ValueError("a whole number of bytes, at least 1048576")
    return size


def _tags(value: object) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, (list, tuple, set, frozenset)):
        raise ValueError("a list of texts, or one text with commas")  # noqa: TRY004 # as above
    stripped = [item.strip() if isinstance(item, str) else item for item in items]
    if not all(isinstance(item, str) for item in stripped):
        raise ValueError("a list of texts, or one text with commas")
    return tuple(dict.fromkeys(item for item in stripped if item))


def _path(value: object) -> Path:
    if not isinstance(value, (str, Path)) or not str(value):
        raise ValueError("a path")
    return Path(value).expanduser().absolute()


def _state_dir(value: object) -> StateDir:
    return value if isinstance(value, StateDir) else StateDir(_path(value))


_PARSERS: Mapping[str, Callable[[object], object]] = {
    "state_dir": _state_dir,
    "upstream": _url,
    "api_key": _text,
    "ca_file": _path,
    "proxy": _proxy,
    "entity": _name,
    "project": _name,
    "mode": _choice((*MODES, SHARED)),
    "label": _label,
    "primary": _flag,
    "run_id": _name,
    "name": _text,
    "notes": _text,
    "group": _text,
    "job_type": _text,
    "tags": _tags,
    "resume": _resume,
    "reinit": _reinit,
    "run_dir": _path,
    "init_timeout_s": _seconds,
    "finish_timeout_s": _seconds,
    "silent": _flag,
    "spool_bytes_max": _bytes,
    "spool_policy": checked_policy,
    "spool_block_max_ms": checked_block_ms,
}


def variable_of(setting: str) -> str:
    """The environment variable of a setting."""
    return "KELT_DIR" if setting == "state_dir" else f"KELT_{setting.upper()}"


def known_variables() -> list[str]:
    """Every environment variable that a run reads."""
    return ["KELT_CONFIG", *map(variable_of, _PARSERS)]


def config_file_path(environ: Mapping[str, str]) -> Path:
    """Where the config file lies, whether or not it exists."""
    if given := environ.get("KELT_CONFIG"):
        return Path(given).expanduser()
    home = environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser() / "kelt" / "config.toml"


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
    for name, value in _read_config_file(path).items():
        _choose(chosen, name, _parsed(name, value, f"'{name}' in {path}"))
    for name in _PARSERS:
        variable = variable_of(name)
        if value := environ.get(variable):
            _choose(chosen, name, _parsed(name, value, variable))
    for name, value in overrides.items():
        if name not in _PARSERS:
            raise SettingsError(
                f"There is no setting '{name}'; the settings are {', '.join(_PARSERS)}."
            )
        if value is not None:
            _choose(chosen, name, _parsed(name, value, f"'{name}'"))
    return Settings(**cast("dict[str, Any]", chosen))


def _choose(chosen: dict[str, object], name: str, value: object) -> None:
    if name == "mode":
        chosen["shared"] = value == SHARED
    if (name, value) != ("mode", SHARED):
        chosen[name] = value


def _parsed(name: str, value: object, source: str) -> object:
    try:
        return _PARSERS[name](value)
    except ValueError as error:
        is_secret = name in {"api_key", "proxy"} or "@" in str(value)
        shown = "this value" if is_secret else repr(value)
        raise SettingsError(f"{source} cannot be {shown}: it must be {error}.") from None


def _read_config_file(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            data = _parse_toml(file.read().decode("utf-8"))
            mode = stat.S_IMODE(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise SettingsError(
            f"The config file {path} cannot be read ({error.strerror}); "
            "make it readable, or name another in KELT_CONFIG."
        ) from error
    except ValueError as error:
        raise SettingsError(
            f"The config file {path} is not TOML ({error}); mend or remove it."
        ) from error
    if "api_key" in data and mode & 0o077:
        raise SettingsError(
            f"The config file {path} holds an api_key and others can read it; run: chmod 600 {path}"
        )
    for name in data:
        if name not in _PARSERS:
            raise SettingsError(
                f"There is no setting '{name}' (in {path}); the settings are {', '.join(_PARSERS)}."
            )
    return data


def _parse_toml(text: str) -> dict[str, object]:
    # Imported only where there is a file.
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415
    else:
        import tomli as tomllib  # type: ignore[import-not-found,unused-ignore] # noqa: PLC0415
    data: dict[str, object] = tomllib.loads(text)
    return data


# One parser a setting; `shared` is said by the mode.
assert {*_PARSERS, "shared"} == {f.name for f in fields(Settings)}  # noqa: S101
