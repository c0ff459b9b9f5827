"""Runs logged offline with the real wandb, and sent to kelt's server by `kelt sync`."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.stack import ServerProcess, eventually
from harness.wandb_writer import WandbWriter
from kelt import Api
from kelt.settings import load_settings
from kelt.syncing.early import EarlySending
from kelt.wandb_files.importing import bring_in
from kelt.wandb_files.row_building import BuiltRow

pytest.importorskip("wandb")

PLAIN = """
    import wandb
    with wandb.init(project="p", id=ARGS[0], config={"lr": 0.1, "net": {"depth": 3}}) as run:
        wandb.define_metric("acc", summary="max")
        wandb.define_metric("val/*", step_metric="epoch")
        for i in range(int(ARGS[1])):
            run.log({"loss": 1 / (i + 1), "acc": i % 7, "nan": float("nan"), "text": f"row {i}",
                     "val/x": {"y": i}, "epoch": i // 10})
        artifact = wandb.Artifact("of-" + ARGS[0], "dataset", metadata={"k": 1})
        with artifact.new_file("a.txt") as file:
            file.write("a")
        run.log_artifact(artifact, aliases=["best"])
        run.summary["by_hand"] = 42
        run.config.update({"late": True})
"""
GOES_ON = """
    import wandb
    with wandb.init(project="p", **eval(ARGS[0])) as run:
        for i in range(int(ARGS[1])):
            run.log({"again": i})
"""
KILLED = """
    import os, signal, sys, wandb
    run = wandb.init(project="p", id="killed",
                     settings=wandb.Settings(x_transaction_log_flush_interval=0.2))
    for i in range(5000):
        run.log({"i": i})
    sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGKILL)
"""


GOING_ON = """
    import sys, wandb
    settings = wandb.Settings(x_transaction_log_flush_interval=0.2)
    with wandb.init(project="p", id="goes-on", settings=settings) as run:
        for i in range(300):
            run.log({"i": i})
        print("half", flush=True)
        sys.stdin.readline()
        for i in range(300, 600):
            run.log({"i": i})
"""

#: Logs to a server, as an online run does, whose folder is then synced to another one.
ONLINE = """
    import os, sys, time
    os.environ |= {"WANDB_MODE": "online", "WANDB_BASE_URL": ARGS[0], "WANDB_API_KEY": "k" * 40,
                   "WANDB_CONSOLE": "wrap"}
    import wandb
    settings = wandb.Settings(x_stats_sampling_interval=0.5)
    with wandb.init(project="p", id="online", settings=settings) as run:
        print("one")
        for i in range(20):
            print(f"\\r{i} of 20", end="", flush=True)
            run.log({"i": i})
        run.log({"page": wandb.Html("<p>media</p>")})
        print("\\nlast", file=sys.stderr)
        time.sleep(1.2)
"""


class WandbHome:
    """A folder in which wandb runs offline."""

    def __init__(self, folder):
        self.folder = folder
        self._started = []
        folder.mkdir()

    def start(self, script, *arguments):
        text = f"ARGS = {list(map(str, arguments))!r}\n" + textwrap.dedent(script)
        kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
        environment = kept | {
            "HOME": str(self.folder), "WANDB_DIR": str(self.folder), "WANDB_MODE": "offline",
            "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false",
        }  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-c", text], env=environment, cwd=self.folder, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._started.append(process)
        return process

    def run(self, script, *arguments, code=0):
        process = self.start(script, *arguments)
        process.communicate(timeout=90)
        assert process.returncode == code

    def close(self):
        for process in self._started:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()

    @property
    def root(self):
        return self.folder / "wandb"

    def file(self, run_id):
        paths = list(self.root.glob(f"offline-run-*-{run_id}/run-{run_id}.wandb"))
        assert len(paths) == 1, paths
        return paths[0]


@pytest.fixture
def wandb_home(tmp_path):
    home = WandbHome(tmp_path / "wandb-home")
    yield home
    home.close()


def logged(number):
    for i in range(number):
        row = {"loss": 1 / (i + 1), "acc": i % 7, "nan": math.nan, "text": f"row {i}"}
        yield row | {"val/x.y": i, "epoch": i // 10}


def history(server, name):
    run = Api(server.url).run(f"p/{name}")
    own = ("_step", "_timestamp", "_runtime")
    return [
        (row["_step"], {key: value for key, value in row.items() if key not in own})
        for row in run.scan_history()
    ]


def assert_same(found, wanted):
    wanted = list(enumerate(wanted))
    assert [step for step, _ in found] == [step for step, _ in wanted]
    for (_, values), (_, row) in zip(found, wanted, strict=True):
        assert {k: v for k, v in values.items() if k != "nan"} == {
            k: v for k, v in row.items() if k != "nan"
        }
        assert math.isnan(values["nan"])


def test_every_row_of_an_offline_run_arrives_once_however_often_it_is_synced(
    wandb_home, host, other_host, server, reader
):
    wandb_home.run(PLAIN, "plain", 2000)
    before = {p: p.read_bytes() for p in wandb_home.root.rglob("*") if p.is_file()}
    out, _ = host.kelt("sync", "--dry-run", wandb_home.root)
    assert "(2,000 rows), 0 skipped" in out
    out, _ = host.kelt("sync", wandb_home.root)
    assert "Synced 1 run: sent" in out
    assert "(2,000 rows)" in out
    assert_same(history(server, "plain"), logged(2000))
    run = reader.run("plain")
    assert run["state"] == "finished"
    assert run["config"] == {"lr": 0.1, "net": {"depth": 3}, "late": True}
    assert run["summary"]["by_hand"] == 42
    assert run["summary"]["acc"] == 6
    assert run["losses"] == []
    logged_artifacts = reader.get("/runs/-/p/plain/artifacts")["logged"]
    (artifact,) = logged_artifacts
    assert (artifact["name"], artifact["version"]) == ("of-plain", "v0")
    assert (artifact["aliases"], artifact["metadata"]) == (["best", "latest"], {"k": 1})
    # Again, by the file's own name, and from another machine.
    out, _ = host.kelt("sync", wandb_home.file("plain"))
    assert "sent 0 records" in out
    shutil.copytree(wandb_home.root, other_host.state_dir.parent / "copied", symlinks=True)
    other_host.kelt("sync", other_host.state_dir.parent / "copied")
    assert_same(history(server, "plain"), logged(2000))
    assert len(reader.run("plain")["sessions"]) == 1
    assert reader.get("/runs/-/p/plain/artifacts")["logged"] == logged_artifacts
    assert before == {p: p.read_bytes() for p in wandb_home.root.rglob("*") if p.is_file()}


@pytest.fixture
def second(tmp_path):
    process = ServerProcess(tmp_path / "second")
    process.start()
    yield process
    process.stop()


def test_the_folder_of_an_online_run_is_carried_with_console_system_metrics_and_files(
    wandb_home, host, server, second, tmp_path
):
    wandb_home.run(ONLINE, server.url)
    (folder,) = wandb_home.root.glob("run-*-online")
    # A file of two pieces, which is a link, as `run.save` makes them.
    (tmp_path / "weights").write_bytes(bytes(range(256)) * 5000)
    (folder / "files" / "saved").symlink_to(tmp_path / "weights")
    out, _ = host.kelt("sync", "--upstream", second.url, folder)
    assert "Synced 1 run" in out
    assert "not carried" not in out
    there, here = Api(server.url).run("p/online"), Api(second.url).run("p/online")
    for _ in range(2):
        lines = [(line.number, line.content, line.level) for line in here.console_logs()]
        assert lines == [
            (n, line.content, line.level) for n, line in enumerate(there.console_logs())
        ]
        assert [text for _, text, _ in lines] == ["one", "19 of 20", "", "last"]
        samples, sent = (run.history(stream="system", pandas=False) for run in (here, there))
        assert len(samples) >= 2
        for found, wanted in zip(samples, sent, strict=True):
            assert found == pytest.approx(wanted)
        assert len(list(here.scan_history())) == 21
        again, _ = host.kelt("sync", "--upstream", second.url, folder)
        assert "sent 0 records" in again
    for path in (p for p in (folder / "files").rglob("*") if p.is_file()):
        (found,) = (f for f in here.files() if f.name == str(path.relative_to(folder / "files")))
        assert found.download(tmp_path / "fetched").read_bytes() == path.read_bytes()
    assert any(found.name.startswith("media/html/") for found in here.files())
    (tmp_path / "weights").write_bytes(b"other")
    host.kelt("sync", "--upstream", second.url, folder)
    (saved,) = (found for found in here.files() if found.name == "saved")
    assert saved.download(tmp_path / "fetched", replace=True).read_bytes() == b"other"


def test_forks_rewinds_and_resumed_segments_hang_together(wandb_home, host, server, reader):
    wandb_home.run(PLAIN, "base", 10)
    wandb_home.run(GOES_ON, {"id": "fork", "fork_from": "base?_step=3"}, 4)
    wandb_home.run(GOES_ON, {"id": "base", "resume": "allow"}, 5)
    wandb_home.run(GOES_ON, {"resume_from": "base?_step=11"}, 3)
    host.kelt("sync", wandb_home.root)
    fork = history(server, "fork")
    assert_same(fork[:4], list(logged(10))[:4])
    assert fork[4:] == [(4 + i, {"again": i}) for i in range(4)]
    base = history(server, "base")
    assert_same(base[:10], logged(10))
    # The resumed segment was written from 0 and goes on behind; the rewind leaves it at 11.
    assert base[10:12] == [(10, {"again": 0}), (11, {"again": 1})]
    assert base[12:] == [(12 + i, {"again": i}) for i in range(3)]
    assert reader.run("base")["kind"] == "rewound"


def test_a_killed_run_keeps_what_reached_the_disk_and_says_how_it_ended(
    wandb_home, host, server, reader
):
    trainer = wandb_home.start(KILLED)
    path = eventually(lambda: wandb_home.file("killed"))
    eventually(lambda: rows_on_disk(host, path) > 1000)
    trainer.communicate("\n", timeout=60)
    assert trainer.returncode == -signal.SIGKILL
    eventually(lambda: not _is_open(path))
    host.kelt("sync", path)
    rows = history(server, "killed")
    assert rows == [(i, {"i": i}) for i in range(len(rows))]
    assert len(rows) > 1000
    run = reader.run("killed")
    assert run["state"] == "crashed"
    assert "without an exit" in run["reason"]
    assert run["losses"] == []


def test_a_run_that_goes_on_is_followed_to_its_end(wandb_home, host, server, reader):
    trainer = wandb_home.start(GOING_ON)
    assert trainer.stdout.readline() == "half\n"
    path = wandb_home.file("goes-on")
    eventually(lambda: rows_on_disk(host, path) >= 300)
    with ThreadPoolExecutor() as pool:
        following = pool.submit(host.kelt, "sync", "--live", path)
        assert eventually(lambda: reader.run("goes-on")["rows"] == 300)
        assert reader.run("goes-on")["state"] == "running"
        trainer.communicate("go on\n", timeout=60)
        out, _ = following.result(60)
    assert "Synced 1 run: sent" in out
    assert "(600 rows)" in out
    assert history(server, "goes-on") == [(i, {"i": i}) for i in range(600)]
    assert reader.run("goes-on")["state"] == "finished"


def rows_on_disk(host, path):
    out, _ = host.kelt("sync", "--dry-run", "--json", path)
    return json.loads(out.splitlines()[0])["rows"]


def _is_open(path):
    from kelt.wandb_files.finding import is_being_written

    return is_being_written(path)


def test_a_file_that_grows_continues_and_says_in_the_end_how_it_ended(
    tmp_path, host, server, reader
):
    path = tmp_path / "run-r1.wandb"
    with path.open("wb") as out:
        writer = WandbWriter(out)
        writer.begin()
        ends = [writer.row(step, {"x": step})[1] for step in range(500)]
        writer.end()
    whole = path.read_bytes()
    for rows, cut in ((200, ends[199] + 9), (350, ends[349]), (500, len(whole))):
        path.write_bytes(whole[:cut])
        host.kelt("sync", path)
        assert history(server, "r1") == [(step, {"x": step}) for step in range(rows)]
        run = reader.run("r1")
        assert run["state"] == ("finished" if rows == 500 else "crashed")
        assert len(run["sessions"]) == 1
        assert run["losses"] == []


class _AbortedError(Exception):
    """As if the command had been killed."""


def test_a_large_file_is_sent_while_it_is_read_and_from_where_a_killed_command_left_it(
    tmp_path, host, server, reader
):
    path = tmp_path / "run-r1.wandb"
    with path.open("wb") as out:
        writer = WandbWriter(out)
        writer.begin()
        for step in range(9000):
            writer.row(step, {"x": step, "text": "t" * 700})
        writer.end()
    chosen = load_settings({}, host.environment)
    early = EarlySending(settings=chosen, upstream="")
    seen = 0

    def gate(_, record):
        nonlocal seen
        seen += isinstance(record, BuiltRow)
        if seen == 8000:
            # Nothing more is read until what was read before is at the server.
            assert eventually(lambda: reader.run("r1")["rows"] >= 2000 or None)
            assert reader.run("r1")["state"] == "running"
            assert eventually(lambda: early.had or None) == {str(folders[0].resolve()): 0}
            raise _AbortedError

    folders = []
    with pytest.raises(_AbortedError):
        bring_in(
            path, state_dir=chosen.state_dir, upstream=server.url, observe=gate,
            on_begun=lambda folder: (folders.append(folder), early.begin(folder)),
        )  # fmt: skip
    assert early.close()
    assert not early.close()
    assert len(folders) == 1
    out, _ = host.kelt("sync", "--yes", path)
    assert "Synced 1 run: sent" in out
    assert [step for step, _ in history(server, "r1")] == list(range(9000))
    run = reader.run("r1")
    assert (run["state"], run["losses"], len(run["sessions"])) == ("finished", [], 1)
    out, _ = host.kelt("sync", "--yes", path)
    assert "sent 0 records" in out


def test_a_damaged_file_costs_what_was_damaged_and_the_run_shows_it(
    tmp_path, host, other_host, server, reader
):
    path = tmp_path / "run-r1.wandb"
    with path.open("wb") as out:
        writer = WandbWriter(out)
        writer.begin()
        places = [writer.row(step, {"x": step}) for step in range(500)]
        writer.end()
    whole = path.read_bytes()
    harmed = bytearray(whole)
    harmed[places[250][0] + 12] ^= 0xFF
    path.write_bytes(harmed)
    out, _ = host.kelt("sync", path)
    assert "1 row lost" in out
    wanted = [(step, {"x": step}) for step in range(500) if step != 250]
    assert history(server, "r1") == wanted
    run = reader.run("r1")
    assert run["lost_rows"] == 1
    assert "of the W&B file were damaged" in run["losses"][0]["reason"]
    # What an intact copy has is known by its numbers, and comes no second time.
    path.write_bytes(whole)
    other_host.kelt("sync", path)
    assert history(server, "r1") == wanted
    assert len(reader.run("r1")["sessions"]) == 1


def test_two_syncs_at_once_send_it_once(wandb_home, host, server):
    wandb_home.run(PLAIN, "twice", 300)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: host.kelt("sync", wandb_home.root), range(2)))
    assert_same(history(server, "twice"), logged(300))


def test_what_is_no_wandb_file_fails_by_name_and_the_others_are_sent(tmp_path, host, server):
    good, bad = tmp_path / "w" / "run-r1.wandb", tmp_path / "w" / "run-bad.wandb"
    good.parent.mkdir()
    with good.open("wb") as out:
        writer = WandbWriter(out)
        writer.begin()
        writer.row(0, {"x": 1})
        writer.end()
    bad.write_bytes(b"PK\x03\x04 not theirs")
    out, _ = host.kelt("sync", "--json", tmp_path / "w", code=1)
    lines = [json.loads(line) for line in out.splitlines()]
    errors = {line["path"]: line["error"] for line in lines[:-1]}
    assert "does not begin as a .wandb file" in errors[str(bad)]
    assert errors[str(good)] == ""
    assert history(server, "r1") == [(0, {"x": 1})]
    host.kelt("sync", bad, code=1)
