"""Resume, fork and rewind written offline on two hosts: one lineage, whatever arrives first (G10).

What must be is written down here by hand, from what each session was told to do.
"""

from __future__ import annotations

import json
import random
import shutil

import pytest

from harness.amounts import amount
from harness.stack import Host, Reader, ServerProcess

LOG = """
    import json, sys, kelt
    options = json.loads(sys.argv[1])
    tag, rows = options.pop("tag"), options.pop("rows")
    with kelt.init("p", mode="offline", **options) as run:
        print(run.immutable_id)
        run.summary["by_hand"] = tag
        for _ in range(rows):
            run.log({"x": tag})
"""
#: Replays the folders one after the other, each wholly, in the order given.
REPLAY = """
    import sys, kelt
    upstream, *folders = sys.argv[1:]
    for folder in folders:
        result = kelt.sync(folder, upstream=upstream)
        assert result.is_complete, result
"""
#: (host, what `init` is told); the tag is what each row holds.
SESSIONS = (
    ("one", {"tag": "a", "rows": 5, "id": "base", "config": {"lr": 1, "k": 1}}),
    ("one", {"tag": "f", "rows": 3, "id": "f", "fork_from": "base?_step=2", "config": {"lr": 2}}),
    ("one", {"tag": "r", "rows": 2, "resume_from": "base?_step=3", "config": {"late": True}}),
    ("one", {"tag": "s", "rows": 2, "id": "base", "resume": "must"}),
    ("one", {"tag": "g", "rows": 2, "id": "g", "fork_from": "f?_step=4"}),
    # This host has never heard of any of them.
    ("two", {"tag": "b", "rows": 2, "id": "base", "resume": "allow", "config": {"host": 2}}),
    ("two", {"tag": "h", "rows": 2, "id": "h", "fork_from": "base?_step=1", "config": {"k": 9}}),
)
HISTORIES = {
    "base": "aaaarrssbb",
    "f": "aaafff",
    "g": "aaaffgg",
    "h": "aahh",
}
CONFIGS = {
    "base": {"lr": 1, "k": 1, "late": True, "host": 2},
    "f": {"lr": 2, "k": 1},
    "g": {"lr": 2, "k": 1},
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """(the folders of all sessions in the order of time, the first branch of `base`)."""
    root = tmp_path_factory.mktemp("hosts")
    folders, first_branch = [], ""
    for host, options in SESSIONS:
        machine = Host(root / host, "http://127.0.0.1:1")
        before = set((root / host / "runs").glob("*"))
        out, _ = machine.run(LOG, json.dumps(options))
        first_branch = first_branch or out.split()[0]
        [folder] = set((root / host / "runs").glob("*")) - before
        folders.append(folder)
        assert machine.daemon is None
    carried = root / "carried"
    for number, folder in enumerate(folders):
        shutil.copytree(folder, carried / str(number))
    return [carried / str(number) for number in range(len(folders))], first_branch


@pytest.mark.parametrize(
    "order", amount(["backwards", 3], long=["as written", "backwards", *range(1, 9)])
)
def test_the_order_of_arrival_changes_nothing(written, tmp_path, order):
    folders, first_branch = written
    arriving = list(folders)
    if order == "backwards":
        arriving.reverse()
    elif order != "as written":
        random.Random(order).shuffle(arriving)
    server = ServerProcess(tmp_path / "server").start()
    host = Host(tmp_path / "third", server.url)
    try:
        host.run(REPLAY, server.url, *arriving)
        reader = Reader(server.url)
        for name, tags in HISTORIES.items():
            wanted = [{"step": step, "x": tag} for step, tag in enumerate(tags)]
            assert reader.history(name) == wanted, name
            run = reader.run(name)
            assert run["summary"]["x"] == tags[-1]
            assert run["summary"]["by_hand"] == tags[-1]
            assert run["state"] == "finished"
            assert run["losses"] == []
        for name, config in CONFIGS.items():
            assert reader.run(name)["config"] == config, name
        # `h` left a parent that its own host did not know, at a step below all later ones.
        assert reader.run("h")["config"]["k"] == 9
        assert [row["x"] for row in reader.history(first_branch)] == list("aaaaa")
        assert [parent["run_id"] for parent in reader.run("g")["lineage"]] == ["f", "base"]
    finally:
        host.close()
        server.stop()
