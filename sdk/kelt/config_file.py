"""The config file: TOML, one setting a line, at `KELT_CONFIG` or in the user's config folder."""

from __future__ import annotations

import stat
import sys
from collections.abc import Mapping
from pathlib import Path

from kelt.errors import SettingsError


def config_file_path(environ: Mapping[str, str]) -> Path:
    """Where the config file lies, whether or not it exists."""
    if given := environ.get("KELT_CONFIG"):
        return Path(given).expanduser()
    home = environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser() / "kelt" / "config.toml"


def read_config_file(path: Path, *, is_named: bool) -> dict[str, object]:
    """What it holds, unchecked.

    Args:
        path: where it lies.
        is_named: whether somebody named it, so that it must be there.

    Raises:
        SettingsError: it cannot be read, is not TOML, or shows an api_key to others.
    """
    try:
        with path.open("rb") as file:
            data = _parse_toml(file.read().decode("utf-8"))
            mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        if isinstance(error, (FileNotFoundError, NotADirectoryError)) and not is_named:
            return {}
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
    return data


def _parse_toml(text: str) -> dict[str, object]:
    # Imported only where there is a file.
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415
    else:
        import tomli as tomllib  # type: ignore[import-not-found,unused-ignore] # noqa: PLC0415
    data: dict[str, object] = tomllib.loads(text)
    return data
