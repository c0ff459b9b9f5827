"""Who may speak to a daemon: its own user, told by the kernel. Other users are real ones here."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest

from harness.daemon_process import daemon_of
from kelt.door import TOKEN_CHARS, fetch_token
from kelt.errors import DaemonRefusedError
from kelt.state_dir import StateDir, StateDirError, door_of
from kelt_daemon.door import Tokens
from kelt_proto.v1 import sidecar_pb2
from kelt_proto.v1.sidecar_pb2_grpc import SidecarStub

STRANGER = 65534
#: Packages are loaded before, because they may lie where others cannot look.
BECOME_STRANGER = f"""
import encodings.idna, os, socket, sys
import grpc, kelt_proto.v1.sidecar_pb2_grpc
os.setgroups([])
os.setgid({STRANGER})
os.setuid({STRANGER})
"""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")


@pytest.fixture
def daemon(tmp_path):
    with daemon_of(tmp_path / "state") as daemon:
        daemon.start()
        yield daemon


def as_stranger(code: str, *arguments: object) -> str:
    """What a process of another user prints."""
    done = subprocess.run(
        [sys.executable, "-c", f"{BECOME_STRANGER}{code}", *map(str, arguments)],
        capture_output=True, text=True, timeout=60, check=False, cwd="/",
    )  # fmt: skip
    return done.stdout + done.stderr


def open_to_all(path: Path, mode: int = 0o777) -> None:
    """Takes the walls down, so that what is behind them is all that protects."""
    path.chmod(mode)
    for parent in list(path.parents)[:-1]:
        parent.chmod(parent.stat().st_mode | 0o055)


def call(path: Path, *metadata: tuple[str, str]) -> sidecar_pb2.StatusReply:
    with grpc.insecure_channel(f"unix:{path}") as channel:
        stub = SidecarStub(channel)
        return stub.Status(sidecar_pb2.StatusRequest(), timeout=60, metadata=metadata)


def refusal(path: Path, *metadata: tuple[str, str]) -> str:
    with pytest.raises(grpc.RpcError) as raised:
        call(path, *metadata)
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    return raised.value.details()


CONNECT = """
import socket, sys
with socket.socket(socket.AF_UNIX) as s:
    s.settimeout(5)
    try:
        s.connect(sys.argv[1])
        print("connected", s.recv(500).decode())
    except OSError as error:
        print(type(error).__name__)
"""


@needs_root
def test_the_walls_keep_another_user_from_socket_and_door(daemon):
    for path in (daemon.state_dir.socket, daemon.state_dir.door):
        assert as_stranger(CONNECT, path) == "PermissionError\n"


@needs_root
def test_with_the_walls_down_the_door_gives_another_user_no_token(daemon):
    for path in (daemon.state_dir.socket, daemon.state_dir.door):
        open_to_all(path)
    said = as_stranger(CONNECT, daemon.state_dir.door)
    assert f"serves user {os.getuid()}, not {STRANGER}" in said
    assert "kelt-token" not in said
    assert "caller_refused" in daemon.log_text()


@needs_root
def test_with_the_walls_down_another_users_calls_are_refused(daemon):
    open_to_all(daemon.state_dir.socket)
    code = (
        "import sys\nimport grpc\nfrom kelt_proto.v1 import sidecar_pb2\n"
        "from kelt_proto.v1.sidecar_pb2_grpc import SidecarStub\n"
        "channel = grpc.insecure_channel('unix:' + sys.argv[1])\nstub = SidecarStub(channel)\n"
        "try:\n    print(stub.Status(sidecar_pb2.StatusRequest(), timeout=60))\n"
        "except grpc.RpcError as error:\n    print(error.code().name, error.details())\n"
    )
    said = as_stranger(code, daemon.state_dir.socket)
    assert said.startswith("UNAUTHENTICATED The daemon was given no token")


def test_a_token_opens_every_method_and_a_wrong_one_none(daemon):
    path = daemon.state_dir.socket
    token = fetch_token(daemon.state_dir.door)
    assert len(token) == TOKEN_CHARS
    assert token != fetch_token(daemon.state_dir.door)
    assert call(path, ("kelt-token", token)).pid == daemon.process.pid
    for wrong in ("", "x", token[:-1], "0" * TOKEN_CHARS, token[:32] + "0" * 64, token * 2):
        assert "a wrong token" in refusal(path, ("kelt-token", wrong))
    with grpc.insecure_channel(f"unix:{path}") as channel:
        stub, wrong = SidecarStub(channel), (("kelt-token", "0" * TOKEN_CHARS),)
        calls = {
            "Hello": lambda: stub.Hello(sidecar_pb2.SidecarHelloRequest(), metadata=wrong),
            "Append": lambda: list(
                stub.Append(iter([sidecar_pb2.AppendRequest()]), metadata=wrong)
            ),
            "DescribeRun": lambda: stub.DescribeRun(
                sidecar_pb2.SidecarDescribeRequest(), metadata=wrong
            ),
            "Sync": lambda: list(stub.Sync(sidecar_pb2.SyncRequest(), metadata=wrong)),
            "Status": lambda: stub.Status(sidecar_pb2.StatusRequest(), metadata=wrong),
            "Stop": lambda: stub.Stop(sidecar_pb2.StopRequest(), metadata=wrong),
        }
        service = sidecar_pb2.DESCRIPTOR.services_by_name["Sidecar"]
        assert set(calls) == {method.name for method in service.methods}
        for name, ask in calls.items():
            with pytest.raises(grpc.RpcError) as raised:
                ask()
            assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED, name
    assert daemon.process.poll() is None


def test_a_token_is_of_one_daemon_and_clients_ask_the_next_one_by_themselves(daemon):
    with daemon.client() as client:
        first = client.status().pid
        token = fetch_token(daemon.state_dir.door)
        daemon.kill()
        daemon.start()
        assert "a wrong token" in refusal(daemon.state_dir.socket, ("kelt-token", token))
        assert client.status().pid == daemon.process.pid != first


def test_a_caller_without_a_token_is_let_in_only_while_the_folder_is_closed(daemon):
    assert call(daemon.state_dir.socket).pid == daemon.process.pid  # kelt 0.1
    daemon.state_dir.root.chmod(0o750)
    said = refusal(daemon.state_dir.socket)
    assert "no token" in said
    assert f"chmod 700 {daemon.state_dir.root}" in said
    with daemon.client() as client:
        assert client.status().pid == daemon.process.pid
    daemon.state_dir.root.chmod(0o700)
    assert call(daemon.state_dir.socket).pid == daemon.process.pid


@needs_root
def test_somebody_elses_process_behind_the_door_is_given_nothing(tmp_path):
    folder = tmp_path / "planted"
    folder.mkdir()
    open_to_all(folder)
    code = (
        "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\ns.listen()\n"
        "print('ready', flush=True)\nc, _ = s.accept()\nc.sendall(b'kelt-token ' + b'0' * 96)\n"
        "c.close()\n"
    )
    stranger = subprocess.Popen(
        [sys.executable, "-c", BECOME_STRANGER + code, str(folder / "daemon.door")],
        stdout=subprocess.PIPE,
    )
    try:
        assert stranger.stdout.readline() == b"ready\n"
        with pytest.raises(DaemonRefusedError, match=f"a process of user {STRANGER}"):
            fetch_token(folder / "daemon.door")
    finally:
        stranger.kill()
        stranger.wait()
        stranger.stdout.close()


def test_tokens_are_known_again_by_their_key_alone():
    one, other = Tokens(key=b"1" * 32), Tokens(key=b"2" * 32)
    token = one.issue()
    assert Tokens(key=b"1" * 32).is_ours(token)
    assert not other.is_ours(token)
    for wrong in ("", "zz", "é", token.upper() + "0", token[2:], "00" + token):
        assert not one.is_ours(wrong)
    assert one.is_ours(token)


def test_a_slow_or_silent_caller_at_the_door_holds_up_nobody(daemon):
    waiting = []
    for _ in range(50):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(daemon.state_dir.door))
        waiting.append(connection)
    assert len(fetch_token(daemon.state_dir.door)) == TOKEN_CHARS
    for connection in waiting:
        connection.close()


# -- the folder ----------------------------------------------------------------------------------


@pytest.mark.covers(phase="spawn_handover_shutdown", fault="EMFILE/OOM")
def test_a_daemon_out_of_descriptors_lives_and_opens_its_door_again(daemon):
    pid, door = daemon.process.pid, door_of(daemon.state_dir.socket)
    while "daemon_started" not in daemon.log_text():  # the log is open
        time.sleep(0.02)
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (1, limits[1]))
    with socket.socket(socket.AF_UNIX) as waiting:
        waiting.connect(str(door))
        deadline_s = time.monotonic() + 60
        while "door_failed" not in daemon.log_text():
            assert daemon.process.poll() is None, "it ended"
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        waiting.settimeout(20)
        assert waiting.recv(100).startswith(b"kelt-token ")
    assert len(fetch_token(door)) == TOKEN_CHARS


def test_a_daemon_may_open_as_many_files_as_a_thousand_runs_need(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 1024), hard))
    try:
        with daemon_of(tmp_path / "state") as daemon:
            daemon.start()
            allowed, _ = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert allowed == min(hard, 32_768)


@needs_root
def test_a_folder_of_somebody_else_is_refused(tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, STRANGER, STRANGER)
    with pytest.raises(StateDirError, match=f"belongs to user {STRANGER}.*Point KELT_DIR"):
        StateDir(theirs).create()


@needs_root
def test_a_link_in_the_hands_of_somebody_else_is_refused_wherever_it_stands(tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir(mode=0o700)
    link = tmp_path / "link"
    link.symlink_to(mine)
    StateDir(link / "state").create()
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)
    (tmp_path / "second").symlink_to(link / "state")
    for root in (link, link / "state", tmp_path / "second", tmp_path / "x" / ".." / "link" / "y"):
        with pytest.raises(StateDirError, match=f"{link} is a link of user {STRANGER}"):
            StateDir(root).create()


@needs_root
@pytest.mark.parametrize("kind", ["folder", "link"])
def test_a_runtime_folder_planted_by_somebody_else_is_refused(tmp_path, monkeypatch, kind):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    planted = tmp_path / f"kelt-{os.getuid()}"
    if kind == "folder":
        planted.mkdir()
    else:
        (tmp_path / "target").mkdir()
        planted.symlink_to(tmp_path / "target")
    os.chown(planted, STRANGER, STRANGER, follow_symlinks=False)
    root = tmp_path / ("l" * 60) / ("m" * 60)
    with pytest.raises(StateDirError, match=f"of user|user {STRANGER}") as raised:
        StateDir(root).create()
    assert "XDG_RUNTIME_DIR" in str(raised.value)


def test_everything_is_its_owners_alone_under_any_umask(tmp_path):
    code = (
        "import os\nos.umask(0)\nimport kelt\n"
        "for mode in ('online', 'offline'):\n"
        "    run = kelt.init('p', mode=mode, settings={'finish_timeout_s': 60})\n"
        "    run.log({'x': 1})\n    run.finish()\n"
    )
    root = tmp_path / "state"
    environ = {k: v for k, v in os.environ.items() if not k.startswith("KELT_")}
    environ |= {"KELT_DIR": str(root), "KELT_CONFIG": os.devnull}
    environ |= {"KELT_UPSTREAM": "http://127.0.0.1:9", "KELT_SILENT": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, timeout=60, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((root / "daemon.json").read_text())
    try:
        found = {}
        for path in [root, *root.rglob("*")]:
            try:
                status = path.lstat()
            except FileNotFoundError:  # the daemon was just writing it
                continue
            is_open = not path.is_symlink() and status.st_mode & 0o077
            if is_open:
                found[str(path.relative_to(root))] = oct(status.st_mode)
        assert found == {}
        assert (root / "daemon.sock").stat().st_mode & 0o777 == 0o600
        assert (root / "daemon.door").stat().st_mode & 0o777 == 0o600
    finally:
        os.kill(record["pid"], 9)
