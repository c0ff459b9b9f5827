"""`kelt export` of real runs, read by what people read such files with, and by the real `wandb sync`."""

import json
import math
import os
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from harness.stack import Host, ServerProcess
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
    yield host
    host.close()
    server.stop()


def rows_of(host, path):
    with Api(host.upstream) as api:
        return list(api.run(path).scan_history())


def same(one, other):
    """Whether rows are equal, NaN to NaN, and True to no 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def test_json_lines_hold_every_row_as_it_was_logged(host, tmp_path):
    out, _ = host.kelt("export", "p/base", "p/fork", "-f", "jsonl", "-o", tmp_path)
    assert f"local/p/base: 151 rows in {tmp_path / 'p-base.jsonl'}" in out
    for name in ("base", "fork"):
        lines = (tmp_path / f"p-{name}.jsonl").read_text().splitlines()
        assert same([json.loads(line) for line in lines], rows_of(host, f"p/{name}"))


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

    host.kelt("export", "p/base", "-f", "csv", "-o", tmp_path, "--key", "acc", "--key", "text")
    frame = pd.read_csv(tmp_path / "p-base.csv")
    assert list(frame.columns) == ["_step", "_timestamp", "_runtime", "acc", "text"]
    rows = rows_of(host, "p/base")
    assert frame["acc"].tolist() == [row["acc"] for row in rows]
    assert frame["_timestamp"].tolist() == [row["_timestamp"] for row in rows]
    assert frame["text"].tolist()[:150] == [row["text"] for row in rows[:150]]


def test_a_project_whole_and_what_is_there_stays_without_force(host, tmp_path):
    (tmp_path / "p-bad.csv").write_text("mine")
    out, err = host.kelt("export", "--project", "p", "-f", "csv", "-o", tmp_path, code=1)
    assert "is there already; --force" in out
    assert "1 of 3 runs could not be exported" in err
    assert {path.name for path in tmp_path.iterdir()} == {
        f"p-{n}.csv" for n in ("base", "fork", "bad")
    }
    assert (tmp_path / "p-bad.csv").read_text() == "mine"
    out, _ = host.kelt(
        "export", "bad", "--project", "p", "-f", "csv", "-o", tmp_path, "--force", "--json"
    )
    assert json.loads(out)["rows"] == 1
    assert (tmp_path / "p-bad.csv").read_text() != "mine"


def test_what_cannot_be_is_refused_with_the_reason(host, tmp_path):
    for arguments, code, said in (
        (("p/none", "-f", "csv"), 1, "knows no run 'p/none'"),
        (("-f", "csv"), 2, "No run was named"),
        (("p/base", "-f", "csv", "-o", "x.parquet"), 2, "does not end as --format csv does"),
        (("p/base", "p/fork", "-f", "csv", "-o", "x.csv"), 2, "do not go into one file"),
    ):
        _, err = host.kelt("export", *arguments, code=code)
        assert said in err


@pytest.fixture(scope="module")
def copied(host, tmp_path_factory):
    """What the real `wandb sync` makes of the exported folders, under another name on the server."""
    home = tmp_path_factory.mktemp("wandb")
    host.kelt("export", "--project", "p", "-f", "wandb", "-o", home / "wandb")
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    environment = kept | {
        "HOME": str(home), "WANDB_BASE_URL": host.upstream, "WANDB_API_KEY": "k" * 40,
        "WANDB_ERROR_REPORTING": "false",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "sync", "-e", "copied", "-p", "q",
         *sorted((home / "wandb").iterdir())],
        env=environment, cwd=home, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return home / "wandb"


@pytest.mark.parametrize("name", ["base", "fork", "bad"])
def test_the_real_wandb_sync_takes_an_exported_run_whole(host, copied, name):
    with Api(host.upstream) as api:
        original, copy = api.run(f"p/{name}"), api.run(f"copied/q/{name}")
        for wanted, found in zip(original.scan_history(), copy.scan_history(), strict=True):
            assert wanted.keys() == found.keys()
            for key, value in wanted.items():  # wandb's client makes 1.0 an integer
                assert found[key] == value or same(found[key], value)
                assert (type(found[key]) is bool) == (type(value) is bool)
        assert copy.config == original.config
        assert same(copy.summary, original.summary)
        for fact in ("name", "notes", "group", "job_type", "tags", "host", "state", "lost_rows"):
            assert getattr(copy, fact) == getattr(original, fact), fact
        defined = {
            d["name"]: (d["summary"] or "last", d["step_metric"]) for d in copy.raw["definitions"]
        }
        for item in original.raw["definitions"]:
            summary = item["summary"].replace("best", "min")
            assert defined[item["name"]] == (summary, item["step_metric"])
