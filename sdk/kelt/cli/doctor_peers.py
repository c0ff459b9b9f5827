"""Checks of the daemon and of the upstream."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from kelt.api_client import Api, KeyRefusedError
from kelt.cli.daemon_view import problems, status_dict
from kelt.cli.doctor_host import Check
from kelt.cli.wording import age
from kelt.errors import DaemonError, KeltError, SettingsError
from kelt.launcher import find_daemon
from kelt.proxies import proxy_for
from kelt.settings import Settings, load_settings
from kelt.sidecar_client import SidecarClient
from kelt.tls import ssl_context
from kelt.version import __version__
from kelt.wandb_upstream import http_url, is_wandb
from kelt_proto.v1.protocol import OURS, said

#: More would put rows and states of different hosts in a wrong order.
CLOCK_SKEW_S_MAX = 5.0
_TIMEOUT_S = 5.0


def check_peers(upstream: str | None, environ: Mapping[str, str]) -> Iterator[Check]:
    """The checks that ask somebody else. Without settings there is nobody to ask."""
    try:
        settings = load_settings({"upstream": upstream}, environ)
    except SettingsError:
        return
    yield from check_daemon(settings)
    yield from check_upstream(settings)


def check_daemon(settings: Settings) -> Iterator[Check]:
    """Whether the daemon answers, is of our version, and can send."""
    place = find_daemon(settings.state_dir)
    if place is None:
        yield Check("daemon", "ok", "not running; the next run starts it")
        return
    try:
        with SidecarClient(socket=place.socket) as client:
            status = status_dict(client.status(timeout_s=_TIMEOUT_S))
    except DaemonError as error:
        yield Check(
            "daemon",
            "fail",
            f"pid {place.pid}: {error} Look at `kelt daemon logs`. If it stands still, "
            f"`kill -9 {place.pid or 'PID'}` ends it and loses nothing; "
            "the next run starts another.",
        )
        return
    text = f"pid {status['pid']}, version {status['version']}"
    if status["version"] == __version__:
        yield Check("daemon", "ok", f"{text}, up for {age(time.time() - status['started_at'])}")
    else:
        yield Check(
            "daemon",
            "warn",
            f"{text}, but this is {__version__}. `kelt daemon stop`; the next run starts another.",
        )
    for sentence in problems(status):
        yield Check("backlog", "warn", sentence)


def check_upstream(settings: Settings) -> Iterator[Check]:
    """Whether the upstream answers, takes our key, and has our time."""
    if is_wandb(settings.upstream):
        yield from check_wandb(settings)
        return
    try:
        asked = Api(settings.upstream, settings.api_key, timeout_s=_TIMEOUT_S)
    except KeltError as error:
        yield Check("upstream", "fail", str(error))
        return
    with asked as api:
        try:
            info, server_time = api.info(), api.server_time()
        except KeltError as error:
            yield Check("upstream", "fail", str(error))
            return
        yield _check_version(settings.upstream, info)
        yield check_key(api, settings)
    if server_time is not None:
        yield check_clock(server_time - time.time())
    if proxy_for(settings.upstream, proxy=settings.proxy or "", environ=os.environ):
        yield Check("ingest", "ok", f"port {info['grpc_port']}, through the proxy (not tried)")
        return
    yield _check_ingest(settings.upstream, int(info["grpc_port"]))


def check_wandb(settings: Settings) -> Iterator[Check]:
    """Whether a W&B server answers, and knows our key."""
    import httpx  # noqa: PLC0415 # beside what kelt's own client loads

    url = http_url(settings.upstream)
    proxy = proxy_for(url, proxy=settings.proxy or "", environ=os.environ)
    try:
        reply = httpx.post(
            f"{url}/graphql",
            json={"query": "query Viewer { viewer { username entity } }", "variables": {}},
            auth=("api", settings.api_key or ""),
            timeout=_TIMEOUT_S,
            verify=ssl_context(settings.ca_file) if url.startswith("https://") else True,
            proxy=proxy or None,
            trust_env=False,
        )
    except (httpx.HTTPError, KeltError) as error:
        yield Check("upstream", "fail", f"{url} does not answer ({error}). Check KELT_UPSTREAM.")
        return
    is_refused = reply.status_code in {401, 403}
    try:
        viewer = None if is_refused else reply.json()["data"]["viewer"]
        known = None if viewer is None else f"{viewer['username']}, entity {viewer['entity']}"
    except (ValueError, KeyError, TypeError):
        yield Check(
            "upstream",
            "fail",
            f"what answers at {url} is no W&B server (HTTP status {reply.status_code}). "
            "Check KELT_UPSTREAM.",
        )
        return
    yield Check("upstream", "ok", f"{url}, a W&B server")
    if known is None:
        said = "is not accepted" if settings.api_key else "is missing"
        remedy = "Set WANDB_API_KEY, or run: wandb login"
        yield Check("key", "fail", f"the key {said} (HTTP status {reply.status_code}). {remedy}")
    else:
        yield Check("key", "ok", f"accepted: {known}")


def _check_version(upstream: str, info: Mapping[str, Any]) -> Check:
    text = f"{upstream}, version {info['version']}"
    theirs = said(int(info["protocol"]), int(info.get("protocol_min", 0)))
    if OURS.common(theirs):
        return Check("upstream", "ok", text)
    return Check(
        "upstream",
        "warn",
        f"{text} speaks {theirs}, and this is {OURS}. "
        f"Upgrade {'the server' if theirs.is_older_than(OURS) else 'this host'}: "
        "pip install -U kelt",
    )


def check_key(api: Api, settings: Settings) -> Check:
    """Whether the upstream accepts the key, or wants none."""
    try:
        api.projects()
    except KeyRefusedError as error:
        return Check("key", "fail", str(error))
    except KeltError as error:
        return Check("key", "fail", str(error))
    return Check("key", "ok", "accepted" if settings.api_key else "none set, and none wanted")


def check_clock(skew_s: float) -> Check:
    """Whether this host and the server agree on the time."""
    if abs(skew_s) <= CLOCK_SKEW_S_MAX:
        return Check("clock", "ok", f"within {CLOCK_SKEW_S_MAX:g} s of the server's")
    direction = "behind" if skew_s > 0 else "ahead of"
    return Check(
        "clock",
        "warn",
        f"this host is {abs(skew_s):.0f} s {direction} the server. Let both keep time with NTP.",
    )


def _check_ingest(upstream: str, port: int) -> Check:
    host = urlsplit(upstream).hostname or ""
    try:
        with socket.create_connection((host, port), timeout=_TIMEOUT_S):
            return Check("ingest", "ok", f"port {port} is open")
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        return Check(
            "ingest",
            "fail",
            f"{host} port {port}, where the daemon sends rows, cannot be reached ({reason}). "
            "Let a firewall or proxy pass it.",
        )
