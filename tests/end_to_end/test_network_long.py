"""Every toxic in every phase, again and again: the long tier, which `KELT_TORTURE_NETWORK` asks for.

Its value is how often. Without it this is a single case, which the others in `test_network` cover.
"""

from __future__ import annotations

import os
import random
import time

import pytest

from harness.network import FAULT_CELLS, PHASE_CELLS, PHASES, TOXICS, Network

ROUNDS = int(os.environ.get("KELT_TORTURE_NETWORK", "0"))
FIRST_SEED = int(os.environ.get("KELT_TORTURE_FIRST_SEED", "0"))
CASES = [
    (phase, toxic, FIRST_SEED + number)
    for number in range(ROUNDS)
    for phase in PHASES
    for toxic in TOXICS
] or [("trainer finishes", "swallow", 0)]


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    with Network(tmp_path_factory.mktemp("network-long")) as network:
        yield network


@pytest.mark.parametrize(("phase", "toxic", "seed"), CASES)
def test_a_run_arrives_whole_whatever_happens_on_its_way(
    network, record_faults, phase, toxic, seed
):
    record_faults(1, phase=PHASE_CELLS[phase], fault=FAULT_CELLS[toxic])
    chance = random.Random(f"{phase} {toxic} {seed}")
    name = f"run-{PHASES.index(phase)}-{toxic}-{seed}"
    fault = TOXICS[toxic]
    if phase == "trainer starts":
        network.strike(phase, **fault)
    trainer = network.train(name, pause_s=0.002, KELT_FINISH_TIMEOUT_S="0.3").await_ready()
    if phase == "daemon starts":
        network.strike(phase, **fault)
        network.restart_daemon()
    elif phase not in {"trainer starts", "trainer finishes"}:
        time.sleep(chance.uniform(0, 0.2))
        network.strike(phase, **fault)
    time.sleep(chance.uniform(0.05, 0.8))
    if phase == "trainer finishes":
        network.strike(phase, **fault)
        count = trainer.finish()
        network.heal()
    else:
        network.heal()
        time.sleep(chance.uniform(0, 0.3))
        count = trainer.finish()
    trainer.check_all_arrived(count)
