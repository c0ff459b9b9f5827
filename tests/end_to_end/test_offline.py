"""mode="offline" needs no daemon and no network; `kelt sync` carries it up."""

import shutil

from harness.stack import eventually

OFFLINE = """
    import kelt
    with kelt.init("p", id="off", mode="offline") as run:
        for i in range(100):
            run.log({"i": i})
"""


def test_an_offline_run_starts_no_daemon_and_names_the_command_that_syncs_it(host, reader):
    _, err = host.run(OFFLINE)
    assert host.daemon is None
    (folder,) = (host.state_dir / "runs").iterdir()
    assert f"kelt sync {folder}" in err
    host.kelt("sync", folder)
    assert reader.steps("off") == list(range(100))
    assert reader.run("off")["state"] == "finished"
    host.kelt("sync", folder)
    assert reader.steps("off") == list(range(100))


def test_a_daemon_leaves_offline_runs_alone_until_they_are_synced(host, reader):
    host.run(OFFLINE)
    host.run('import kelt\nkelt.init("p", id="on").finish()')
    assert eventually(lambda: reader.run("on")["state"] == "finished" or None)
    assert [r["run_id"] for r in reader.get("/runs", project="p")["runs"]] == ["on"]
    out, _ = host.kelt("status")
    assert "off" in out
    host.kelt("sync")
    assert reader.steps("off") == list(range(100))


def test_a_folder_copied_to_another_host_is_found_there_and_replayed_once(
    host, other_host, reader, tmp_path
):
    host.run(OFFLINE)
    (folder,) = (host.state_dir / "runs").iterdir()
    copied = tmp_path / "carried" / folder.name
    shutil.copytree(folder, copied)
    other_host.kelt("sync", copied)
    assert reader.steps("off") == list(range(100))
    host.kelt("sync", folder)
    assert reader.steps("off") == list(range(100))
    assert len(reader.run("off")["sessions"]) == 1


def test_dir_puts_the_run_elsewhere_and_the_daemon_finds_it(host, reader, tmp_path):
    host.run(f"""
        import kelt
        with kelt.init("p", id="elsewhere", dir={str(tmp_path / "shared")!r}) as run:
            for i in range(10):
                run.log({{"i": i}})
    """)
    assert list((tmp_path / "shared").rglob("run.json"))
    steps = eventually(lambda: (s := reader.steps("elsewhere")) and len(s) == 10 and s or None)
    assert steps == list(range(10))
