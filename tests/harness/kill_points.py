"""One kill at a named point among real processes, what a user would do then, and the oracle.

`harness/injected` plants the kill; this module starts trainer, daemon and server, starts again what
a user would start again, waits until the daemon says that nothing waits, and then compares what
the server shows with the trainer's own record. The comparison knows nothing of kelt's code: it keeps
rows by branch as plain lists.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from harness.stack import Host, Reader, ServerProcess, eventually
from kelt.errors import KeltError
from kelt.launcher import ensure_daemon
from kelt.settings import load_settings
from kelt.sidecar_client import SidecarClient
from kelt_proto.v1 import upstream_pb2, upstream_pb2_grpc

HERE = Path(__file__).parent
INJECTED = HERE / "injected"
TRAINER = HERE / "kill_point_trainer.py"
PARTS = ("base", "fork", "back")
TRAINER_S = 60.0
SETTLE_S = 40.0


def load_points():
    """The table of points, from where the victims load it."""
    sys.path.insert(0, os.fspath(INJECTED))
    try:
        from kill_table import POINTS
    finally:
        sys.path.remove(os.fspath(INJECTED))
    return POINTS


@dataclass(frozen=True)
class Fault:
    """One kill: a point, the occurrence that dies, and a seed for what else is drawn."""

    point: str
    nth: int
    seed: int

    @property
    def text(self):
        return f"{self.point}:{self.nth}:{self.seed}"


def environment_of(fault, folder):
    """What a process needs to be a victim."""
    return {
        "TORTURE_POINT": fault.text,
        "TORTURE_FOLDER": str(folder),
        "PYTHONPATH": os.pathsep.join(
            [os.fspath(INJECTED), *filter(None, [os.environ.get("PYTHONPATH")])]
        ),
    }


@dataclass
class Branch:
    """Rows of a branch as the trainer logged them, and where it left its parent."""

    rows: list = field(default_factory=list)
    parent: str = ""
    fork_step: int = -1


class TrainerRecord:
    """The trainer's own account, read as a model of what must be there."""

    def __init__(self, path):
        self.branches = {}
        self.by_part = {}
        self.told = {}
        self.done = []
        self.died_on = None
        self.repeated = set()
        text = path.read_text() if path.exists() else ""
        for line in text.splitlines():
            kind, *words = line.split()
            getattr(self, f"_{kind}")(*words)

    def _open(self, part, branch_id, writer_id):
        parent, step = "", -1
        if part == "fork":
            parent, step = self.by_part["base"], 199
        elif part == "back":
            parent, step = self.by_part["base"], 99
        self.branches[branch_id] = Branch(parent=parent, fork_step=step)
        self.by_part[part] = branch_id
        self.told.setdefault(writer_id, (0, 0))

    def _row(self, part, step, value):
        self.branches[self.by_part[part]].rows.append((int(step), int(value)))

    def _rewound(self, part, branch_id, step):
        self.branches[branch_id] = Branch(parent=self.by_part[part], fork_step=int(step))
        self.by_part[part] = branch_id

    def _told(self, writer_id, durable, committed):
        before = self.told.get(writer_id, (0, 0))
        self.told[writer_id] = (max(before[0], int(durable)), max(before[1], int(committed)))

    def _done(self, part):
        self.done.append(part)

    def _died(self):
        """Written by the stage, not by the trainer."""
        part = next((p for p in reversed(self.by_part) if p not in self.done), None)
        self.died_on = self.by_part.get(part)
        self.repeated = {p for p in PARTS if p not in self.done}

    def history(self, branch_id):
        """All rows that a reader of the branch must see, in order."""
        branch = self.branches[branch_id]
        before = self.history(branch.parent) if branch.parent else []
        return [row for row in before if row[0] <= branch.fork_step] + branch.rows


class Stage:
    """A host, a project of its own on a server, and one fault."""

    def __init__(self, *, folder, server, fault, project):
        self.folder = Path(folder)
        self.server = server
        self.fault = fault
        self.project = project
        self.victim = load_points()[fault.point].role
        self.host = Host(self.folder / "state", server.url)
        self.record_path = self.folder / "record"
        self.reader = Reader(server.url)

    def run(self):
        """From the first process to the oracle's verdict."""
        try:
            died = self._train(PARTS)
            if died:
                self._after_the_trainers_death()
            self._revive_server()
            self._wait_until_all_is_synced()
            self._require_that_it_fired()
            self._judge()
        finally:
            self.host.close()

    def _train(self, parts):
        """Runs the trainer; true where it was killed."""
        environment = environment_of(self.fault, self.folder) | {"KELT_FINISH_TIMEOUT_S": "10"}
        process = subprocess.Popen(
            [sys.executable, str(TRAINER), str(self.record_path), self.project, *parts],
            env=self.host.environment | environment, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            while process.poll() is None:
                try:
                    process.communicate(timeout=0.1)
                except subprocess.TimeoutExpired:
                    self._revive_server()
                    self._waited_s = getattr(self, "_waited_s", 0.0) + 0.1
                    assert self._waited_s < TRAINER_S, "the trainer hangs"
        finally:
            process.kill()
            _, error = process.communicate()
            self.said = error
        was_killed = self.victim == "trainer" and process.returncode == -9
        assert was_killed or process.returncode == 0, f"{process.returncode}: {error}"
        return was_killed

    def _revive_server(self):
        """As whoever runs it would: started again where it died."""
        if self.server.process.poll() is not None:
            self.server.start()

    def _after_the_trainers_death(self):
        """A user whose fork or rewind died types the same command again; others do not."""
        with self.record_path.open("a") as record:
            record.write("died\n")
        if self.fault.point.startswith(("fork_rewind", "spawn")):
            left = [part for part in PARTS if part not in TrainerRecord(self.record_path).done]
            assert not self._train(left)

    def _wait_until_all_is_synced(self):
        """Uses the daemon that is there, or starts one, as `kelt sync` does."""
        self._synced = {}

        def all_synced():
            environ = self.host.environment | environment_of(self.fault, self.folder)
            saved = dict(os.environ)
            os.environ.update(environ)  # what a daemon that is started here inherits
            try:
                place = ensure_daemon(load_settings({}, environ))
            finally:
                os.environ.clear()
                os.environ.update(saved)
            with SidecarClient(socket=place.socket) as client:
                runs = client.status().runs
            waiting = [
                f"{r.run_id}: {r.state}, {r.committed_records} of {r.durable_records} {r.problem}"
                for r in runs
                if r.state == "running" or r.problem or r.committed_records < r.durable_records
            ]
            left = [p for p in self.host.state_dir.glob("runs/*/spool-*") if p.is_file()]
            assert runs, "the daemon knows no run"
            assert not waiting, waiting
            assert not left, left
            return True

        def unless_it_dies():
            try:
                return all_synced()
            except KeltError as error:  # the daemon is the victim
                raise AssertionError(str(error)) from error

        eventually(unless_it_dies, deadline_s=SETTLE_S)

    def _require_that_it_fired(self):
        mark = self.folder / "killed"
        assert mark.exists(), f"{self.fault.text} was never reached"
        assert json.loads(mark.read_text())["point"] == self.fault.point

    # -- the oracle ------------------------------------------------------------------------------

    def _judge(self):
        record = TrainerRecord(self.record_path)
        for branch_id in record.branches:
            self._judge_branch(record, branch_id)
        for name, part in (("base", "back"), ("fork", "fork")):
            if part in record.done:
                run = self.reader.run(name, project=self.project)
                assert run["immutable_id"] == record.by_part[part]
                assert run["state"] == "finished", run["reason"]
        self._judge_states(record)
        self._judge_cursors(record)

    def _judge_branch(self, record, branch_id):
        shown = self.reader.history(branch_id, project=self.project)
        found = [(row["step"], row["i"]) for row in shown]
        wanted = record.history(branch_id)
        if branch_id == record.died_on and len(found) == len(wanted) + 1:
            # The row in whose log() the trainer died: whole and in its place, or not at all.
            step, value = found.pop()
            assert wanted == [] or (step, value) == (wanted[-1][0] + 1, wanted[-1][1] + 1)
        assert found == wanted, _difference(found, wanted)
        assert [row["x"] for row in shown] == [row["i"] * 0.5 for row in shown]
        run = self.reader.get(f"/branches/{branch_id}")
        assert run["losses"] == []
        # Who types the same command twice makes the name twice, and is told so.
        told = [p for p in run["problems"] if record.repeated and "made or moved the name" in p]
        assert run["problems"] == told
        assert run["rows"] == len(shown)

    def _judge_states(self, record):
        for part, branch_id in record.by_part.items():
            run = self.reader.get(f"/branches/{branch_id}")
            states = [session["state"] for session in run["sessions"]]
            if part in record.done:
                assert run["state"] == "finished", (part, states, run["reason"])
            else:
                assert run["state"] == "crashed", (part, states, run["reason"])
                assert "9" in run["reason"] or "KILL" in run["reason"], run["reason"]
        if "base" in record.done:
            base = self.reader.get(f"/branches/{record.by_part['base']}")
            assert base["config"] == {"lr": 0.1, "width": 8}
        if "fork" in record.done:
            fork = self.reader.run("fork", project=self.project)
            assert fork["config"] == {"lr": 0.2, "width": 8}

    def _judge_cursors(self, record):
        """The server has at least what it was ever said to have."""
        target = f"127.0.0.1:{self.server.facts['grpc_port']}"
        with grpc.insecure_channel(target) as channel:
            stub = upstream_pb2_grpc.UpstreamStub(channel)
            ids = [bytes.fromhex(writer) for writer in record.told]
            reply = stub.Cursors(upstream_pb2.CursorsRequest(writer_ids=ids), timeout=60)
        for cursor in reply.cursors:
            durable, committed = record.told[cursor.writer_id.hex()]
            assert cursor.committed_through >= max(durable, committed)


def _difference(found, wanted):
    """The first place where they part, for a message that can be read."""
    for place, (one, other) in enumerate(zip(found, wanted, strict=False)):
        if one != other:
            return f"at row {place}: found {one}, wanted {other}"
    return f"{len(found)} rows found, {len(wanted)} wanted; ends {found[-2:]} and {wanted[-2:]}"


def stored_twice(server_folder):
    """What lies more than once in a stopped server's store, which its readers would not show."""
    import duckdb

    (path,) = Path(server_folder).glob("*.duckdb")
    with duckdb.connect(str(path), read_only=True) as connection:
        rows = connection.execute(
            "SELECT writer, seq, count(*) FROM rows GROUP BY ALL HAVING count(*) > 1"
        ).fetchall()
        return (
            rows
            + connection.execute(
                "SELECT writer, seq, metric, count(*) FROM "
                "(SELECT * FROM points UNION ALL SELECT * FROM packed) "
                "GROUP BY ALL HAVING count(*) > 1"
            ).fetchall()
        )


def start_server(folder, *, environment=None):
    """A server whose process may be the victim."""
    return ServerProcess(folder, environment=environment or {}).start()
