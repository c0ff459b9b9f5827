from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from server.artifacts.shelves import Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    with Shelf.opened(tmp_path) as opened:
        yield opened
