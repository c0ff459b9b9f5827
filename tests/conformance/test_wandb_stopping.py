"""`run.stop()`, as the real client sends it and as another one obeys."""

from __future__ import annotations

import os

import pytest
from conformance.conftest import Client, Kelt

RUN = """
run = wandb.init(id="run")
for i in range(1200):
    run.log({"x": i})
    time.sleep(0.05)
"""
STOP = "wandb.Api().run('p/run').stop()"


@pytest.mark.skipif(
    not os.environ.get("KELT_TEST_LONG"), reason="a client looks for a stop every 15 seconds"
)
def test_a_client_is_interrupted_when_another_stops_its_run(client: Client, kelt: Kelt) -> None:
    running = client.start(RUN)
    kelt.until("run", 1)
    client.run(STOP)
    assert kelt.run("run")["is_asked_to_stop"]
    _, err = running.communicate(timeout=90)
    assert "KeyboardInterrupt" in err
    run = kelt.run("run")
    assert (run["state"], run["is_asked_to_stop"]) == ("killed", False)
