"""A whole kelt on loopback: a server process, a state folder, and scripts that log to it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import httpx

from harness.server_forker import can_be_forked, forker

#: What a loaded machine does not reach either: whoever waits sees what he waits for at once.
DEADLINE_S = 60.0


def eventually(check, *, deadline_s=DEADLINE_S, pause_s=0.05):
    """Calls `check` until it neither raises AssertionError nor returns None or False: its answer."""
    end = time.monotonic() + deadline_s
    while True:
        try:
            result = check()
        except (AssertionError, httpx.HTTPError) as error:
            if time.monotonic() > end:
                raise AssertionError(f"not within {deadline_s} s: {error}") from error
        else:
            is_yet_to_come = result is None or result is False
            if not is_yet_to_come:
                return result
            if time.monotonic() > end:
                raise AssertionError(f"not within {deadline_s} s")
        time.sleep(pause_s)


class ServerProcess:
    """A server's process that keeps its ports and folder over restarts."""

    def __init__(self, folder, *, options=(), environment=None):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.options = list(options)
        self.environment = environment or {}
        self.facts = None
        self.process = None

    def start(self):
        ready = self.folder / "ready.json"
        ready.unlink(missing_ok=True)
        ports = self.facts or {"http_port": 0, "grpc_port": 0}
        arguments = [
            "--dir", str(self.folder), "--ready-file", str(ready), "--port", str(ports["http_port"]),
            "--grpc-port", str(ports["grpc_port"]), *map(str, self.options),
        ]  # fmt: skip
        environment = clean_environment() | self.environment
        path = self.folder / "server.log"
        if can_be_forked(self.environment):
            self.process = forker().start(arguments, environment=environment, log=path)
        else:
            with path.open("ab") as log:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "kelt_server", *arguments],
                    stderr=log, stdout=log, env=environment,
                )  # fmt: skip

        def is_ready():
            assert self.process.poll() is None, (self.folder / "server.log").read_text()[-3000:]
            return json.loads(ready.read_text()) if ready.exists() else None

        self.facts = eventually(is_ready)
        assert self.facts, (self.folder / "server.log").read_text()[-3000:]
        return self

    @property
    def url(self):
        return f"http://127.0.0.1:{self.facts['http_port']}"

    def stop(self, signum=signal.SIGTERM):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signum)
            self.process.wait(60)
        self.process = None


def clean_environment():
    """The test's environment without the user's kelt settings."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("KELT_")}
    return kept | {"KELT_CONFIG": os.devnull, "PYTHONUNBUFFERED": "1"}


class Host:
    """A state folder, as on one machine of one user; what runs there talks to `upstream`."""

    def __init__(self, folder, upstream):
        self.state_dir = Path(folder)
        self.upstream = upstream
        self._started = []

    @property
    def environment(self):
        return clean_environment() | {
            "KELT_DIR": str(self.state_dir),
            "KELT_UPSTREAM": self.upstream,
            "KELT_FINISH_TIMEOUT_S": "60",  # tests read at once what a run has sent
        }

    def start(self, script, *arguments, **environment):
        """Starts a script (text) as a process of its own, its output captured."""
        command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
        return self.start_command(command, **environment)

    def start_command(self, command, **environment):
        """Starts a program as `start` does."""
        process = subprocess.Popen(
            command,
            env=self.environment | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return process

    def run(self, script, *arguments, code=0, **environment):
        """Runs a script to its end and returns (stdout, stderr); its exit code must be `code`."""
        process = self.start(script, *arguments, **environment)
        out, err = process.communicate(timeout=200)
        assert process.returncode == code, f"exit code {process.returncode}\n{out}\n{err}"
        return out, err

    def kelt(self, *arguments, code=0):
        """Runs the command line and returns (stdout, stderr)."""
        process = subprocess.run(
            [sys.executable, "-m", "kelt.cli.main", *map(str, arguments)],
            env=self.environment, capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip
        assert process.returncode == code, (
            f"{process.returncode}\n{process.stdout}\n{process.stderr}"
        )
        return process.stdout, process.stderr

    @property
    def daemon(self):
        """Who the daemon says it is, or None."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            return json.loads((self.state_dir / "daemon.json").read_text())
        return None

    def daemon_alive(self):
        """The daemon's pid where that very process still runs."""
        from kelt.run_folder import pid_start_ticks

        facts = self.daemon
        if facts and pid_start_ticks(facts["pid"]) == facts["pid_start_ticks"]:
            return facts["pid"]
        return None

    def close(self):
        """Ends whatever a test has left behind."""
        for process in self._started:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self.stop_daemon()

    def stop_daemon(self, signum=signal.SIGTERM):
        pid = self.daemon_alive()
        if pid:
            os.kill(pid, signum)
            # Another one may be up at once.
            eventually(lambda: True if self.daemon_alive() != pid else None)


class Reader:
    """The read API by plain HTTP, without kelt's own client."""

    def __init__(self, url):
        self.url = url

    def get(self, path, **params):
        response = httpx.get(f"{self.url}/api/v1{path}", params=params, timeout=60)
        assert response.status_code == 200, response.text
        return json.loads(response.text)

    def run(self, name, project="p", entity="-"):
        return self.get(f"/runs/{entity}/{project}/{name}")

    def history(self, name, project="p", entity="-"):
        """Every row as {"step": …, **values}, floats that JSON cannot hold included."""
        rows, after = [], None
        while True:
            params = {"limit": 5000} | ({"after": after} if after else {})
            page = self.get(f"/runs/{entity}/{project}/{name}/history", **params)
            rows += [{"step": row["step"]} | _plain(row["values"]) for row in page["rows"]]
            after = page["next"]
            if after is None:
                return rows

    def steps(self, name, project="p"):
        return [row["step"] for row in self.history(name, project)]


def _plain(value):
    if isinstance(value, dict):
        if value.keys() == {"$float"}:
            return float(value["$float"])
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value
