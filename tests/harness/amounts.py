"""How much of what is drawn at random one run of the tests draws."""

import os


def amount(usual: int, *, long: int) -> int:
    """`usual` in `make test`, whose draws differ each time; `long` in `make test-long`."""
    return long if os.environ.get("KELT_TEST_LONG") else usual
