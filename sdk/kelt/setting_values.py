"""What each setting can be: a parser for every name, as text or as a Python value.

A parser raises ValueError whose text completes "it must be …".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from kelt.addresses import has_user
from kelt.spool_policy import checked_block_ms, checked_policy
from kelt.state_dir import StateDir
from kelt.wandb_upstream import EXAMPLE, has_scheme, is_wandbs_own

DEFAULT_UPSTREAM = "http://127.0.0.1:8470"
MODES = ("online", "offline", "disabled")
SHARED = "shared"
RESUME_MODES = ("allow", "must", "never", "auto")
REINIT_MODES = ("default", "return_previous", "finish_previous", "create_new")
NAME_CHARS_MAX = 128
#: What cannot stand in a project's name or a run's id, because both are part of paths and URLs.
FORBIDDEN_IN_NAMES = '/\\#?%:"<>|*'

#: W&B's names. All but "off" stand for following what Python writes, the one way that kelt has.
CONSOLE_MODES = ("auto", "off", "wrap", "redirect", "wrap_raw", "wrap_emu")
#: W&B's own bound.
_STATS_INTERVAL_S_MIN = 0.1

#: As in `kelt.proxies`, which `import kelt` does not load.
_NO_PROXY = "none"
_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off", "")


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
    if not has_scheme(text) or not text.partition("://")[2].strip("/"):
        raise ValueError(f"an address such as {DEFAULT_UPSTREAM}, or {EXAMPLE} for a W&B server")
    if is_wandbs_own(text):
        raise ValueError(f"{EXAMPLE}, as a W&B server is no kelt server")
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
        raise ValueError("a number of seconds, 0 or more")  # noqa: TRY004 # as the module says
    try:
        seconds = float(cast("Any", value))
    except (TypeError, ValueError):
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ValueError("a number of seconds, 0 or more")
    return seconds


def _stats_interval(value: object) -> float:
    seconds = _seconds(value)
    if seconds < _STATS_INTERVAL_S_MIN:
        raise ValueError(f"a number of seconds, at least {_STATS_INTERVAL_S_MIN}")
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


PARSERS: Mapping[str, Callable[[object], object]] = {
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
    "stoppable": _flag,
    "console": _choice(CONSOLE_MODES),
    "disable_stats": _flag,
    "stats_sampling_interval_s": _stats_interval,
    "spool_bytes_max": _bytes,
    "spool_policy": checked_policy,
    "spool_block_max_ms": checked_block_ms,
    "spool_dir": _path,
}
