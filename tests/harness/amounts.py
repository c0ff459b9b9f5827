"""How much of what is drawn at random one run of the tests draws."""

import os
from typing import TypeVar

import pytest

#: What CI has no time for: its like is in every run, or it takes minutes.
long_only = pytest.mark.skipif(
    not os.environ.get("KELT_TEST_LONG"), reason="in make test-long alone"
)


_Amount = TypeVar("_Amount")


def amount(usual: _Amount, *, long: _Amount) -> _Amount:
    """`usual` in `make test`, whose draws differ each time; `long` in `make test-long`."""
    return long if os.environ.get("KELT_TEST_LONG") else usual
