from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from server.stand import Stand


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    with Stand.opened(tmp_path) as opened:
        yield opened


@pytest.fixture
def open_stand(tmp_path: Path) -> Callable[[], AbstractContextManager[Stand]]:
    @contextmanager
    def opened() -> Iterator[Stand]:
        with Stand.opened(tmp_path) as made:
            yield made

    return opened
