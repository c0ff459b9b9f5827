"""`kelt export` of real runs, read by what people read such files with, and by the real `wandb sync`."""

import contextlib
import json
import math
import os
import subprocess
import sys

import psutil
import pyarrow.parquet as pq
import pytest

from harness.stack import Host, ServerProcess, eventually
from harness.wandb_writer import WandbWriter
from kelt import Api

pytest.importorskip("wandb")

LOGGED = """
    import kelt, math
    with kelt.init("p", id="base", config={"lr": 0.1, "net": {"w": [1, 2.5, None]}, "s": "ü"},
                   tags=["a", "b"], notes="a note\\nmore", group="g", job_type="train",
                   name="Nice") as run:
        kelt.define_metric("acc", summary="max")
        kelt.define_metric("loss", summary="best", goal="minimize")
        kelt.define_metric("val/*", step_metric="epoch")
        for i in range(200):
            row = {"acc": i % 7, "loss": 1 / (i + 3), "nan": math.nan, "inf": -math.inf,
                   "text": f'row "{i}",\\n', "none": None, "bool": i % 2 == 0, "list": [1, "x"],
                   "long": 2**63 - 1, "n": {"x": {"y": i}}, "mixed": i if i % 2 else "s"}
            run.log(row | ({"rare": i} if i % 10 == 0 else {}) | ({"big": "z" * 40_000} if i == 3 else {}))
        run.summary["by_hand"] = 7
        run.rewind(149)
        run.log({"acc": 100, "epoch": 1, "val/x": 1.5})
    with kelt.init("p", id="fork", fork_from="base?_step=20") as run:
        run.log({"acc": -1})
    try:
        with kelt.init("p", id="bad") as run:
            run.log({"x": 1})
            raise RuntimeError("boom")
    except RuntimeError:
        pass
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    server = ServerProcess(folder / "server").start()
    host = Host(folder / "state", server.url)
    host.run(LOGGED)
    write_full_run(folder / "offline-run-full")
    host.kelt("sync", folder / "offline-run-full")
    yield host
    host.close()
    server.stop()


def write_full_run(folder):
    """A run of W&B's with what kelt's own runs cannot be made to have quickly."""
    media = folder / "files" / "media" / "images"
    media.mkdir(parents=True)
    (media / "a_0.png").write_bytes(bytes(range(256)))
    (folder / "files" / "notes ü.txt").write_text("a note")
    with (folder / "run-full.wandb").open("wb") as file:
        writer = WandbWriter(file)
        writer.begin("full")
        image = {"_type": "image-file", "path": "media/images/a_0.png", "size": 256}
        for step in range(3):
            writer.row(step, {"a": step, "im": image})
            at = {"seconds": 1_700_000_000 + step, "nanos": 250_000_000}
            for kind, name in enumerate(("err", "out")):
                line = f"{name} \x1b[31m{step}\x1b[0m\n" + ("\n" if kind and step == 1 else "")
                writer.add(output_raw={"output_type": kind, "timestamp": at, "line": line})
            items = [{"key": "gpu.0.temp", "value_json": str(step + 0.5)}]
            writer.add(stats={"timestamp": at, "item": items})
        writer.end()


def rows_of(host, path):
    with Api(host.upstream) as api:
        return list(api.run(path).scan_history())


def same(one, other):
    """Whether rows are equal, NaN to NaN, and True to no 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def test_json_lines_hold_every_row_as_it_was_logged(host, tmp_path):
    out, _ = host.kelt("export", "p/base", "p/fork", "-f", "jsonl", "-o", tmp_path)
    assert f"local/p/base: 151 rows in {tmp_path / 'p-base'}" in out
    for name in ("base", "fork"):
        lines = (tmp_path / f"p-{name}" / "history.jsonl").read_text().splitlines()
        assert same([json.loads(line) for line in lines], rows_of(host, f"p/{name}"))
    facts = json.loads((tmp_path / "p-fork" / "run-facts.json").read_text())
    assert (facts["state"], facts["config"]["lr"]) == ("finished", 0.1)
    assert (facts["lineage"][0]["run_id"], facts["lineage"][0]["fork_step"]) == ("base", 20)


def test_a_parquet_file_is_typed_tells_missing_from_nan_and_knows_its_run(host, tmp_path):
    host.kelt("export", "p/base", "-f", "parquet", "-o", tmp_path / "x.parquet")
    table = pq.read_table(tmp_path / "x.parquet")
    types = {field.name: str(field.type) for field in table.schema}
    assert (types["acc"], types["loss"], types["bool"]) == ("int64", "double", "bool")
    assert (types["text"], types["list"], types["mixed"]) == ("string",) * 3
    assert table.schema.field("mixed").metadata == {b"kelt": b"json"}
    for found, row in zip(table.to_pylist(), rows_of(host, "p/base"), strict=True):
        for name, value in found.items():
            encoded = table.schema.field(name).metadata
            assert same(json.loads(value) if encoded and value else value, row.get(name))
    assert table["rare"].null_count == 151 - 15
    assert math.isnan(table["nan"][0].as_py())
    about = json.loads(table.schema.metadata[b"kelt"])
    assert (about["config"]["lr"], about["state"], about["tags"]) == (0.1, "finished", ["a", "b"])


def test_pandas_reads_the_csv(host, tmp_path):
    import pandas as pd

    target = tmp_path / "x.csv"
    host.kelt("export", "p/base", "-f", "csv", "-o", target, "--key", "acc", "--key", "text")
    frame = pd.read_csv(target)
    assert list(frame.columns) == ["_step", "_timestamp", "_runtime", "acc", "text"]
    rows = rows_of(host, "p/base")
    assert frame["acc"].tolist() == [row["acc"] for row in rows]
    assert frame["_timestamp"].tolist() == [row["_timestamp"] for row in rows]
    assert frame["text"].tolist()[:150] == [row["text"] for row in rows[:150]]


def test_metrics_that_were_asked_for_are_in_a_parquet_file_with_their_rows_alone(host, tmp_path):
    target = tmp_path / "x.parquet"
    host.kelt("export", "p/base", "-f", "parquet", "-o", target, "--key", "rare", "--key", "none")
    table = pq.read_table(target)
    assert table.column_names == ["_step", "_timestamp", "_runtime", "rare", "none"]
    wanted = [row["_step"] for row in rows_of(host, "p/base") if {"rare", "none"} & row.keys()]
    assert table["_step"].to_pylist() == wanted


def test_what_else_a_run_has_lies_beside_its_rows(host, tmp_path):
    host.kelt(
        "export", "p/full", "-f", "parquet", "-o", tmp_path, "--files", "--console", "--system"
    )
    folder = tmp_path / "p-full"
    assert pq.read_table(folder / "system.parquet").to_pydict() == {
        "_timestamp": [1_700_000_000.25, 1_700_000_001.25, 1_700_000_002.25],
        "_runtime": pytest.approx([0.25, 1.25, 2.25]),
        "system.gpu.0.temp": [0.5, 1.5, 2.5],
    }
    lines = [json.loads(line) for line in (folder / "console.jsonl").read_text().splitlines()]
    assert [line["number"] for line in lines] == list(range(7))
    assert (lines[0]["stream"], lines[0]["text"]) == ("stderr", "err \x1b[31m0\x1b[0m")
    assert lines[0]["timestamp"] == 1_700_000_000.25
    assert (folder / "files" / "notes ü.txt").read_text() == "a note"
    assert (folder / "files" / "media" / "images" / "a_0.png").read_bytes() == bytes(range(256))


def test_an_interrupted_export_of_all_goes_on_and_leaves_what_is_there(host, tmp_path):
    (tmp_path / "p-bad").mkdir()
    (tmp_path / "p-bad" / "mine").touch()
    out, err = host.kelt("export", "p", "-f", "csv", "-o", tmp_path, code=1)
    assert "is there already; --force" in out
    assert "1 of 4 runs could not be exported" in err
    names = {f"p-{name}" for name in ("base", "fork", "bad", "full")}
    assert {path.name for path in tmp_path.iterdir()} == names
    arguments = ("-f", "csv", "-o", tmp_path)
    out, _ = host.kelt("export", "--all", *arguments, "--skip-existing", code=1)
    assert out.count("there already in") == 3
    assert "is no export of this run" in out
    out, _ = host.kelt("export", "bad", "--project", "p", *arguments, "--force", "--json")
    assert json.loads(out)["rows"] == 1


OFFLINE = """
    import kelt
    with kelt.init("p", id="own", mode="offline", config={"lr": 0.1}) as run:
        for i in range(30):
            run.log({"a": i})
        run.rewind(24)
        run.log({"a": -1})
    with kelt.init("p", id="child", mode="offline", fork_from="own?_step=19") as run:
        run.log({"a": -2})
"""


def test_runs_on_the_disk_are_exported_with_what_they_inherit_and_stay_as_they_are(
    host, tmp_path_factory, tmp_path
):
    alone = Host(tmp_path_factory.mktemp("alone") / "state", "http://127.0.0.1:9")
    alone.run(OFFLINE)
    write_full_run(tmp_path / "offline-run-full")
    before = {path: path.read_bytes() for path in alone.state_dir.rglob("*") if path.is_file()}
    (child,) = alone.state_dir.glob("runs/*-child-*")
    out, _ = alone.kelt(
        "export", child, tmp_path / "offline-run-full", "-f", "jsonl", "-o", tmp_path / "out",
        "--files",
    )  # fmt: skip
    assert out.count("rows in") == 2
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"p-child", "p-full"}
    lines = (tmp_path / "out" / "p-child" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["a"] for line in lines] == [*range(20), -2]
    image = tmp_path / "out" / "p-full" / "files" / "media" / "images" / "a_0.png"
    assert image.read_bytes() == bytes(range(256))
    assert before == {p: p.read_bytes() for p in alone.state_dir.rglob("*") if p.is_file()}

    killed = tmp_path / "killed"
    command = [sys.executable, "-m", "kelt.cli.main", "export", child, "-f", "csv", "-o", killed]
    export = alone.start_command(command)
    assert eventually(
        lambda: [*killed.glob(".kelt-export-*/state/daemon.json")] or None, pause_s=0.002
    )
    export.kill()
    export.wait()
    eventually(lambda: None if [*killed.glob(".*")] or running_in(killed) else True)
    assert (running_in(killed), [*killed.glob(".*")]) == ([], [])
    alone.close()


def running_in(folder):
    """The command lines that name something in a folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            found += [process.cmdline()] if str(folder) in " ".join(process.cmdline()) else []
    return found


def test_what_cannot_be_is_refused_with_the_reason(host, tmp_path):
    for arguments, code, said in (
        (("p/none", "-f", "csv"), 1, "knows no run 'p/none'"),
        (("p", "-f", "csv", "-o", "x.csv"), 2, "do not go into one file"),
    ):
        _, err = host.kelt("export", *arguments, code=code)
        assert said in err


@pytest.fixture(scope="module")
def copied(host, tmp_path_factory):
    """What the real `wandb sync` makes of exported folders, under another name on the server."""
    home = tmp_path_factory.mktemp("wandb")
    host.kelt("export", "p", "-f", "wandb", "-o", home / "wandb", "--branch-point")
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    environment = kept | {
        "HOME": str(home), "WANDB_BASE_URL": host.upstream, "WANDB_API_KEY": "k" * 40,
        "WANDB_ERROR_REPORTING": "false",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "sync",
         "-e", "copied", "-p", "q", *sorted((home / "wandb").iterdir())],
        env=environment, cwd=home, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    with Api(host.upstream) as api:
        yield lambda name: api.run(f"copied/q/{name}")


@pytest.fixture(scope="module")
def synced(host, tmp_path_factory):
    """What `kelt sync` makes of exported folders, on another server."""
    folder = tmp_path_factory.mktemp("synced")
    host.kelt("export", "p", "-f", "wandb", "-o", folder / "wandb")
    server = ServerProcess(folder / "server").start()
    host.kelt("sync", "--upstream", server.url, folder / "wandb")
    with Api(server.url) as api:
        yield lambda name: api.run(f"p/{name}")
    server.stop()


@pytest.fixture(params=["copied", "synced"])
def copy(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("name", ["base", "fork", "bad", "full"])
def test_an_exported_run_is_taken_whole_by_the_real_wandb_sync_and_by_kelt_sync(host, copy, name):
    with Api(host.upstream) as api:
        original, found_run = api.run(f"p/{name}"), copy(name)
        for wanted, found in zip(original.scan_history(), found_run.scan_history(), strict=True):
            assert wanted.keys() == found.keys()
            for key, value in wanted.items():  # W&B's client makes 1.0 an integer
                assert found[key] == value or same(found[key], value)
                assert (type(found[key]) is bool) == (type(value) is bool)
        assert found_run.config == original.config
        assert same(found_run.summary, original.summary)
        for fact in ("name", "notes", "group", "job_type", "tags", "host", "state", "lost_rows"):
            assert getattr(found_run, fact) == getattr(original, fact), fact
        defined = {
            d["name"]: (d["summary"] or "last", d["step_metric"])
            for d in found_run.raw["definitions"]
        }
        for item in original.raw["definitions"]:
            summary = item["summary"].replace("best", "min")
            assert defined[item["name"]] == (summary, item["step_metric"])


def test_console_samples_and_files_arrive_with_it(host, copy):
    def console(run):  # W&B's client leaves empty lines out
        return [(line.level, line.content) for line in run.console_logs() if line.content]

    def contents(run):
        return {file.path: b"".join(run.connection.content(file.route)) for file in run.files()}

    with Api(host.upstream) as api:
        original, found = api.run("p/full"), copy("full")
        assert console(found) == console(original)
        samples = original.history(stream="system", pandas=False)
        assert len(samples) == 3
        for sample, wanted in zip(
            found.history(stream="system", pandas=False), samples, strict=True
        ):
            assert sample == pytest.approx(wanted)
        files = contents(found)
        assert contents(original).items() <= files.items()
        assert files["output.log"].decode().count("out \x1b[31m") == 3


def test_a_fork_leaves_its_parent_there_too_if_that_was_asked_for(copied, synced):
    fork, whole = copied("fork"), synced("fork")
    assert (fork.kind, fork.lineage[0].run_id, fork.lineage[0].fork_step) == ("forked", "base", 20)
    assert (whole.kind, whole.lineage) == ("created", [])
