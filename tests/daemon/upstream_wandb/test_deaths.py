"""Several runs that follow on each other, while the daemon dies at any of its steps and W&B fails.

A step is what reaches the outside: a request, a write or a removal on the disk. The daemon dies before
it, or behind it without having heard of it; the next one has the disk alone.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from daemon.upstream_wandb.desks import Desk, Queue, add_file, add_line, files_of, opened, outgoing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server.streams import Stream

from harness.amounts import amount
from harness.wandb_stub import WandbStub
from harness.wandb_stub_artifacts import StubArtifacts
from kelt_daemon.errors import UpstreamError, cause_of
from kelt_daemon.upstream import OutgoingArtifact
from kelt_daemon.upstream.wandb import requests
from kelt_daemon.upstream.wandb.carried_run import CarriedRun
from kelt_daemon.upstream.wandb.file_pieces import MADE_NAMES, OUTPUT
from kelt_daemon.upstream.wandb.file_room import FileRoom
from kelt_daemon.upstream.wandb.wandb_server import WandbServer
from kelt_proto.v1.record_pb2 import BranchPoint, Resumed
from kelt_proto.v1.rows import FLAG_PARTIAL, FLAG_RELATIVE_STEP

pytestmark = pytest.mark.asyncio


class Died(BaseException):
    """The process is gone."""


@dataclass
class Deaths:
    """Where the daemon dies: the numbers of steps, counted over all its lives."""

    at: Mapping[int, bool]
    steps: int = 0

    async def around(self, work: Any) -> Any:
        self.steps += 1
        is_before = self.at.get(self.steps)
        if is_before:
            raise Died
        done = await work()
        if is_before is False:
            if hasattr(done, "close"):
                done.close()  # as the system does it
            raise Died
        return done


class Mortal(WandbServer):
    """Dies in the middle."""

    deaths: Deaths

    async def ask(self, question: requests.Question) -> dict[str, Any]:
        return await self.deaths.around(lambda: super(Mortal, self).ask(question))

    async def stream(self, run: CarriedRun, body: dict[str, Any]) -> None:
        await self.deaths.around(lambda: super(Mortal, self).stream(run, body))

    async def put(self, *said: Any) -> None:
        await self.deaths.around(lambda: super(Mortal, self).put(*said))


@dataclass
class MortalDesk(Desk):
    deaths: Deaths = field(default_factory=lambda: Deaths({}))

    def _made(self) -> WandbServer:
        async def in_thread(work: Any, /, *args: object) -> Any:
            async def done() -> Any:
                return work(*args)

            return await self.deaths.around(done)

        self.room = FileRoom(limit_bytes=self.config.wandb_files_bytes_max)
        server = Mortal(
            url=f"wandb+{self.stub.url}", config=self.config, queue=Queue(self.queue),
            look=self._look, room=self.room, in_thread=in_thread,
        )  # fmt: skip
        server.deaths = self.deaths
        return server


@dataclass
class Logged:
    """An artifact."""

    name: str
    files: dict[str, bytes]
    aliases: tuple[str, ...]


@dataclass
class Folder:
    """A run folder: what its journal holds, in order, and how far that was sent."""

    stream: Stream
    files: Stream
    run_id: str
    branch_id: str
    #: On its console, since it went back.
    printed: dict[int, str] = field(default_factory=dict)
    journal: list[tuple[Stream, int]] = field(default_factory=list)
    sent: dict[bytes, int] | None = None
    is_done: bool = False
    #: Logged, and on their way.
    logged: list[Logged] = field(default_factory=list)
    artifacts: list[OutgoingArtifact] = field(default_factory=list)

    def note(self) -> None:
        """What was recorded since lies in the journal."""
        for stream in (self.stream, self.files):
            known = sum(1 for other, _ in self.journal if other is stream)
            self.journal += [(stream, seq) for seq in range(known + 1, stream.last_seq + 1)]

    async def push(self, desk: Desk, count: int) -> None:
        """Sends the next `count` records."""
        writers = [stream.writer_id for stream in (self.stream, self.files)]
        if self.sent is None:
            found = await desk.server.cursors(writers)
            self.sent = {writer: found.get(writer, 0) for writer in writers}
        left = [(s, seq) for s, seq in self.journal if seq > self.sent[s.writer_id]]
        if not left:
            found = await desk.server.cursors(writers)
            self.is_done = all(found[s.writer_id] >= seq for s, seq in self.journal)
            assert self.is_done
            desk.change(self.stream, is_through=True)
            return
        sent, self.sent = self.sent, None
        reply = await desk.server.push([outgoing(s, seq, seq) for s, seq in left[:count]])
        if not any(cursor.gap for cursor in reply.values()):
            self.sent = sent | {s.writer_id: seq for s, seq in left[:count]}

    def put_down(self, desk: Desk) -> None:
        """Its artifacts lie in the run folder."""
        for one in self.logged:
            made = desk.add_artifact(self.stream, one.name, one.files, aliases=one.aliases)
            self.artifacts.append(made)
        desk.change(self.stream, has_artifacts=bool(self.artifacts))

    async def log(self, desk: MortalDesk) -> None:
        """Sends the next artifact, and notes that it is there, as the daemon does."""
        await desk.server.artifacts.log_artifact(self.artifacts[0])
        await desk.deaths.around(_written)
        del self.artifacts[0]
        desk.change(self.stream, has_artifacts=bool(self.artifacts))


async def _written() -> None:
    """The word of an artifact's end."""


@dataclass
class Script:
    """What the processes did, and what W&B is to have of it."""

    draw: random.Random
    folders: dict[str, Folder] = field(default_factory=dict)
    rows: dict[str, dict[int, dict[str, Any]]] = field(default_factory=dict)
    console: dict[str, dict[int, str]] = field(default_factory=dict)
    contents: dict[str, dict[str, bytes]] = field(default_factory=dict)
    counter: int = 0
    #: On which the run stands.
    branch: str = "b-r"

    def session(self, number: int, run_id: str, **origin: Any) -> Folder:
        stream = opened(number, run_id, **origin)
        folder = self.folders[f"{run_id}-{number}"] = Folder(
            stream, files_of(stream), run_id, self.branch if run_id == "r" else f"b-{run_id}"
        )
        self.rows.setdefault(run_id, {})
        self.console.setdefault(run_id, {})
        self.contents.setdefault(run_id, {})
        return folder

    def live(self, folder: Folder, run_id: str, first_step: int, *, base: int = 0) -> int:
        """Logs a while; returns the last step. `base`: of steps that count from the end."""
        step, rows = first_step, self.rows[run_id]
        lines = len(self.console[run_id])
        flags = FLAG_RELATIVE_STEP if base else 0
        for _ in range(self.draw.randint(1, 6)):
            self.counter += 1
            kinds = ("row", "row", "part", "config", "console", "file", "artifact")
            what = self.draw.choice(kinds)
            if what in {"row", "part"}:
                is_part = FLAG_PARTIAL if what == "part" else 0
                values = {f"k{self.counter % 3}": self.counter}
                folder.stream.row(
                    step - base, values, flags=flags | is_part, timestamp=float(self.counter)
                )
                rows.setdefault(step, {"_step": step}).update(values)
                step += 0 if is_part else 1
            elif what == "config":
                folder.stream.config(1.0, value=self.counter)
            elif what == "console":
                add_line(folder.stream, lines, str(self.counter))
                self.console[run_id][lines] = folder.printed[lines] = str(self.counter)
            elif what == "artifact":
                self.log(folder, f"{run_id}-{self.counter % 2}")
            else:
                content = bytes(self.draw.randbytes(self.draw.choice((0, 99, 250))))
                name = f"f{self.counter % 2}"
                add_file(folder.files, name, content)
                self.contents[run_id][name] = content
            folder.note()
        folder.stream.row(step - base, {"end": 1}, flags=flags)
        rows.setdefault(step, {"_step": step}).update(end=1)
        return step

    def log(self, folder: Folder, name: str) -> None:
        """Few contents, so that some come again."""
        names = self.draw.sample("abc", self.draw.randint(0, 3))
        files = {name: bytes([self.draw.randint(0, 1)]) * 9 for name in names}
        aliases = ("best",) if self.draw.random() < 0.5 else ()
        folder.logged.append(Logged(name, files, aliases))

    def collections(self) -> dict[str, tuple[list[Any], dict[str, Any]]]:
        """By name: what the versions are, and the aliases."""
        found: dict[str, tuple[list[Any], dict[str, Any]]] = {}
        for folder in self.folders.values():
            for one in folder.logged:
                versions, aliases = found.setdefault(one.name, ([], {}))
                versions += [one.files] if one.files not in versions else []
                aliases |= dict.fromkeys((*one.aliases, "latest"), one.files)
        return found

    def back(self, run_id: str, step: int) -> None:
        self.rows[run_id] = {at: row for at, row in self.rows[run_id].items() if at <= step}
        self.console[run_id] = {}
        for folder in self.folders.values():
            folder.printed = {} if folder.run_id == run_id else folder.printed

    def fork(self, number: int, run_id: str, step: int) -> None:
        """Another run that leaves `r` where it stands now."""
        point = BranchPoint(project="p", run_id="r", branch_id=self.branch, step=step)
        child = self.session(number, run_id, forked=point)
        inherited = {at: dict(row) for at, row in self.rows["r"].items() if at <= step}
        self.rows[run_id] = inherited
        self.live(child, run_id, step + 1)
        self.end(child)

    def end(self, folder: Folder) -> None:
        folder.stream.exit(0, at=9.0)
        folder.note()
        if printed := folder.printed:
            text = "".join(f"{printed[number]}\n" for number in sorted(printed))
            self.contents[folder.run_id]["output.log"] = text.encode()


def family(seed: int) -> Script:
    """A run that may go back, a fork of what it had before, a session that follows, and its fork."""
    script = Script(random.Random(seed))
    draw = script.draw
    first = script.session(1, "r")
    last = script.live(first, "r", 0)
    script.fork(2, "child", draw.randint(0, last))
    if draw.random() < 0.6:
        to = draw.randint(0, last)
        first.stream.rewind("b2", at=5.0, point=BranchPoint(project="p", run_id="r", step=to))
        script.back("r", to)
        script.branch = "b2"
        last = script.live(first, "r", to + 1)
    script.end(first)
    how = draw.choice(("resumed", "relative", "rewound"))
    if how == "rewound":
        script.branch = "b7"
        to = draw.randint(0, last)
        back = BranchPoint(project="p", run_id="r", step=to)
        second = script.session(7, "r", rewound=back)
        script.back("r", to)
        script.live(second, "r", to + 1)
    else:
        resumed = Resumed(point_unknown=how == "relative", last_step=last, mode="must")
        second = script.session(7, "r", resumed=resumed)
        # A session counts its console lines from 0; they lie behind those that were there.
        before, script.console["r"] = script.console["r"], {}
        script.live(second, "r", last + 1, base=last + 1 if how == "relative" else 0)
        held = 1 + max(before, default=-1)
        after = {held + number: line for number, line in script.console["r"].items()}
        script.console["r"] = before | after
    script.end(second)
    script.fork(9, "late", draw.choice(sorted(script.rows["r"])))
    return script


def left_behind(home: Path) -> list[Path]:
    return [*home.rglob("*.part"), *home.rglob("*.jsonl")]


async def carried(desk: MortalDesk, script: Script, draw: random.Random) -> None:
    for folder in script.folders.values():
        desk.add(folder.stream, folder.run_id, branch_id=folder.branch_id)
        folder.put_down(desk)
    is_connected = False
    for _ in range(2000):
        left = [f for f in script.folders.values() if not f.is_done or f.artifacts]
        if not left:
            return
        try:
            if not is_connected:
                await desk.connect()
                is_connected = True
            folder = draw.choice(left)
            if folder.artifacts and (folder.is_done or draw.random() < 0.3):
                await folder.log(desk)
            else:
                await folder.push(desk, draw.choice((1, 2, 50)))
        except UpstreamError as error:
            desk.errors.append(error)
        except BaseException as error:
            if not isinstance(cause_of(error), Died):
                raise
            is_connected = False
            await desk.restart()
            for folder in script.folders.values():
                folder.sent = None
    raise AssertionError([str(error) for error in desk.errors[-3:]])


def there(stub: WandbStub, name: str) -> tuple[list[Any], dict[str, Any]]:
    """What `Script.collections` says of one, as W&B has it."""
    kept = stub.artifacts
    contents = {
        found.id: {
            path: kept.blobs[base64.b64decode(said["digest"]).hex()]
            for path, said in found.manifest["contents"].items()
        }
        for found in kept.versions(name)
    }
    aliases = {alias: contents[a.id] for (of, alias), a in kept.aliases.items() if of[2] == name}
    return list(contents.values()), aliases


def kept(lines: list[str | None]) -> dict[int, str]:
    return {number: line for number, line in enumerate(lines) if line is not None}


@settings(
    max_examples=amount(4, long=300), deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    seed=st.integers(0, 2**32),
    deaths=st.dictionaries(st.integers(1, 400), st.booleans(), max_size=12),
    faults=st.sets(st.integers(0, 120), max_size=8),
)
async def test_however_the_daemon_dies_and_w_and_b_fails_each_run_is_there_once(
    tmp_path_factory: pytest.TempPathFactory,
    stub: WandbStub,
    seed: int,
    deaths: dict[int, bool],
    faults: set[int],
) -> None:
    stub.runs.clear()
    stub.artifacts = StubArtifacts(url=stub.url)
    script = family(seed)
    asked = iter(range(100_000))
    stub.fault = lambda _: (
        (503, "lose", "cut", 404)[n % 4] if (n := next(asked)) in faults else None
    )
    home: Path = tmp_path_factory.mktemp("desk")
    async with MortalDesk(stub, home, deaths=Deaths(deaths)) as desk:
        await carried(desk, script, random.Random(seed))
    for run_id, rows in script.rows.items():
        run = stub.run(run_id)
        assert run.rows() == list(rows.values()), run_id
        assert run.exit_code == 0
        assert kept(run.console) == script.console[run_id]
        made_again = MADE_NAMES - {OUTPUT}
        assert {k: v for k, v in run.files.items() if k not in made_again} == script.contents[
            run_id
        ]
    for name, wanted in script.collections().items():
        assert there(stub, name) == wanted, name
    assert not left_behind(home)
