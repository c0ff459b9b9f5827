"""What goes wrong is said in one sentence, loses no row and stops no training."""

from harness.stack import Host, Reader, ServerProcess, eventually


def test_an_unreachable_upstream_is_said_once_and_costs_nothing(tmp_path):
    host = Host(tmp_path / "state", "http://127.0.0.1:9")
    try:
        _, err = host.run("""
            import kelt, time
            run = kelt.init("p", id="lonely")
            for i in range(50):
                run.log({"i": i}); time.sleep(0.02)
        """, KELT_FINISH_TIMEOUT_S="1")  # fmt: skip
        assert "Traceback" not in err
        assert err.count("http://127.0.0.1:9") >= 1
        assert "kelt sync" in err or "daemon" in err
    finally:
        host.close()


def test_a_refused_key_waits_for_a_good_one_and_then_everything_flows(tmp_path):
    server = ServerProcess(
        tmp_path / "server", environment={"KELT_SERVER_API_KEY": "right"}
    ).start()
    host = Host(tmp_path / "state", server.url)
    script = """
        import kelt
        with kelt.init("p") as run:
            for i in range(10):
                run.log({"i": i})
    """
    try:
        _, err = host.run(script, KELT_API_KEY="wrong", KELT_RUN_ID="a")
        assert err.count("KELT_API_KEY") == 1
        assert "it wants a key and was given another key" in err
        assert "Traceback" not in err
        host.run(script, KELT_API_KEY="right", KELT_RUN_ID="b")
        import httpx

        def both():
            found = httpx.get(
                f"{server.url}/api/v1/runs?project=p", headers={"Authorization": "Bearer right"}
            ).json()
            return (
                sorted((r["run_id"], r["rows"]) for r in found["runs"]) == [("a", 10), ("b", 10)]
                or None
            )

        assert eventually(both)
        logs = "".join(p.read_text(errors="replace") for p in (tmp_path / "state/logs").iterdir())
        assert "right" not in logs.replace("rights", "").split('"')
        assert "wrong" not in logs.split('"')
    finally:
        host.close()
        server.stop()


def test_a_state_folder_that_cannot_be_used_is_named_with_the_remedy(tmp_path):
    (tmp_path / "file").write_text("")
    host = Host(tmp_path / "file" / "state", "http://127.0.0.1:9")
    out, err = host.run("""
        import kelt
        with kelt.init("p") as run:
            run.log({"x": 1})
        print("trained to the end")
    """)
    assert "trained to the end" in out
    assert "KELT_DIR" in err
    assert "not recorded" in err
    assert "Traceback" not in err


def test_wrong_values_are_named_with_their_key(host):
    for call, words in [
        ("run.log({'x': object()})", ["'x'"]),
        ("run.log({3: 1})", ["3"]),
        ("run.log([1])", ["dict"]),
        ("run.log({'x': 1}, step=-1)", ["step"]),
        ("run.log({'x': 1}, step='one')", ["step"]),
        ("run.log({'x': 1}, step=2**61)", ["step"]),
        ("run.finish('done')", ["'done'"]),
        ("kelt.init('p', settings=5)", ["settings"]),
        ("run.log({'x': 1}); run.fork(0, id=run.id)", ["id="]),
    ]:
        _, err = host.run(f'import kelt\nrun = kelt.init("p")\n{call}', code=1)
        last = next(x for x in err.splitlines() if x.startswith("kelt.errors."))
        assert all(word in last for word in words), err


def test_a_second_daemon_on_the_same_folder_says_so_and_leaves_the_first_alone(host, reader):
    host.kelt("daemon", "start")
    first = host.daemon_alive()
    import subprocess
    import sys

    second = subprocess.run(
        [sys.executable, "-m", "kelt_daemon", "run", "--state-dir", str(host.state_dir)],
        env=host.environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert second.returncode != 0
    assert "already" in second.stderr
    assert "Traceback" not in second.stderr
    assert host.daemon_alive() == first
    host.run('import kelt\nwith kelt.init("p", id="r") as run: run.log({"x": 1})')
    assert eventually(lambda: reader.steps("r") == [0] or None)


def test_the_reader_needs_no_daemon(server):
    assert Reader(server.url).get("/runs", project="nothing") == {"runs": [], "total": 0}


def test_a_wrong_exit_code_leaves_the_run_open(host, reader):
    host.run("""
        import kelt
        run = kelt.init("p", id="still-open")
        try:
            run.finish("done")
        except kelt.UsageError:
            run.log({"x": 1})
        run.finish()
    """)
    run = eventually(lambda: (r := reader.run("still-open"))["state"] == "finished" and r or None)
    assert run["rows"] == 1


def test_rows_that_found_no_room_are_declared_to_the_last(host, reader):
    host.run("""
        import kelt
        run = kelt.init("p", id="full", mode="offline", settings={"spool_bytes_max": 2**20})
        for i in range(30_000):
            run.log({"i": i, "x": 0.5})
        run.finish()
    """)
    host.kelt("sync")
    run = reader.run("full")
    assert run["lost_rows"] > 1000
    assert run["rows"] + run["lost_rows"] == 30_000
