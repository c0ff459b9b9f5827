from __future__ import annotations

import pytest

from harness.wandb_stub import WandbStub


@pytest.fixture
def stub():
    with WandbStub(hang_s=0.8) as server:
        yield server
