"""`kelt sync` to several upstreams, and what it says of them: only what they have committed."""

from __future__ import annotations

import json
import shutil

import pytest

from harness.stack import Host, Reader, ServerProcess

OFFLINE = """
    import sys, kelt
    with kelt.init("p", id=sys.argv[1], mode="offline") as run:
        for i in range(200):
            run.log({"i": i})
"""
ALL = list(range(200))


@pytest.fixture
def second(tmp_path):
    process = ServerProcess(tmp_path / "second")
    process.start()
    yield process
    process.stop()


def synced(host, *arguments, code=0):
    out, err = host.kelt("sync", "--json", *arguments, code=code)
    *runs, totals = [json.loads(line) for line in out.splitlines()]
    return {run["run_id"]: run for run in runs}, totals, err


def test_what_one_upstream_has_says_nothing_of_another(host, server, second, reader, tmp_path):
    host.run(OFFLINE, "off")
    (folder,) = (host.state_dir / "runs").iterdir()
    first_try, totals, _ = synced(host, folder)
    assert (first_try["off"]["sent"], first_try["off"]["rows"]) == (202, 200)

    _, planned, _ = synced(host, folder, "--dry-run", "--upstream", second.url)
    assert (planned["records_sent"], planned["rows_sent"]) == (202, 200)
    runs, totals, _ = synced(host, folder, "--upstream", second.url)
    assert runs["off"] | {"path": ""} == {
        "path": "", "entity": runs["off"]["entity"], "project": "p", "run_id": "off",
        "upstream": second.url, "is_synced": True, "records": 202, "committed": 202,
        "sent": 202, "skipped": 0, "rows": 200, "lost_rows": 0, "error": "",
        "note": "", "problems": [],
    }  # fmt: skip
    assert totals["records_sent"] == 202
    assert [row["i"] for row in Reader(second.url).history("off")] == ALL

    host.stop_daemon()
    back, _, _ = synced(host, folder, "--upstream", server.url)
    assert (back["off"]["sent"], back["off"]["skipped"]) == (0, 202)
    assert [row["i"] for row in reader.history("off")] == ALL

    # The copy's hint, too, is of another upstream than the one it is sent to.
    carried = tmp_path / "carried"
    shutil.copytree(folder, carried)
    third = ServerProcess(tmp_path / "third").start()
    try:
        elsewhere = Host(tmp_path / "elsewhere", third.url)
        runs, _, _ = synced(elsewhere, carried, "--upstream", third.url)
        assert (runs["off"]["sent"], runs["off"]["is_synced"]) == (202, True)
        assert [row["i"] for row in Reader(third.url).history("off")] == ALL
        elsewhere.close()
    finally:
        third.stop()


def test_runs_of_several_upstreams_go_in_one_go_and_one_that_is_away_fails_alone(
    host, second, reader
):
    host.run(OFFLINE, "one")
    host.run(OFFLINE, "two", KELT_UPSTREAM=second.url)
    host.run(OFFLINE, "three", KELT_UPSTREAM="http://127.0.0.1:1")
    runs, totals, err = synced(host, "--wait", "4", code=3)  # for connecting, too
    assert [runs[name]["is_synced"] for name in ("one", "two", "three")] == [True, True, False]
    assert (totals["runs"], totals["synced"], totals["rows_sent"]) == (3, 2, 400)
    assert "127.0.0.1:1" in err
    assert [row["i"] for row in reader.history("one")] == ALL
    assert [row["i"] for row in Reader(second.url).history("two")] == ALL
    out, _ = host.kelt("sync", "--dry-run")
    assert "p/three" in out
    assert "p/one" not in out


def test_a_server_that_lost_its_store_is_not_believed_to_have_what_it_had(
    host, server, reader, tmp_path
):
    host.run(OFFLINE, "off")
    synced(host)
    server.stop()
    facts = server.facts
    fresh = ServerProcess(tmp_path / "fresh")
    fresh.facts = facts  # the same address, and nothing in it
    fresh.start()
    try:
        (folder,) = (host.state_dir / "runs").iterdir()
        runs, _, _ = synced(host, folder)
        # The daemon may have met the empty server before it was asked: then it has sent already.
        assert runs["off"]["is_synced"]
        assert runs["off"]["sent"] in {0, 202}
        assert runs["off"]["sent"] + runs["off"]["skipped"] == 202
        assert [row["i"] for row in reader.history("off")] == ALL
    finally:
        fresh.stop()


@pytest.mark.parametrize("failure", ["away", "refused"])
def test_synced_is_never_said_of_what_the_server_did_not_commit(host, server, tmp_path, failure):
    host.run(OFFLINE, "off")
    (folder,) = (host.state_dir / "runs").iterdir()
    if failure == "away":
        # Committed once, so that the hint says so, and then nobody is there to confirm it.
        synced(host)
        server.stop()
        runs, totals, _ = synced(host, folder, "--wait", "1", code=3)
    else:
        server.stop()
        guarded = ServerProcess(tmp_path / "keyed", environment={"KELT_SERVER_API_KEY": "secret"})
        guarded.facts = server.facts
        guarded.start()
        runs, totals, err = synced(host, folder, "--wait", "2", code=1)
        guarded.stop()
        assert "KELT_API_KEY" in runs["off"]["error"] + err
        out, _ = host.kelt("sync", "--dry-run")
        assert "p/off" in out
    assert runs["off"]["is_synced"] is False
    assert totals["synced"] == 0
