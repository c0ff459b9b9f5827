"""The fuzz targets over sound inputs, found cases and seeded mutations, without a fuzzer."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from fuzz.seeds import mutated, sound
from fuzz.targets import TARGETS

from harness.crash_histories import environment_number

MUTATIONS = environment_number("KELT_TORTURE_MUTATIONS", 1000)
FIRST_SEED = environment_number("KELT_TORTURE_FIRST_SEED", 0)
CORPUS = Path(__file__).parent / "corpus"


@pytest.mark.covers(phase="recovery", fault="bit flip")
@pytest.mark.parametrize("name", TARGETS)
def test_no_input_raises_and_what_is_read_is_consistent(name, record_faults):
    target, inputs = TARGETS[name], sound()[name]
    inputs += [path.read_bytes() for path in sorted(CORPUS.glob(f"{name}-*"))]
    for data in inputs:
        target(data)
    for number in range(MUTATIONS):
        rng = Random(FIRST_SEED + number)
        data = mutated(rng, rng.choice(inputs))
        try:
            target(data)
        except BaseException as error:
            error.args = (f"seed {FIRST_SEED + number}: {error}",)
            raise
    record_faults(MUTATIONS)
