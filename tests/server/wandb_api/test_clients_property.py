"""Clients of one name as they are: each counts the lines of its own file, keeps what was not
answered, posts it again, dies and comes again. Whatever they do, no row is lost and none is there
twice."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server.wandb_api.doors import DONE, DoorStand, line

from harness.amounts import amount
from kelt_server.errors import StoreError

DRAWN = amount(12, long=150)
_NUMBERS = itertools.count()
HEADERS = ("", "", "client-a", "client-b")


@dataclass
class Process:
    """A wandb client: its file of lines, and how much of it was answered."""

    number: int
    door: DoorStand
    name: tuple[str, str, str]
    client: str = ""
    offset: int = 0
    next_step: int = 0
    lines: list[dict[str, Any]] = field(default_factory=list)
    answered: int = 0
    is_over: bool = False

    def begin(self, **said: Any) -> None:
        self.offset = self.door.begin(
            self.name, host=f"host {self.number}", client=self.client, **said
        )

    def log(self, rows: int) -> None:
        for _ in range(rows):
            at = 1000.0 * (self.number + 1) + len(self.lines)
            self.lines.append(line(self.next_step, at=at, process=self.number))
            self.next_step += 1

    def post(self, *, again: int = 0, at_most: int = 100, ends: bool = False) -> None:
        """Posts what was not answered, and perhaps some that was: its answer got lost."""
        start = max(0, self.answered - again)
        sent = self.lines[start : start + at_most]
        if not sent and not ends:
            return
        end = DONE if ends and start + len(sent) == len(self.lines) else {}
        body = self.door.lines(self.offset + start, *sent, **end)
        self.door.post(body, self.name, client=self.client)
        self.answered = max(self.answered, start + len(sent))
        self.is_over = self.is_over or bool(end)


class World:
    """The door and its clients. Files of processes that are over can be synced again."""

    def __init__(self, door: DoorStand) -> None:
        self.door = door
        self.name = ("local", "proj", f"run {next(_NUMBERS)}")
        self.processes: list[Process] = []

    def act(self, action: tuple[Any, ...]) -> None:
        kind, which, number = action
        if kind == "fail":
            self.door.commits.failing.append(("before", "after", "between")[number % 3])
        elif kind == "fail to save":
            self.door.saves_failing.append(("before", "after")[number % 2])
        elif kind == "restart":
            self.door.restart()
        elif kind == "begin":
            self._begin(which, number)
        elif self.processes:
            process = self.processes[which % len(self.processes)]
            if kind == "sync":
                self._sync(process)
            elif not process.is_over:
                process.log(number % 4)
                process.post(again=number % 3, at_most=1 + number % 5, ends=number % 7 == 0)

    def _begin(self, which: int, number: int) -> None:
        if len(self.processes) > 5:
            return
        process = Process(len(self.processes), self.door, self.name, HEADERS[number % len(HEADERS)])
        if process.client:
            process.client += str(process.number)
        how = ("anew", "resume", "rewind")[which % 3]
        standing = self.door.stand.reader.rows.standing(*self.name)
        if how == "resume" and standing.branch_id and not process.client:
            process.next_step = standing.last_step + 1
            process.begin(id="x")
        elif how == "rewind" and standing.branch_id and not process.client:
            process.next_step = max(0, standing.last_step - 2) + 1
            process.begin(id="x", point=(self.name[2], process.next_step - 1))
        else:
            process.begin()
        self.processes.append(process)

    def _sync(self, process: Process) -> None:
        """`wandb sync` of its file, from its first line on, by a process of its own."""
        if process.client or not process.lines:
            return
        again = Process(90 + process.number, self.door, self.name)
        first = process.lines[0]["_step"]
        again.begin(**({"id": "x", "point": (self.name[2], first - 1)} if first else {}))
        again.lines = process.lines
        again.post()

    def finish(self) -> None:
        self.door.commits.failing.clear()
        self.door.saves_failing.clear()
        for process in self.processes:
            process.post()

    def wanted(self) -> Counter[tuple[int, float, int]]:
        return Counter(
            (row["_step"], row["_timestamp"], row["process"])
            for process in self.processes
            for row in process.lines
        )

    def found(self) -> Counter[tuple[int, float, int]]:
        """The rows of every branch of the name, each branch without what it inherits."""
        branches = self.door.stand.reader._finder.branches_of(*self.name)
        found: Counter[tuple[int, float, int]] = Counter()
        for branch_id in branches:
            for row in self.door.stand.rows(branch_id):
                if row["immutable_id"] == branch_id:
                    found[row["step"], row["timestamp"], row["values"]["process"]] += 1
        return found


actions = st.tuples(
    st.sampled_from(
        ["begin", "post", "post", "post", "post", "sync", "fail", "fail to save", "restart"]
    ),
    st.integers(0, 5),
    st.integers(0, 20),
)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DoorStand]:
    with DoorStand.opened(tmp_path_factory.mktemp("door")) as opened:
        yield opened


@settings(max_examples=DRAWN, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(actions, min_size=5, max_size=30))
def test_every_row_of_every_client_is_there_once(door: DoorStand, drawn: list[Any]) -> None:
    world = World(door)
    for action in drawn:
        with contextlib.suppress(StoreError):
            world.act(action)
    world.finish()
    assert world.found() == world.wanted()
