from __future__ import annotations

import pytest
from api_client.wire_server import RUN, served_wire

from kelt.api_client import Api


@pytest.fixture
def run_json() -> str:
    return RUN


@pytest.fixture
def wire():
    with served_wire() as server:
        yield server


@pytest.fixture
def api(wire, monkeypatch, tmp_path):
    monkeypatch.setenv("KELT_CONFIG", "/dev/null")
    monkeypatch.delenv("KELT_API_KEY", raising=False)
    with Api(wire.address, timeout_s=5) as client:
        yield client
