"""Planted keys: after a busy time with refusals and a crash none of them is found anywhere."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from harness.daemon_process import eventually
from harness.memory_upstream import MemoryUpstream
from harness.releases import planted_path
from kelt.addresses import has_user, hide_users, without_user
from kelt.errors import SettingsError
from kelt.settings import load_settings
from kelt.sidecar_client import SidecarClient
from kelt.state_dir import StateDir

to_thread = anyio.to_thread.run_sync
CANARY = "canary"  # in every planted key, and in nothing else

TRAINER = """
import sys
import kelt
run = kelt.init("p", id=sys.argv[1], config={"lr": 1}, settings={"finish_timeout_s": 3})
for i in range(50):
    run.log({"i": i})
print(repr(run), repr(run.config), repr(kelt.run))
raise ValueError("training failed")
"""
KEYED = """
import sys
import kelt
from kelt.settings import load_settings
try:
    kelt.init("p", settings={"upstream": "http://user:canary-in-a-setting@127.0.0.1:1"})
except kelt.UsageError as error:
    print(error)
run = kelt.init("p", settings={"api_key": "canary-as-argument", "finish_timeout_s": 1})
run.log({"x": 1})
print(run.settings if hasattr(run, "settings") else "")
run.finish()
"""


class Place:
    """A state folder, and everything that was said about it."""

    def __init__(self, root: Path, upstream: str, config: Path) -> None:
        self.state_dir = StateDir(root)
        self.said: dict[str, str] = {}
        kept = {k: v for k, v in os.environ.items() if not k.startswith("KELT_")}
        self.environ = kept | {
            "KELT_DIR": str(root), "KELT_UPSTREAM": upstream, "KELT_CONFIG": str(config),
            "KELT_PROXY": "http://user:canary-of-the-proxy@127.0.0.1:1",
        }  # fmt: skip

    def run(self, name: str, *arguments: str, **environ: str) -> None:
        done = subprocess.run(
            [sys.executable, *arguments],
            env=self.environ | environ, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        self.said[name] = done.stdout + done.stderr

    def kelt(self, *arguments: str, **environ: str) -> None:
        self.run(" ".join(arguments), "-m", "kelt.cli.main", *arguments, **environ)

    @property
    def daemon_pid(self) -> int:
        return int(json.loads(self.state_dir.daemon_record.read_text())["pid"])

    def look_at_daemon(self, name: str) -> None:
        """What other processes see of it while it lives."""
        for part in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                found = Path(f"/proc/{self.daemon_pid}/{part}").read_bytes()
                self.said[f"{part} of the daemon, {name}"] = found.decode("utf-8", "replace")

    def found(self) -> dict[str, str]:
        """Where a planted key is, with what stands around it."""
        places = dict(self.said)
        for path in self.state_dir.root.rglob("*"):
            if path.is_file():
                places[str(path)] = path.read_bytes().decode("utf-8", "replace")
        return {
            name: text[max(0, text.index(CANARY) - 200) : text.index(CANARY) + 60]
            for name, text in places.items()
            if CANARY in text
        }


@pytest.mark.asyncio
async def test_planted_keys_are_in_no_file_no_output_and_no_process_of_ours(tmp_path):
    config = tmp_path / "config.toml"
    config.write_text('api_key = "canary-of-the-file"\n')
    config.chmod(0o600)
    async with MemoryUpstream(api_key="canary-right") as upstream:
        place = Place(tmp_path / "state", upstream.url, config)
        crash = {"PYTHONPATH": planted_path(), "PLANTED_SECRET": "canary-right"}
        try:
            await to_thread(lambda: place.kelt("daemon", "start"))
            place.look_at_daemon("first")
            await to_thread(
                lambda: place.run("refused", "-c", TRAINER, "r1", KELT_API_KEY="canary-wrong")
            )
            await to_thread(lambda: place.run("keyed", "-c", KEYED))
            with SidecarClient(socket=place.state_dir.socket) as client:
                for key in ("canary-é", "canary\nX-Other: canary", "canary" * 3000, "canary-right"):
                    with contextlib.suppress(Exception):
                        client.hello(
                            upstream=f"http://me:canary-in-hello@{upstream.url[7:]}", api_key=key
                        )
                        client.hello(upstream=upstream.url, api_key=key)
                    await anyio.sleep(0.3)
                    place.said[f"status after {key[:9]!r}"] = str(client.status())
            await to_thread(
                lambda: place.run("accepted", "-c", TRAINER, "r2", KELT_API_KEY="canary-right")
            )
            await eventually(lambda: len(upstream.cursors) >= 2, "runs were sent")
            for command in (
                ("status",), ("status", "--json"), ("doctor",), ("sync",), ("daemon", "status"),
                ("daemon", "logs", "-n", "1000"), ("doctor", "--json"),
            ):  # fmt: skip
                await to_thread(lambda c=command: place.kelt(*c, KELT_API_KEY="canary-wrong-again"))
            await to_thread(
                lambda: place.kelt("doctor", KELT_UPSTREAM="http://u:canary-url@127.0.0.1:1")
            )
            # A second daemon that crashes, in a thread and as it ends, with the key in its errors.
            await to_thread(lambda: place.kelt("daemon", "stop"))
            await to_thread(lambda: place.kelt("daemon", "start", **crash))
            with SidecarClient(socket=place.state_dir.socket) as client:
                client.hello(upstream=upstream.url, api_key="canary-right")
            os.kill(place.daemon_pid, signal.SIGTERM)
            stderr = place.state_dir.logs / "daemon.stderr"
            await eventually(lambda: "at the end, with [hidden]" in stderr.read_text(), "a crash")
            assert "in a thread: http://[hidden]@host/ and [hidden]" in stderr.read_text()
            log = (place.state_dir.logs / "daemon.log").read_text()
            assert "daemon_crashed" in log
        finally:
            with contextlib.suppress(OSError, ValueError):
                os.kill(place.daemon_pid, signal.SIGKILL)
        assert upstream.refusals
        assert "training failed" in place.said["accepted"]
        assert "belongs in KELT_API_KEY" in place.said["keyed"]
        assert place.found() == {}


def test_the_planted_keys_would_be_found(tmp_path):
    place = Place(tmp_path, "http://127.0.0.1:1", tmp_path / "none")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "x").write_bytes(b"\xff" + b"y" * 5000 + b"canary-1")
    place.said["output"] = "a canary-2"
    assert set(place.found()) == {str(tmp_path / "runs" / "x"), "output"}


def test_a_key_file_that_others_can_read_is_refused_with_the_command_that_closes_it(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('api_key = "canary"\n')
    for mode in (0o640, 0o604, 0o620):
        path.chmod(mode)
        with pytest.raises(SettingsError, match=f"others can read it; run: chmod 600 {path}"):
            load_settings({}, {"KELT_CONFIG": str(path)})
    path.chmod(0o600)
    assert load_settings({}, {"KELT_CONFIG": str(path)}).api_key == "canary"


@pytest.mark.parametrize(
    ("address", "plain"),
    [
        ("http://host:1/x", "http://host:1/x"),
        ("http://user:key@host:1/x", "http://host:1/x"),
        ("https://key@host", "https://host"),
        ("http://a@b:c@host", "http://host"),
        ("http://host/?q=a@b", "http://host/?q=a@b"),
        ("http://:@host", "http://host"),
    ],
)
def test_an_address_is_shown_without_what_stands_before_its_host(address, plain):
    assert without_user(address) == plain
    assert has_user(address) == (address != plain)


def test_long_texts_are_cleaned_in_reasonable_time():
    text = "://" * 50_000 + "http://u:k@h" + "@" * 50_000
    # A pattern that goes back and forth would take for ever.
    assert "u:k" not in hide_users(text, hidden="x")
