"""Stopping and deleting runs, and keys that open some entities: real processes, one of each."""

from __future__ import annotations

import httpx
import pytest

from harness.quick_daemon import QuickDaemon
from harness.stack import Host, Reader, ServerProcess, eventually
from kelt.api_client import Api
from kelt_server.access.account_file import AccountFile, new_key

RUNS = """
    import os, sys, time, kelt
    run = kelt.init("p", id=sys.argv[1], settings={"finish_timeout_s": 3})
    if sys.argv[2:] == ["forks"]:
        os.fork()
    for i in range(600):
        run.log({"x": i})
        time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    process = ServerProcess(tmp_path_factory.mktemp("server"))
    process.start()
    yield process
    process.stop()


@pytest.fixture(scope="module")
def host(tmp_path_factory, server):
    """With a daemon that beats often."""
    host = Host(tmp_path_factory.mktemp("host"), server.url)
    daemon = QuickDaemon(host.state_dir, environ=host.environment).start()
    yield host
    host.close()
    daemon.stop()


@pytest.fixture(scope="module")
def api(server):
    with Api(server.url) as api:
        yield api


def has_rows(server, run_id):
    return eventually(lambda: Reader(server.url).run(run_id)["rows"] or None)


def states(server, run_id):
    return [session["state"] for session in Reader(server.url).run(run_id)["sessions"]]


def test_a_stopped_run_is_interrupted_with_its_forked_children_and_killed(host, server, api):
    process = host.start(RUNS, "stopped", "forks")
    assert eventually(lambda: states(server, "stopped") == ["running", "running"] or None)
    host.kelt("runs", "stop", "p/stopped")
    _, err = process.communicate(timeout=60)
    assert process.returncode in (130, -2, 1)
    assert err.count("KeyboardInterrupt") == 2
    assert err.count("stopped at the server") == 1  # children are silent
    run = eventually(lambda: r if (r := api.run("p/stopped")).state == "killed" else None)
    assert run.state_reason == "stopped from the server (SIGINT)"
    assert eventually(lambda: states(server, "stopped") == ["killed", "killed"] or None)
    _, err = host.kelt("runs", "stop", "p/stopped", code=1)
    assert "nothing of it runs" in err


def test_a_run_may_be_kept_from_being_stopped(host, server, api):
    process = host.start(
        """
        import time, kelt
        with kelt.init("p", id="kept", settings={"stoppable": False}) as run:
            run.log({"x": 0})
            while not run._session.sender.state.must_stop:
                time.sleep(0.05)
            time.sleep(0.3)
        """
    )
    has_rows(server, "kept")
    api.run("p/kept").stop()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "stoppable=False" in err
    assert api.run("p/kept").state == "finished"


def test_what_a_deleted_run_still_logs_stays_on_its_host(host, server, api):
    process = host.start(RUNS, "gone")
    has_rows(server, "gone")
    _, err = host.kelt("runs", "rm", "p/gone", code=2)
    assert "--yes" in err
    host.kelt("runs", "rm", "--yes", "p/gone")
    status = eventually(lambda: s if "was deleted" in (s := host.kelt("status")[0]) else None)
    assert "waits on this host" in status
    assert [run.id for run in api.runs("p") if run.id == "gone"] == []
    host.run(
        """
        import kelt
        with kelt.init("p", id="gone") as run:
            run.log({"x": "new"})
        """
    )
    assert [row["x"] for row in api.run("p/gone").scan_history()] == ["new"]
    process.kill()
    process.communicate()


def test_a_key_sends_to_what_it_opens_and_holds_up_nothing_else(tmp_path):
    server = ServerProcess(tmp_path / "server")
    server.start()
    key = new_key()
    AccountFile(server.folder).change(
        lambda a: a.with_user("ann", is_admin=False, now=1.0).with_key("ann", key, now=1.0)
    )
    host = Host(tmp_path / "host", server.url)
    try:
        script = """
            import sys, kelt
            entity = sys.argv[2] or None
            with kelt.init("p", id=sys.argv[1], entity=entity) as run:
                run.log({"x": 1})
        """
        host.run(script, "other", "bob", KELT_API_KEY=key, KELT_FINISH_TIMEOUT_S="0.2")
        host.run(script, "own", "", KELT_API_KEY=key)
        with Api(server.url, api_key=key) as api:
            assert api.run("p/own").path == ["ann", "p", "own"]
        assert eventually(lambda: "does not open the entity 'bob'" in host.kelt("status")[0])
        assert httpx.get(f"{server.url}/api/v1/projects").status_code == 401
    finally:
        host.close()
        server.stop()
