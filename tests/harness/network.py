"""A trainer, a daemon and a server as processes, with fronts and proxies between the last two.

    daemon → FaultProxy (HTTP) → InfoFront            says where the gRPC is
    daemon → FaultProxy (gRPC) → GrpcFront → server   tells which call is under way

A *phase* is a place on the way; `strike` puts a fault in force the moment that phase is reached.
"""

from __future__ import annotations

import contextlib
import fcntl
import threading
import time
from pathlib import Path

from harness.fault_front import GrpcFront, InfoFront
from harness.fault_proxy import FaultProxy
from harness.quick_daemon import QuickDaemon
from harness.stack import Host, Reader, ServerProcess, eventually

#: Logs until its standard input ends, and then says how many rows it has logged.
TRAINER = """
    import sys, threading, time, kelt
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    run = kelt.init("p", id=sys.argv[1])
    pause_s, count = float(sys.argv[2]), 0
    print("ready", flush=True)
    while not ended.is_set():
        run.log({"i": count, "square": count * count})
        count += 1
        time.sleep(pause_s)
    run.finish()
    print(count, flush=True)
"""

#: Toxics by name; those of streams strike in the middle of a message.
TOXICS = {
    "refuse": {"refuse": True},
    "reset": {"reset": True},
    "blackhole": {"blackhole": True},
    "latency": {"latency_s": 0.15},
    "throttle": {"bytes_per_s": 20_000.0},
    "cut": {"cut_up_after": 40, "cut_down_after": 40},
    "half_close": {"half_close": True},
    "swallow": {"swallow_replies": True},
}
#: Phases by name: the gRPC method, and whether the fault strikes before or after its answer.
_CALLS = {
    "hello request": ("Hello", True),
    "hello reply": ("Hello", False),
    "cursors request": ("Cursors", True),
    "cursors reply": ("Cursors", False),
    "push request": ("Push", True),
    "push reply": ("Push", False),
    "heartbeat request": ("Heartbeat", True),
    "heartbeat reply": ("Heartbeat", False),
}
PHASES = (
    "discovery question", "discovery answer", "connect", *_CALLS, "idle", "trainer starts",
    "trainer finishes", "daemon starts",
)  # fmt: skip
#: The cells of docs/guarantees.md that phases and toxics count for.
PHASE_CELLS = dict.fromkeys(PHASES, "upstream_send") | {
    "push reply": "committed_ack_lost",
    "trainer starts": "spawn_handover_shutdown",
    "trainer finishes": "spawn_handover_shutdown",
    "daemon starts": "recovery",
}
FAULT_CELLS = dict.fromkeys(TOXICS, "reset") | {
    "blackhole": "blackhole",
    "swallow": "blackhole",
    "latency": "slow ack",
    "throttle": "slow ack",
}
#: So that what swallows an answer is soon noticed.
_DEADLINES = {"call_deadline_s": 1.0, "push_deadline_s": 1.5}
_NEEDS_NEW_CONNECTION = ("discovery", "hello", "cursors")


class Trainer:
    """A run that is being logged."""

    def __init__(self, host: Host, reader: Reader, run_id: str, *, pause_s: float = 0.01, **env):
        self.run_id = run_id
        self.reader = reader
        self.process = host.start(TRAINER, run_id, pause_s, **env)
        self.errors = ""

    def await_ready(self):
        assert self.process.stdout.readline() == "ready\n", self.process.stderr.read()
        return self

    def rows_on_server(self) -> int:
        return self.reader.run(self.run_id)["rows"]

    def keeps_arriving(self) -> None:
        """Until the server has rows that were logged after now."""
        reached = eventually(self.rows_on_server) + 50
        eventually(lambda: self.rows_on_server() >= reached or None)
        # With a short lease a machine that stands still for a moment looks like silence.
        assert eventually(lambda: self.reader.run(self.run_id)["state"] == "running")

    def finish(self) -> int:
        """Ends it; returns how many rows it logged, by its own count."""
        out, self.errors = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, self.errors
        return int(out.split()[-1])

    def check_all_arrived(self, count: int) -> None:
        """Each row once, in order, and nothing else."""
        eventually(lambda: self.rows_on_server() >= count or None)
        rows = self.reader.history(self.run_id)
        assert rows == [{"step": i, "i": i, "square": i * i} for i in range(count)]
        run = eventually(
            lambda: (r := self.reader.run(self.run_id))["state"] == "finished" and r or None
        )
        assert (run["lost_rows"], run["problems"], run["losses"]) == (0, [], [])


class Network:
    """All of it; a context manager."""

    def __init__(self, folder: Path, *, options=(), **config) -> None:
        self.folder = folder
        self.options = options
        self.config = _DEADLINES | config
        self._stack = contextlib.ExitStack()
        self._struck = threading.Event()

    def __enter__(self):
        enter = self._stack.enter_context
        self.server = ServerProcess(self.folder / "server", options=self.options)
        self._stack.callback(self.server.stop)
        self.server.start()
        self.front = enter(GrpcFront(target=f"127.0.0.1:{self.server.facts['grpc_port']}"))
        self.grpc = enter(FaultProxy(self.front.port))
        self.info = enter(InfoFront(source=self.server.url, grpc_port=self.grpc.port))
        self.http = enter(FaultProxy(self.info.port))
        self.reader = Reader(self.server.url)
        self.host = Host(self.folder / "state", self.url)
        self._stack.callback(self.host.close)
        self.daemon = self._new_daemon().start()
        self._stack.callback(self._stop_daemon)  # whichever it is then
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.port}"

    def _new_daemon(self) -> QuickDaemon:
        return QuickDaemon(self.host.state_dir, environ=self.host.environment, **self.config)

    def _stop_daemon(self) -> None:
        self.daemon.stop()

    def restart_daemon(self, *, kills: bool = False) -> None:
        """By us, and not by the trainer that misses it, whose daemon would have other times."""
        with (self.host.state_dir / "spawn.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if kills:
                self.daemon.process.kill()
                self.daemon.process.wait()
            else:
                self.daemon.stop()
            self.daemon = self._new_daemon().start()

    def train(self, run_id: str, **options) -> Trainer:
        return Trainer(self.host, self.reader, run_id, **options)

    def strike(self, phase: str, **toxic) -> None:
        """Puts a fault in force once the phase is reached, and returns when it is."""
        struck = self._struck = threading.Event()

        def do() -> None:
            if not struck.is_set():
                struck.set()
                proxy = self.http if phase.startswith("discovery") else self.grpc
                proxy.set(**toxic)

        if phase == "discovery question":
            struck.set()
            self.http.set(**toxic)
        elif phase == "discovery answer":
            self.info.on_question = lambda _: do()
        elif phase in _CALLS:
            method, is_before = _CALLS[phase]
            if is_before:
                self.front.before = lambda name, _: do() if name == method else None
            else:
                self.front.after = lambda name, *_: do() if name == method else None
        else:
            do()
        if phase == "connect":
            self.grpc.sever()
        elif phase.startswith(_NEEDS_NEW_CONNECTION):
            self._sever_until(struck)
        assert struck.wait(60), f"{phase} was not reached"

    def _sever_until(self, struck: threading.Event) -> None:
        """A connection lost between two calls is made again without a question or a Hello."""
        for _ in range(30):
            self.grpc.sever()
            if struck.wait(1):
                return

    def heal(self) -> None:
        self.front.before = self.front.after = self.info.on_question = self.info.answer = None
        self.http.heal()
        self.grpc.heal()

    def flap(self, seconds: float, period_s: float) -> None:
        """Resets connections and lets them come again, over and over."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.grpc.set(reset=True)
            time.sleep(period_s)
            self.grpc.heal()
            time.sleep(period_s)
