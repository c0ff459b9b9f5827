"""How much of what is drawn at random one run of the tests draws."""

import os

import pytest

#: What CI has no time for: its like is in every run, or it takes minutes.
long_only = pytest.mark.skipif(
    not os.environ.get("KELT_TEST_LONG"), reason="in make test-long alone"
)


def amount(usual: int, *, long: int) -> int:
    """`usual` in `make test`, whose draws differ each time; `long` in `make test-long`."""
    return long if os.environ.get("KELT_TEST_LONG") else usual
