from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from kelt.api_client import (
    Api,
    KeyRefusedError,
    QueryError,
    ServerFaultError,
    UnreachableError,
)
from kelt.errors import KeltError, UsageError

PROJECTS = "/api/v1/projects"
NOTHING = '{"projects": []}'


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch, tmp_path):
    monkeypatch.setenv("KELT_CONFIG", "/dev/null")
    monkeypatch.delenv("KELT_API_KEY", raising=False)
    monkeypatch.delenv("KELT_UPSTREAM", raising=False)


def test_address_and_key_come_from_the_environment_unless_given(wire, monkeypatch):
    wire.says(PROJECTS, NOTHING)
    monkeypatch.setenv("KELT_UPSTREAM", wire.address)
    monkeypatch.setenv("KELT_API_KEY", "from-environment")
    with Api() as api:
        api.projects()
    with Api(api_key="given") as api:
        api.projects()
    keys = [asked.headers["Authorization"] for asked in wire.asked]
    assert keys == ["Bearer from-environment", "Bearer given"]


def test_without_a_key_none_is_sent(wire, api):
    wire.says(PROJECTS, NOTHING)
    api.projects()
    assert "Authorization" not in wire.asked[0].headers


def test_a_kept_connection_that_the_server_dropped_is_opened_again(wire, api):
    wire.says(PROJECTS, NOTHING)
    api.projects()
    wire.cut_off = 1
    assert api.projects() == []


def test_an_upstream_that_nobody_serves_is_unreachable_with_reason_and_remedy():
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        with Api(address) as api, pytest.raises(UnreachableError) as caught:
            api.projects()
    assert str(caught.value) == (
        f"The upstream {address} cannot be reached (Connection refused). "
        "Start it with `kelt server`, or name another with KELT_UPSTREAM."
    )


def test_an_upstream_that_does_not_answer_in_time_is_unreachable():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with Api(address, timeout_s=0.1) as api, pytest.raises(UnreachableError, match=r"0\.1 s"):
            api.projects()


def test_a_refused_key_names_the_variable_to_set(wire, api):
    wire.says(PROJECTS, '{"error": "This server wants a key."}', status=401)
    with pytest.raises(KeyRefusedError, match=r"wants a key\). Set KELT_API_KEY"):
        api.projects()


def test_what_the_server_says_of_a_wrong_argument_is_passed_on(wire, api):
    wire.says(PROJECTS, '{"error": "No such path: x."}', status=400)
    with pytest.raises(QueryError, match=r"cannot take this: No such path: x\.$"):
        api.projects()


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (503, '{"error": "The server is stopping."}', "The server is stopping"),
        (500, "Internal Server Error", "HTTP status 500"),
        (200, "<html>", "not as a kelt server"),
        (404, "<html>", "not as a kelt server"),
        (302, "", "not as a kelt server"),
    ],
)
def test_a_server_that_cannot_serve_is_told_from_one_out_of_reach(wire, api, status, body, said):
    wire.says(PROJECTS, body, status=status)
    with pytest.raises(ServerFaultError, match=said):
        api.projects()


@pytest.mark.parametrize("address", ["ftp://x", "127.0.0.1:8470", "http://", "http://[::1"])
def test_an_address_that_is_none_is_refused_at_once(address):
    with pytest.raises(UsageError):
        Api(address)


def test_every_error_is_one_of_ours(wire, api):
    wire.says(PROJECTS, "", status=418)
    with pytest.raises(KeltError):
        api.projects()


def test_the_client_needs_neither_pyarrow_nor_pandas():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['pyarrow', 'pandas', 'numpy'], None)); "
        "import kelt.api_client, kelt.cli.main"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
